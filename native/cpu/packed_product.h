// Products with a matrix in its packed form.
#pragma once

#include "lq/types.h"

namespace lq::cpu {

// See Backend::packed_product. In fp32: as exact as dequantising and multiplying, but only a panel of rows a thread is
// ever expanded.
Status packed_product(const QuantizedView& q, const float* l1, const float* l2, int64_t rows, int64_t cols,
                      int32_t rank, const float* x, int64_t tokens, float* out, const Control& control);

}  // namespace lq::cpu
