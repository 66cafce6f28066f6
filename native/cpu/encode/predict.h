// Costs of options from the errors their codes make of independent weights, without encoding anything.
#pragma once

#include "encode/matrix.h"

namespace lq::cpu {

// Whether predict_cost knows the option: trellis codes, and integers of 4 bits and more, both without a low-rank part
// and under a metric whose H is the same for every row.
bool is_predictable(const EncodeProblem& problem, const EncodeOption& option);
// To a few percent, for a matrix that is prepared for the option.
EncodeCost predict_cost(const EncodeMatrix& matrix, const EncodeOption& option);

}  // namespace lq::cpu
