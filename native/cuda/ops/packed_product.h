// Encoded matrices put together, and products with them in their packed form.
#pragma once

#include "lq/encode.h"
#include "runtime/memory.h"

namespace lq::cuda {

// See Backend::decode.
void decode(const Stream& stream, const EncodedView& w, const float* l1, const float* l2, float* out,
            const Watch& watch);

// See Backend::packed_product. x, its rotated coordinates, values, the factors and x L2' are rounded to bf16, sums are
// fp32.
void packed_product(const Stream& stream, const EncodedView& w, const float* l1, const float* l2, const float* x,
                    int64_t tokens, float* out, const Watch& watch);

}  // namespace lq::cuda
