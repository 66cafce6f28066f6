#include "convert.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/kernels.h"

namespace lq::cpu {
namespace {

// The 256 values of an 8-bit float. E4M3 (fn): bias 7, no infinities, S.1111.111 is NaN. E5M2: bias 15, IEEE-like.
std::array<float, 256> float8_values(int exponent_bits, int bias, bool ieee) {
  std::array<float, 256> values{};
  const int mantissa_bits = 7 - exponent_bits;
  const int top = (1 << exponent_bits) - 1;
  for (int i = 0; i < 256; ++i) {
    const int exponent = (i >> mantissa_bits) & top, mantissa = i & ((1 << mantissa_bits) - 1);
    float v;
    if (ieee && exponent == top) {
      v = mantissa == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
    } else if (!ieee && exponent == top && mantissa == (1 << mantissa_bits) - 1) {
      v = std::numeric_limits<float>::quiet_NaN();
    } else if (exponent == 0) {
      v = std::ldexp(static_cast<float>(mantissa), 1 - bias - mantissa_bits);
    } else {
      v = std::ldexp(static_cast<float>(mantissa + (1 << mantissa_bits)), exponent - bias - mantissa_bits);
    }
    values[static_cast<size_t>(i)] = (i & 0x80) != 0 ? -v : v;
  }
  return values;
}

template <typename T>
void cast(const void* data, int64_t begin, int64_t n, float* out) {
  const char* from = static_cast<const char*>(data) + begin * static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < n; ++i) {
    T x;
    std::memcpy(&x, from + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    out[i] = static_cast<float>(x);
  }
}

void look_up(const void* data, int64_t begin, int64_t n, const std::array<float, 256>& values, float* out) {
  const uint8_t* from = static_cast<const uint8_t*>(data) + begin;
  for (int64_t i = 0; i < n; ++i) out[i] = values[from[i]];
}

}  // namespace

void to_float(const void* data, Dtype dtype, int64_t begin, int64_t n, float* out) {
  static const std::array<float, 256> e4m3 = float8_values(4, 7, false), e5m2 = float8_values(5, 15, true);
  switch (dtype) {
    case Dtype::F32:
      std::memcpy(out, static_cast<const float*>(data) + begin, static_cast<size_t>(n) * 4);
      return;
    case Dtype::BF16:
      return kernels().from_bf16(static_cast<const uint16_t*>(data) + begin, out, n);
    case Dtype::F16:
      return kernels().from_f16(static_cast<const uint16_t*>(data) + begin, out, n);
    case Dtype::F64:
      return cast<double>(data, begin, n, out);
    case Dtype::F8_E4M3:
      return look_up(data, begin, n, e4m3, out);
    case Dtype::F8_E5M2:
      return look_up(data, begin, n, e5m2, out);
    case Dtype::I64:
      return cast<int64_t>(data, begin, n, out);
    case Dtype::I32:
      return cast<int32_t>(data, begin, n, out);
    case Dtype::I16:
      return cast<int16_t>(data, begin, n, out);
    case Dtype::I8:
      return cast<int8_t>(data, begin, n, out);
    case Dtype::U64:
      return cast<uint64_t>(data, begin, n, out);
    case Dtype::U32:
      return cast<uint32_t>(data, begin, n, out);
    case Dtype::U16:
      return cast<uint16_t>(data, begin, n, out);
    case Dtype::U8:
      return cast<uint8_t>(data, begin, n, out);
    case Dtype::BOOL: {
      const uint8_t* from = static_cast<const uint8_t*>(data) + begin;
      for (int64_t i = 0; i < n; ++i) out[i] = from[i] != 0 ? 1.0f : 0.0f;
      return;
    }
  }
}

uint16_t to_bf16(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  bits += 0x7fffu + ((bits >> 16) & 1u);
  const uint16_t rounded = static_cast<uint16_t>(bits >> 16);
  return std::isfinite(x) && (rounded & 0x7fffu) == 0x7f80u ? static_cast<uint16_t>(rounded - 1u) : rounded;
}

float from_bf16(uint16_t x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }

uint16_t to_f16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const float magnitude = std::fabs(x);
  if (std::isnan(x)) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 65520.0f) return static_cast<uint16_t>(sign | (std::isinf(x) ? 0x7c00u : 0x7bffu));
  if (magnitude < 0x1p-14f) {  // a multiple of 2^-24; 1024 of them is the smallest normal
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24f)));
  }
  uint32_t m = bits & 0x7fffffffu;
  m += 0xfffu + ((m >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((m - (112u << 23)) >> 13));
}

float from_f16(uint16_t x) {
  float out;
  kernels(Isa::baseline).from_f16(&x, &out, 1);
  return out;
}

}  // namespace lq::cpu
