// Low-rank factors and singular values of a matrix.
#pragma once

#include "lq/types.h"
#include "runtime/memory.h"

namespace lq::cuda {

// l1 [rows, rank] l2 [rank, cols] = D_row^-1 svd_r(D_row E D_col) D_col^-1 with the singular values shared evenly;
// columns beyond min(rows, cols) are zero.
void factorize(const Stream& stream, const LqProblem& problem, int32_t rank, float* l1, float* l2, const Watch& watch);

// The `count` largest singular values, descending, zero beyond min(rows, cols).
void singular_values(const Stream& stream, const MatrixView& m, int32_t count, uint64_t seed, double* out,
                     const Watch& watch);

}  // namespace lq::cuda
