// NormalFloat quantisation with two-level scales, on fp32 in memory (method: codes of b0 bits, block scales of b1 bits
// relative to the smallest block absmax, group maxima of type b2).
#pragma once

#include <vector>

#include "kernels/kernels.h"
#include "lq/types.h"

namespace lq::cpu {

// Scales of one tensor. `k` and `v` are filled on request.
struct BlockScales {
  int32_t exponent = 0;  // absmax, decoded and offset are 2^-exponent times what is stored
  float offset = 0;
  std::vector<float> absmax, decoded, inverse;
  std::vector<uint8_t> k;
  std::vector<float> v;

  void resize(const QuantConfig& config, int64_t count, bool fields);
  // offset, decoded and inverse (k and v when asked for) from `source`, the block absmaxes. Parallel over groups.
  void compute(const QuantConfig& config, const float* source, bool fields);
};

// Fields of `bits` bits, little-endian, lowest bits first. `out` has (count * bits + 7) / 8 bytes.
void pack_fields(const uint8_t* values, int64_t count, int32_t bits, uint8_t* out);
// Fields [begin, begin + count) of a packed array.
void unpack_fields(const uint8_t* packed, int64_t begin, int64_t count, int32_t bits, uint8_t* out);

// Group maxima in their stored type, which represents them exactly.
void store_groups(const std::vector<float>& v, ScaleDtype dtype, uint8_t* out);
// v.size() of them, back in fp32.
void load_groups(const uint8_t* in, ScaleDtype dtype, std::vector<float>& v);

// Decoded scale of every block of a packed tensor.
void decode_scales(const QuantizedView& q, std::vector<float>& scales);
// Weights [begin, end) of a packed tensor; scales as from decode_scales.
void decode_weights(const QuantizedView& q, const BookTable& table, const std::vector<float>& scales, int64_t begin,
                    int64_t end, float* out, std::vector<uint8_t>& scratch);

}  // namespace lq::cpu
