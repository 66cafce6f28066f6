// Products with a matrix in its packed form.
#pragma once

#include "lq/types.h"
#include "runtime/memory.h"

namespace lq::cuda {

// See Backend::packed_product. x, the factors and x L2' are rounded to bf16, sums are fp32.
void packed_product(const Stream& stream, const QuantizedView& q, const float* l1, const float* l2, int64_t rows,
                    int64_t cols, int32_t rank, const float* x, int64_t tokens, float* out, const Watch& watch);

}  // namespace lq::cuda
