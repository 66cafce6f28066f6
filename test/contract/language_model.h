// Conformance of a backend's language model.
#pragma once

#include <string>
#include <vector>

#include "lq/backend.h"

namespace lq::contract {

struct LanguageModelCheck {
  std::string name;
  bool passed;
  std::string detail;  // what was measured against what
};

// How far a backend may be from double precision: losses and logits absolutely (logits are of order one), squared
// gradients relative to themselves plus a thousandth of that of the matrix's largest, second moments relative to the
// input's largest.
struct LanguageModelTolerance {
  double loss = 1e-5;
  double logits = 5e-5;
  double fisher = 2e-4;
  double moment = 1e-5;
};

// Losses, logits and squared gradients of small random models of every supported feature against the double-precision
// reference, gradients by finite differences; packed models against the same ones expanded; errors, cancellation and
// progress.
std::vector<LanguageModelCheck> check_language_model(Backend& backend, const LanguageModelTolerance& tolerance);
// The models alone, in products of bf16 terms; none where the CPU has no instructions for them.
std::vector<LanguageModelCheck> check_language_model_in_bf16(Backend& backend, const LanguageModelTolerance& tolerance);

// The CPU model gives the same squared gradients when activations are computed again instead of kept, and when
// sequences go in several batches.
std::vector<LanguageModelCheck> check_cpu_language_model_memory();

}  // namespace lq::contract
