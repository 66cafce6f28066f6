// Quantisation of whole tensors, and back.
#pragma once

#include "lq/types.h"
#include "runtime/memory.h"

namespace lq::cuda {

// Packs m into q's buffers. Throws not_finite, invalid_argument.
void quantize(const Stream& stream, const MatrixView& m, QuantizedView* q, const Watch& watch);
// fp32 weights into host memory [q.count].
void dequantize(const Stream& stream, const QuantizedView& q, float* out, const Watch& watch);
// Q + L1 L2 into host memory [rows, cols]; the factors may be null when rank is 0.
void reconstruct(const Stream& stream, const QuantizedView& q, const float* l1, const float* l2, int64_t rows,
                 int64_t cols, int32_t rank, float* out, const Watch& watch);

}  // namespace lq::cuda
