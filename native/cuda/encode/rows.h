// Row by row sums of the encoder, in fp64, and the small elementwise steps around them.
#pragma once

#include "runtime/memory.h"

namespace lq::cuda {

float largest_magnitude(const Stream& stream, const float* x, int64_t count);
void scale_by(const Stream& stream, float* x, int64_t count, float factor);
// h = (a + a') / 2 / divisor, plus `damping` on the diagonal.
void damped_moment(const Stream& stream, const float* a, int64_t n, double divisor, double damping, double* h);
void round_to_float(const Stream& stream, const double* x, int64_t count, float* out);
// out [rows, width] = a [rows, width] - b [rows, width of ldb].
void difference(const Stream& stream, const float* a, const float* b, int64_t ldb, int64_t rows, int64_t width,
                float* out);
// dots[i] = sum of x y over row i.
void row_dots(const Stream& stream, const float* x, const float* y, int64_t rows, int64_t cols, double* dots);
// scales[i] = fp16(wide * root mean square of row i).
void row_scales(const Stream& stream, const float* x, int64_t rows, int64_t cols, double wide, float* scales);
// Scales s = (y h v') / (v h v') in fp16, rows whose scale is 0 as they are; then squares[i] = |y - s v|^2 and costs[i]
// = (y - s v) h (y - s v)'. yh and vh are y h and v h; null without h, when costs are the squares.
void refit_scales(const Stream& stream, const float* y, const float* yh, const float* v, const float* vh, int64_t rows,
                  int64_t cols, float* scales, double* costs, double* squares);
// By how much feedback raises the variance of its targets, in units of that of the code's errors; see the CPU's.
double feedback_variance(const Stream& stream, const float* by_tile, int64_t n);

}  // namespace lq::cuda
