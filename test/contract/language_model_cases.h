// Small random models that every backend is held to.
#pragma once

#include <memory>
#include <vector>

#include "lq/language_model.h"

namespace lq::contract {

struct LanguageModelCase {
  const char* name;
  LanguageModelConfig config;
  int32_t context = 13;
  int32_t sequences = 2;
  std::shared_ptr<std::vector<LayerTraits>> traits = {};  // what config points to
};

// Those of Llama and of experts, of the families before it and beside it, and of single parts.
std::vector<LanguageModelCase> language_model_cases();

}  // namespace lq::contract
