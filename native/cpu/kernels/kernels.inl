// The kernels, written once over vec.h. The including file opens the namespace of its instruction set.
//
// No library templates and no inline functions from other headers here: what two builds share by name, the linker keeps
// only once, possibly with instructions the machine lacks.

namespace {

#include "kernels/vec.h"

void from_bf16(const uint16_t* in, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, from_bf16_lanes(in + i));
  for (; i < n; ++i) {
    const uint32_t bits = static_cast<uint32_t>(in[i]) << 16;
    __builtin_memcpy(out + i, &bits, 4);
  }
}

float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 31u, mantissa = h & 0x3ffu;
  uint32_t bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000u | (mantissa << 13);
  } else if (exponent != 0) {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  } else {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    __builtin_memcpy(&bits, &magnitude, 4);
    bits |= sign;
  }
  float out;
  __builtin_memcpy(&out, &bits, 4);
  return out;
}

void from_f16(const uint16_t* in, float* out, int64_t n) {
  int64_t i = 0;
#ifdef LQ_HAVE_F16C
  for (; i + kLanes <= n; i += kLanes) store(out + i, from_f16_lanes(in + i));
#endif
  for (; i < n; ++i) out[i] = half_to_float(in[i]);
}

void block_absmax(const float* x, int64_t n, int32_t block, float* out) {
  for (int64_t start = 0; start < n; start += block) {
    const int64_t end = start + block < n ? start + block : n;
    I m = zero_int();
    int64_t i = start;
    for (; i + kLanes <= end; i += kLanes) m = max(m, abs_bits(load(x + i)));
    if (i < end) m = max(m, abs_bits(load_n(x + i, end - i)));
    const int32_t bits = reduce_max(m);
    __builtin_memcpy(out++, &bits, 4);
  }
}

// Round to nearest, ties to even, of 0 <= x < 2^22.
inline F round_even(F x) {
  const F magic = set1(0x1p23f);
  return sub(add(x, magic), magic);
}

// A group maximum as its storage type gives it back. Magnitudes beyond the type saturate at its largest finite value.
float cast_scale(float v, ScaleDtype dtype) {
  if (dtype == ScaleDtype::FP32) return v;
  uint32_t bits;
  __builtin_memcpy(&bits, &v, 4);
  if (dtype == ScaleDtype::BF16) {
    bits += 0x7fffu + ((bits >> 16) & 1u);
    bits &= 0xffff0000u;
    if (bits >= 0x7f800000u) bits = 0x7f7f0000u;
    __builtin_memcpy(&v, &bits, 4);
    return v;
  }
  if (v > 65504.0f) return 65504.0f;
  if (v < 0x1p-14f) {  // subnormal halves are multiples of 2^-24
    const float magic = 0x1p-1f;
    return (v + magic) - magic;
  }
  bits += 0xfffu + ((bits >> 13) & 1u);
  bits &= 0xffffe000u;
  __builtin_memcpy(&v, &bits, 4);
  return v > 65504.0f ? 65504.0f : v;
}

void scales(const ScaleArgs& a) {
  const float levels = static_cast<float>((1 << a.bits) - 1);
  const F off = set1(a.offset), top = set1(levels), none = zero();
  for (int64_t start = 0, g = 0; start < a.blocks; start += a.group, ++g) {
    const int64_t end = start + a.group < a.blocks ? start + a.group : a.blocks;
    float largest = 0.0f;
    for (int64_t i = start; i < end; ++i) {
      const float t = a.absmax[i] - a.offset;
      largest = t > largest ? t : largest;
    }
    const float stored = cast_scale(__builtin_ldexpf(largest, a.exponent), a.dtype);
    const float v = __builtin_ldexpf(stored, -a.exponent);
    if (a.v != nullptr) a.v[g] = stored;
    const F vv = set1(v);
    for (int64_t i = start; i < end; i += kLanes) {
      const int64_t n = end - i < kLanes ? end - i : kLanes;
      const F t = sub(load_n(a.absmax + i, n), off);
      // A zero v divides 0 by 0; the result is replaced.
      F k = where_nonzero(div(mul(t, top), vv), vv);
      k = round_even(max(min(k, top), none));
      const F decoded = add(off, div(mul(k, vv), top));
      store_n(a.decoded + i, decoded, n);
      store_n(a.inverse + i, where_nonzero(div(set1(1.0f), decoded), decoded), n);
      if (a.k != nullptr) store_codes(a.k + i, to_int(k), n);
    }
  }
}

// Below this a scale's reciprocal overflows or has lost bits, so the block divides instead.
constexpr float kSmallScale = 0x1p-120f;

template <int kBits, bool kFisher, bool kResidual, bool kCodes>
QuantizeError quantize_as(const QuantizeArgs& a) {
  const Encoder<kBits> encoder(*a.book);
  QuantizeError total{0.0, 0.0};
  F squared = zero(), weighted = zero();
  int64_t b = 0;
  for (int64_t start = 0; start < a.count; start += a.block, ++b) {
    const int64_t end = start + a.block < a.count ? start + a.block : a.count;
    const bool small = a.decoded[b] < kSmallScale && a.decoded[b] > 0.0f;
    const F scale = set1(a.decoded[b]), inverse = set1(a.inverse[b]);
    for (int64_t i = start; i < end; i += kLanes) {
      const int64_t n = end - i;
      const bool whole = n >= kLanes;
      const F x = whole ? load(a.values + i) : load_n(a.values + i, n);
      const I code = encoder.code(__builtin_expect(small, 0) ? div(x, scale) : mul(x, inverse));
      const F q = mul(encoder.level(code), scale);
      F d = sub(x, q);
      if (!whole) {  // the padding lanes are not weights
        float lanes[kLanes];
        store(lanes, d);
        d = load_n(lanes, n);
      }
      const F dd = mul(d, d);
      squared = add(squared, dd);
      if constexpr (kFisher) weighted = fma(whole ? load(a.fisher + i) : load_n(a.fisher + i, n), dd, weighted);
      if constexpr (kResidual) {
        if (whole) {
          store(a.residual + i, sub(load(a.weight + i), q));
        } else {
          store_n(a.residual + i, sub(load_n(a.weight + i, n), q), n);
        }
      }
      if constexpr (kCodes) store_codes(a.codes + i, code, whole ? kLanes : n);
    }
    if ((b & 31) == 31) {  // short float sums, long double ones
      total.squared += static_cast<double>(reduce_add(squared));
      squared = zero();
      if constexpr (kFisher) {
        total.weighted += static_cast<double>(reduce_add(weighted));
        weighted = zero();
      }
    }
  }
  total.squared += static_cast<double>(reduce_add(squared));
  if constexpr (kFisher) {
    total.weighted += static_cast<double>(reduce_add(weighted));
  } else {
    total.weighted = total.squared;
  }
  return total;
}

template <int kBits>
QuantizeError quantize_bits(const QuantizeArgs& a) {
  if (a.codes != nullptr) {
    return a.fisher != nullptr ? quantize_as<kBits, true, false, true>(a) : quantize_as<kBits, false, false, true>(a);
  }
  if (a.residual != nullptr) {
    return a.fisher != nullptr ? quantize_as<kBits, true, true, false>(a) : quantize_as<kBits, false, true, false>(a);
  }
  return a.fisher != nullptr ? quantize_as<kBits, true, false, false>(a) : quantize_as<kBits, false, false, false>(a);
}

QuantizeError quantize(const QuantizeArgs& a) {
  switch (a.book->bits) {
    case 2:
      return quantize_bits<2>(a);
    case 3:
      return quantize_bits<3>(a);
    case 4:
      return quantize_bits<4>(a);
    default:
      return quantize_bits<8>(a);
  }
}

// kRows x (kVectors * kLanes) of base +- l1 l2; `last` lanes of the last vector are real.
template <int kRows, int kVectors, bool kWhole>
inline void update_tile(const float* base, const float* l1, const float* l2, float* out, int64_t cols, int64_t rank,
                        int64_t last, float sign) {
  F acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[r][v] = zero();
  }
  for (int64_t k = 0; k < rank; ++k) {
    F b[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const float* p = l2 + k * cols + v * kLanes;
      b[v] = kWhole || v + 1 < kVectors ? load(p) : load_n(p, last);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const F a = set1(l1[r * rank + k]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc[r][v] = fma(a, b[v], acc[r][v]);
    }
  }
  const F s = set1(sign);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = r * cols + v * kLanes;
      if (kWhole || v + 1 < kVectors) {
        store(out + at, fma(s, acc[r][v], base != nullptr ? load(base + at) : zero()));
      } else {
        store_n(out + at, fma(s, acc[r][v], base != nullptr ? load_n(base + at, last) : zero()), last);
      }
    }
  }
}

template <int kRows>
void update_rows(const float* base, const float* l1, const float* l2, float* out, int64_t cols, int64_t rank,
                 float sign) {
  int64_t j = 0;
  const auto at = [&](int64_t column) { return base != nullptr ? base + column : nullptr; };
  for (; j + kUpdateVectors * kLanes <= cols; j += kUpdateVectors * kLanes) {
    update_tile<kRows, kUpdateVectors, true>(at(j), l1, l2 + j, out + j, cols, rank, kLanes, sign);
  }
  for (; j + kLanes <= cols; j += kLanes) {
    update_tile<kRows, 1, true>(at(j), l1, l2 + j, out + j, cols, rank, kLanes, sign);
  }
  if (j < cols) update_tile<kRows, 1, false>(at(j), l1, l2 + j, out + j, cols, rank, cols - j, sign);
}

void add_low_rank(const float* base, const float* l1, const float* l2, float* out, int64_t rows, int64_t cols,
                  int64_t rank, bool subtract) {
  const float sign = subtract ? -1.0f : 1.0f;
  int64_t i = 0;
  for (; i + kUpdateRows <= rows; i += kUpdateRows) {
    update_rows<kUpdateRows>(base != nullptr ? base + i * cols : nullptr, l1 + i * rank, l2, out + i * cols, cols, rank,
                             sign);
  }
  for (; i < rows; ++i) {
    update_rows<1>(base != nullptr ? base + i * cols : nullptr, l1 + i * rank, l2, out + i * cols, cols, rank, sign);
  }
}

template <int kRows, int kVectors>
inline void right_tile(const float* e, const float* v, float* y, int64_t cols, int64_t k) {
  F acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) acc[r][c] = zero();
  }
  for (int64_t j = 0; j < cols; ++j) {
    F b[kVectors];
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) b[c] = load(v + j * k + c * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const F a = set1(e[r * cols + j]);
#pragma GCC unroll 8
      for (int c = 0; c < kVectors; ++c) acc[r][c] = fma(a, b[c], acc[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) store(y + r * k + c * kLanes, acc[r][c]);
  }
}

template <int kVectors>
void right_columns(const float* e, const float* v, float* y, int64_t rows, int64_t cols, int64_t k) {
  int64_t i = 0;
  for (; i + kRightRows <= rows; i += kRightRows) {
    right_tile<kRightRows, kVectors>(e + i * cols, v, y + i * k, cols, k);
  }
  for (; i < rows; ++i) right_tile<1, kVectors>(e + i * cols, v, y + i * k, cols, k);
}

void thin_right(const float* e, const float* v, float* y, int64_t rows, int64_t cols, int64_t k) {
  int64_t c = 0;
  for (; c + kRightVectors * kLanes <= k; c += kRightVectors * kLanes) {
    right_columns<kRightVectors>(e, v + c, y + c, rows, cols, k);
  }
  for (; c < k; c += kLanes) right_columns<1>(e, v + c, y + c, rows, cols, k);
}

template <int kVectors, bool kWhole>
inline void left_tile(const float* e, const float* y, float* zt, int64_t rows, int64_t cols, int64_t k, int64_t last) {
  F acc[kLeftColumns][kVectors];
#pragma GCC unroll 8
  for (int c = 0; c < kLeftColumns; ++c) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[c][v] = zero();
  }
  for (int64_t i = 0; i < rows; ++i) {
    F b[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const float* p = e + i * cols + v * kLanes;
      b[v] = kWhole ? load(p) : load_n(p, last);
    }
#pragma GCC unroll 8
    for (int c = 0; c < kLeftColumns; ++c) {
      const F a = set1(y[i * k + c]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc[c][v] = fma(a, b[v], acc[c][v]);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kLeftColumns; ++c) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      float* p = zt + c * cols + v * kLanes;
      if (kWhole) {
        store(p, add(load(p), acc[c][v]));
      } else {
        store_n(p, add(load_n(p, last), acc[c][v]), last);
      }
    }
  }
}

void thin_left(const float* e, const float* y, float* zt, int64_t rows, int64_t cols, int64_t k) {
  int64_t j = 0;
  const auto columns = [&](auto tile) {
    for (int64_t c = 0; c < k; c += kLeftColumns) tile(y + c, zt + c * cols + j);
  };
  for (; j + kLeftVectors * kLanes <= cols; j += kLeftVectors * kLanes) {
    columns([&](const float* yc, float* zc) {
      left_tile<kLeftVectors, true>(e + j, yc, zc, rows, cols, k, kLanes);
    });
  }
  for (; j + kLanes <= cols; j += kLanes) {
    columns([&](const float* yc, float* zc) { left_tile<1, true>(e + j, yc, zc, rows, cols, k, kLanes); });
  }
  if (j < cols) {
    columns([&](const float* yc, float* zc) { left_tile<1, false>(e + j, yc, zc, rows, cols, k, cols - j); });
  }
}

QuantizeError squares(const float* x, const float* fisher, int64_t n) {
  QuantizeError total{0.0, 0.0};
  constexpr int64_t kRun = 32 * kLanes;
  for (int64_t start = 0; start < n; start += kRun) {
    const int64_t end = start + kRun < n ? start + kRun : n;
    F squared = zero(), weighted = zero();
    for (int64_t i = start; i < end; i += kLanes) {
      const int64_t m = end - i;
      const F v = m >= kLanes ? load(x + i) : load_n(x + i, m);
      const F vv = mul(v, v);
      squared = add(squared, vv);
      if (fisher != nullptr) weighted = fma(m >= kLanes ? load(fisher + i) : load_n(fisher + i, m), vv, weighted);
    }
    total.squared += static_cast<double>(reduce_add(squared));
    total.weighted += static_cast<double>(reduce_add(fisher != nullptr ? weighted : squared));
  }
  return total;
}

template <bool kScaled>
MomentSums moments_of(const float* x, int64_t n, float scale, float pivot) {
  constexpr int64_t kRun = 32 * kLanes;
  MomentSums out{0, 0, 0, 0, 0, __builtin_inff(), -__builtin_inff(), 0, true};
  const F c = set1(pivot);
  [[maybe_unused]] const F by = set1(scale);
  F low = set1(__builtin_inff()), high = set1(-__builtin_inff());
  for (int64_t start = 0; start < n; start += kRun) {
    const int64_t end = start + kRun < n ? start + kRun : n;
    F s1 = zero(), s2 = zero(), s3 = zero(), s4 = zero(), raw = zero();
    int64_t i = start;
    for (; i + kLanes <= end; i += kLanes) {
      const F v = load(x + i);
      low = min(low, v);
      high = max(high, v);
      out.zeros += count_zero(v);
      const F u = kScaled ? mul(v, by) : v, d = sub(u, c), dd = mul(d, d);
      raw = fma(u, u, raw);
      s1 = add(s1, d);
      s2 = add(s2, dd);
      s3 = fma(dd, d, s3);
      s4 = fma(dd, dd, s4);
    }
    double t1 = 0, t2 = 0, t3 = 0, t4 = 0, traw = 0;
    for (; i < end; ++i) {
      const float v = x[i];
      out.min = v < out.min ? v : out.min;
      out.max = v > out.max ? v : out.max;
      out.zeros += v == 0.0f;
      const double u = static_cast<double>(v) * static_cast<double>(scale), d = u - static_cast<double>(pivot);
      traw += u * u;
      t1 += d;
      t2 += d * d;
      t3 += d * d * d;
      t4 += d * d * d * d;
    }
    out.s1 += static_cast<double>(reduce_add(s1)) + t1;
    out.s2 += static_cast<double>(reduce_add(s2)) + t2;
    out.s3 += static_cast<double>(reduce_add(s3)) + t3;
    out.s4 += static_cast<double>(reduce_add(s4)) + t4;
    out.raw_squares += static_cast<double>(reduce_add(raw)) + traw;
  }
  const float lo = reduce_min(low), hi = reduce_max(high);
  out.min = lo < out.min ? lo : out.min;
  out.max = hi > out.max ? hi : out.max;
  // The fourth power sum is non-finite whenever an element is, and when a scaled one is beyond 1e9.
  const double probe = (out.s4 + out.raw_squares) * 0.0;
  out.finite = probe == 0.0;
  return out;
}

// Most weights need no scaling, and the multiplication costs a tenth.
MomentSums moments(const float* x, int64_t n, float scale, float pivot) {
  return scale == 1.0f ? moments_of<false>(x, n, scale, pivot) : moments_of<true>(x, n, scale, pivot);
}

template <bool kScaled>
void add_squares_of(const float* x, float scale, float* sums, int64_t n) {
  [[maybe_unused]] const F by = set1(scale);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F v = kScaled ? mul(load(x + i), by) : load(x + i);
    store(sums + i, fma(v, v, load(sums + i)));
  }
  for (; i < n; ++i) sums[i] += (x[i] * scale) * (x[i] * scale);
}

void add_squares(const float* x, float scale, float* sums, int64_t n) {
  return scale == 1.0f ? add_squares_of<false>(x, scale, sums, n) : add_squares_of<true>(x, scale, sums, n);
}

}  // namespace

const Kernels table = {LQ_ISA_NAME,  from_bf16,  from_f16,  block_absmax, scales,  quantize,
                       add_low_rank, thin_right, thin_left, squares,      moments, add_squares};
