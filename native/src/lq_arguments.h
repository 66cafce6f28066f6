// Arguments that the LQ entries share.
#pragma once

#include <napi.h>

#include <optional>
#include <vector>

#include "lq/backend.h"
#include "weight_source.h"

namespace lq {

struct OptionArgument {
  QuantConfig config;
  CodeBook book;
  int32_t rank;
};
OptionArgument parse_option(const Napi::Value& value);

struct LqParameters {
  bool means_of_sqrt;
  int32_t iterations, patience, oversampling, power_iterations;
  uint64_t seed;
};
LqParameters parse_parameters(const Napi::Value& value);

// The elementwise weight of a problem and the diagonal scales made from it; empty without one.
struct FisherWeight {
  const float* elements = nullptr;
  std::vector<float> row, col;

  // Throws TaskFailure that names `file` when an element is negative or not finite.
  void scale(int64_t rows, int64_t cols, bool means_of_sqrt, const std::string& file);
};

LqProblem make_problem(const MatrixView& weight, const FisherWeight& fisher, const LqParameters& parameters);

}  // namespace lq
