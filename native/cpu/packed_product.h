// Products with a matrix in its packed form.
#pragma once

#include "lq/encode.h"

namespace lq::cpu {

// See Backend::packed_product. In fp32: as exact as decoding and multiplying, but only a panel of rows a thread is ever
// expanded.
Status packed_product(const EncodedView& w, const float* l1, const float* l2, const float* x, int64_t tokens,
                      float* out, const Control& control);

}  // namespace lq::cpu
