// One option of a prepared matrix: its cost, its parts, or what its cost is going to be.
#pragma once

#include "encode/problem.h"

namespace lq::cuda {

// Encode `target` and measure what is left of it, which `error` [rows, cols] on the device, unless null, receives;
// `out`, unless null, receives the parts.
EncodeCost run_trellis(const Problem& problem, const EncodeOption& option, const EncodeTarget& target, float* error,
                       const EncodedView* out);
EncodeCost run_scalar(const Problem& problem, const EncodeOption& option, const EncodeTarget& target, float* error,
                      const EncodedView* out);

// The same of an option with a low-rank part, from the target of its space: codes and low-rank part take turns. l1
// [rows, rank] and l2 [rank, cols] on the host, in the weight's own coordinates; null with `out`. A rank beyond the
// shape is an invalid argument.
EncodeCost run_low_rank(const Problem& problem, const EncodeOption& option, const EncodedView* out, float* l1,
                        float* l2);

// Either of them.
EncodeCost run_option(const Problem& problem, const EncodeOption& option, const EncodedView* out, float* l1, float* l2);

// The cost of a trellis code from its error for a Gaussian. `weighted_squares`: sum over rows of g |y|^2.
EncodeCost predict_trellis(const Problem& problem, const EncodeOption& option, double weighted_squares);

}  // namespace lq::cuda
