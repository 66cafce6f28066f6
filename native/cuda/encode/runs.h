// One option of a prepared matrix: its cost, its parts, or what its cost is going to be.
#pragma once

#include "encode/problem.h"

namespace lq::cuda {

// Encode and measure; `out`, unless null, receives the parts.
EncodeCost run_trellis(const Problem& problem, const EncodeOption& option, const EncodedView* out);
EncodeCost run_scalar(const Problem& problem, const EncodeOption& option, const EncodedView* out);

// The cost of a trellis code from its error for a Gaussian. `weighted_squares`: sum over rows of g |y|^2.
EncodeCost predict_trellis(const Problem& problem, const EncodeOption& option, double weighted_squares);

}  // namespace lq::cuda
