// The residual stream between products: where it begins, and what is added to it as it is.
#pragma once

#include "lm/planes.h"

namespace lq::cuda {

// x [rows, hidden] = scale * rows of the embedding table [vocab, hidden].
void embed(const Stream& stream, const Operand& table, const int32_t* tokens, int64_t rows, int64_t hidden, float scale,
           float* x);

// x [rows, width] += rows of a table [.., width].
void add_rows(const Stream& stream, const float* table, const int32_t* places, int64_t rows, int64_t width, float* x);

// x [rows, width] += bias [width].
void add_bias(const Stream& stream, const float* bias, int64_t rows, int64_t width, float* x);

// out = scale * x in planes, count a multiple of 2.
void split(const Stream& stream, const float* x, int64_t count, float scale, const Planes& out);

}  // namespace lq::cuda
