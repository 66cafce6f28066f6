// The factorisation, decomposition and sweep ops of the backend.
#pragma once

#include "lq/types.h"

namespace lq::cpu {

Status factorize(const LqProblem& problem, int32_t rank, float* l1, float* l2, const Control& control);
Status decompose(const LqProblem& problem, const SweepOption& option, LqResult* out, const Control& control);
Status sweep(const LqProblem& problem, const SweepOption* options, int64_t count, SweepCost* out,
             const Control& control);

// Refuses what no iteration can be run on: shapes, scales that are not positive, NaN or Inf in the weight.
Status check_problem(const LqProblem& problem);

}  // namespace lq::cpu
