// Fields of up to 16 bits in packed parts, lowest bits first, and 16-bit floats.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "convert.h"

namespace lq::cpu {

inline void store_field(uint8_t* packed, int64_t index, int32_t bits, uint32_t value) {
  const int64_t bit = index * bits;
  for (int32_t i = 0; i < bits; ++i) {
    const uint8_t mask = static_cast<uint8_t>(1u << ((bit + i) % 8));
    uint8_t& byte = packed[(bit + i) / 8];
    byte = (value >> i & 1u) != 0 ? static_cast<uint8_t>(byte | mask) : static_cast<uint8_t>(byte & ~mask);
  }
}

inline uint32_t load_field(const uint8_t* packed, int64_t index, int32_t bits) {
  const int64_t bit = index * bits;
  uint32_t value = 0;
  for (int32_t i = 0; i < bits; ++i) value |= (packed[(bit + i) / 8] >> ((bit + i) % 8) & 1u) << i;
  return value;
}

inline void store_f16(uint8_t* part, int64_t index, float value) {
  const uint16_t bits = to_f16(value);
  std::memcpy(part + 2 * index, &bits, 2);
}

inline float load_f16(const uint8_t* part, int64_t index) {
  uint16_t bits;
  std::memcpy(&bits, part + 2 * index, 2);
  return from_f16(bits);
}

}  // namespace lq::cpu
