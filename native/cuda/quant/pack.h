// The packed form: fields of a few bits, little-endian, lowest bits first.
#pragma once

#include "lq/types.h"
#include "runtime/memory.h"

namespace lq::cuda {

// Packs one-byte codes and integer scales and the group maxima into q's host buffers, and sets its offset from the bits
// of the smallest block absmax. Sizes follow from q's configuration and count. Returns when they are there.
void pack_quantized(const Stream& stream, const uint8_t* codes, const uint8_t* scale_codes, const float* group_maxima,
                    const uint32_t* minimum, QuantizedView* q);

// The same steps one by one: `count` one-byte fields to packed ones, both on the device, and group maxima to host
// memory.
void pack_fields(const Stream& stream, const uint8_t* fields, int64_t count, int32_t bits, uint8_t* packed);
void store_group_maxima(const Stream& stream, const float* maxima, int64_t count, ScaleDtype type, uint8_t* host);

// Weights of a packed tensor into device memory [q.count].
void unpack_quantized(const Stream& stream, const QuantizedView& q, float* out);

}  // namespace lq::cuda
