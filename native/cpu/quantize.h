// The quantisation ops of the backend, and the packing the LQ iteration shares.
#pragma once

#include "lq/types.h"
#include "prepared.h"
#include "quantizer.h"
#include "threads.h"

namespace lq::cpu {

Status quantize(const MatrixView& m, QuantizedView* q, const Control& control);
Status dequantize(const QuantizedView& q, float* out, const Control& control);
Status reconstruct(const QuantizedView& q, const float* l1, const float* l2, int64_t rows, int64_t cols, int32_t rank,
                   float* out, const Control& control);

// Codes, scales and groups of q->count weights under scales computed with their fields. `values(b, e)` gives weights
// [b, e), b at a block boundary; it is called on pool threads.
Status pack_quantized(const QuantConfig& config, const BookTable& table, BlockScales& scales, QuantizedView* q,
                      const Control& control, FunctionRef<const float*(int64_t, int64_t)> values);

}  // namespace lq::cpu
