// What the checks of the encoder share: options, matrices with statistics of their own, and the check of one of either.
#pragma once

#include <string>
#include <vector>

#include "encoding_reference.h"
#include "suite.h"

namespace lq::contract {

// All rates that trellis codes have: bits in so many steps.
inline constexpr int32_t kRates[][2] = {{1, 1}, {3, 2}, {2, 1}, {5, 2}, {3, 1}, {7, 2}, {4, 1}};

EncodeOption trellis(int32_t bits, int32_t step, Rounding rounding = Rounding::feedback, int32_t states = 12);
EncodeOption scalar(GridKind grid, int32_t bits, ScaleKind scales, Rounding rounding,
                    Transform transform = Transform::none);

std::string name_of(const EncodeOption& o, int64_t rows, int64_t cols);

// A problem with statistics of its own.
struct Problem {
  Problem(int64_t rows, int64_t cols, MetricKind kind, double scale = 0.05)
      : weight(gaussian(rows * cols, 21, scale)), moment(second_moment(cols, 2 * cols, 5)) {
    const std::vector<float> raw = gaussian(rows * cols, 9, 1.0);
    for (int64_t i = 0; i < rows; ++i)
      row_weight.push_back(raw[static_cast<size_t>(i)] * raw[static_cast<size_t>(i)] * 1e-4f);
    for (const float x : raw) fisher.push_back(x * x * 1e-5f);
    problem.weight = {weight.data(), Dtype::F32, rows, cols};
    problem.metric = {kind, fisher.data(), row_weight.data(), moment.data(), 0.01};
    problem.seed = 77;
  }
  std::vector<float> weight, moment, row_weight, fisher;
  EncodeProblem problem{};
};

// Encodes and checks that the parts mean the weight that decode gives, bit by bit, and that the costs are those of it.
// Returns the cost; no number where the backend does not encode that option and says so.
double check_one(Suite& suite, const Problem& p, const EncodeOption& option);

// Scalar grids (encoding_scalar.cc).
void check_scalar(Suite& suite);
void check_searched(Suite& suite);

// EXL3 codes (encoding_exl3.cc).
void check_exl3(Suite& suite);

}  // namespace lq::contract
