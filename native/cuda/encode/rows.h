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
// rest = whole - part + error, elementwise; rest may be any of them.
void remainder(const Stream& stream, const float* whole, const float* part, const float* error, int64_t count,
               float* rest);
// dots[i] = sum of x y over row i.
void row_dots(const Stream& stream, const float* x, const float* y, int64_t rows, int64_t cols, double* dots);
// out[i] = sum of f x^2 over row i.
void weighted_squares(const Stream& stream, const float* x, const float* f, int64_t rows, int64_t cols, double* out);
// Columns of x [rows, cols] times scale [cols], or divided by it; h [cols, cols] divided by it on both sides.
void multiply_columns(const Stream& stream, float* x, int64_t rows, int64_t cols, const float* scale);
void divide_columns(const Stream& stream, float* x, int64_t rows, int64_t cols, const float* scale);
void divide_both_sides(const Stream& stream, double* h, int64_t cols, const float* scale);
// x [rows, cols] times by_row[i] by_column[j].
void scale_sides(const Stream& stream, float* x, int64_t rows, int64_t cols, const float* by_row,
                 const float* by_column);
// scales[i] = fp16(wide * root mean square of row i).
void row_scales(const Stream& stream, const float* x, int64_t rows, int64_t cols, double wide, float* scales);
// Scales s = (y h v') / (v h v') in fp16, rows whose scale is 0 as they are; then squares[i] = |y - s v|^2 and costs[i]
// = (y - s v) h (y - s v)'. yh and vh are y h and v h; null without h, when costs are the squares, and h, for the
// scales, is what `fisher` [rows, cols] has on its diagonal, unless that is null too.
void refit_scales(const Stream& stream, const float* y, const float* yh, const float* v, const float* vh,
                  const float* fisher, int64_t rows, int64_t cols, float* scales, double* costs, double* squares);
// error = y - scale of the row * v.
void scaled_errors(const Stream& stream, const float* y, const float* v, const float* scales, int64_t rows,
                   int64_t cols, float* error);
// By how much feedback raises the variance of its targets, in units of that of the code's errors; see the CPU's.
double feedback_variance(const Stream& stream, const float* by_tile, int64_t n);

}  // namespace lq::cuda
