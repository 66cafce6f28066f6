// Norms and errors of a matrix, and the diagonal scales of a Fisher weight.
#pragma once

#include "kernels/kernels.h"
#include "lq/types.h"

namespace lq::cpu {

// Squared norm, plain and weighted by fisher [rows * cols] (null: the same).
Status squared_norm(const MatrixView& m, const float* fisher, const Control& control, QuantizeError* out);

// Squared error of W - Q - L1 L2 for stored parts, in units of m: m is 2^-exponent W. l1, l2 null at rank 0.
Status stored_error(const MatrixView& m, int32_t exponent, const QuantizedView& q, const float* l1, const float* l2,
                    int32_t rank, const float* fisher, const Control& control, QuantizeError* out);

// D_row [rows] and D_col [cols] of an elementwise weight: square roots of row and column means, or means of square
// roots (arXiv 2311.12023, equation 5). Zeros are floored at 1e-6 of the largest, a zero matrix gives ones. A negative
// or non-finite weight is not_finite or invalid_argument with its index.
Status fisher_scales(const float* fisher, int64_t rows, int64_t cols, bool means_of_sqrt, float* row, float* col);

}  // namespace lq::cpu
