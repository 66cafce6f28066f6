// Dense products and factors that the encoder needs, of its own: fp32 products with fp32 sums, a Cholesky factor and
// what is solved with it in fp64.
#pragma once

#include "runtime/memory.h"

namespace lq::cuda {

// c [m, n] = factor * a [m, k] b [k, n], added to c when `accumulate`; rows are lda, ldb, ldc elements apart.
void encode_product(const Stream& stream, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                    int64_t ldb, float factor, bool accumulate, float* c, int64_t ldc);

// The upper R of h = R R', [n, n] both, h symmetric with mean diagonal 1; h is made definite by as little as it takes.
DeviceBuffer<double> upper_factor(const Stream& stream, const double* h, int64_t n);
// The same of h as it is; empty when that is not positive definite.
DeviceBuffer<double> exact_upper_factor(const Stream& stream, const double* h, int64_t n);

// out [m, n] = a [m, k] b [k, n] in fp64.
void product_in_double(const Stream& stream, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
                       double* out);
// x [m, n] becomes x h^-1 where h = r r', r upper [n, n].
void solve_symmetric(const Stream& stream, const double* r, int64_t n, int64_t m, double* x);
// x [m, n] becomes x r^-1, r upper [n, n].
void solve_upper(const Stream& stream, const double* r, int64_t n, int64_t m, double* x);
// w += step * x, elementwise; w is what is rounded.
void add_in_double(const Stream& stream, const double* x, int64_t count, double step, float* w);

// N with h = N D N' for blocks of 16 columns, from R: above the blocks R_B R_BB^-1, elsewhere 0.
DeviceBuffer<float> tile_feedback(const Stream& stream, const double* r, int64_t n);
// The same for blocks of one column.
DeviceBuffer<float> column_feedback(const Stream& stream, const double* r, int64_t n);
// D by columns: the squares of R's diagonal.
DeviceBuffer<float> squared_diagonal(const Stream& stream, const double* r, int64_t n);
// Trace of D by tiles.
double tile_trace(const Stream& stream, const double* r, int64_t n);

}  // namespace lq::cuda
