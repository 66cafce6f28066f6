// Bringing host matrices to the device.
#pragma once

#include <vector>

#include "runtime/memory.h"

namespace lq::cuda {

// Throws invalid_argument for a null or empty matrix.
void check_matrix(const MatrixView& m);

// The bytes of a matrix as they are stored.
DeviceBuffer<uint8_t> upload_bytes(const Stream& stream, const MatrixView& m);

// fp32 copy [padded_rows, padded_cols] of a stored matrix, zero in the padding. Throws not_finite with the flat index
// of the first NaN or Inf.
DeviceBuffer<float> upload_float(const Stream& stream, const MatrixView& m, int64_t padded_rows, int64_t padded_cols);

// The same in bf16, for types whose every value bf16 holds.
DeviceBuffer<uint16_t> upload_bf16(const Stream& stream, const MatrixView& m, int64_t padded_rows, int64_t padded_cols);

// Host fp32 array [rows, cols] or [count], zero in the padding.
DeviceBuffer<float> upload_padded(const Stream& stream, const float* source, int64_t rows, int64_t cols,
                                  int64_t padded_rows, int64_t padded_cols);

}  // namespace lq::cuda
