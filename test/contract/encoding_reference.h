// The encoder's counterparts in double precision, written from native/include/lq/encode.h alone.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lq/encode.h"

namespace lq::contract {

// An encoded matrix and the buffers of its parts, filled with ones.
struct Encoded {
  Encoded(const EncodeOption& option, int64_t rows, int64_t cols, uint64_t seed);
  Encoded(const Encoded&) = delete;
  std::vector<uint8_t> parts[kPartCount];
  EncodedView view;
};

// An encoding of random codes with scales near `scale`: every kind of part is filled, and any bits mean a weight.
std::unique_ptr<Encoded> random_encoding(const EncodeOption& option, int64_t rows, int64_t cols, double scale,
                                         uint64_t seed);

// The weight, bit by bit as the header orders its operations.
std::vector<float> decoded(const EncodedView& e, const std::vector<float>& l1, const std::vector<float>& l2);

// What the error target - w costs under a problem's metric.
double reference_cost(const EncodeProblem& problem, const std::vector<double>& target, const std::vector<float>& w);
// The target of a problem.
std::vector<double> reference_target(const EncodeProblem& problem);

// x rounded to fp16.
double half(double x);
// The upper U with H^-1 = U' U of a kfac metric.
std::vector<double> inverse_factor(const EncodeProblem& problem);

// The least squared error of any path of a trellis code for `targets`, free at both ends.
double least_trellis_error(const EncodeOption& option, const std::vector<double>& targets);

// The second moment of `samples` random inputs of n correlated features.
std::vector<float> second_moment(int64_t n, int64_t samples, uint64_t seed);

}  // namespace lq::contract
