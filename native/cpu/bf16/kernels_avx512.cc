// Packing, and products by AVX512-BF16's dot products of pairs.
#include <immintrin.h>

#include <algorithm>

#include "bf16/bf16.h"

namespace lq::cpu::bf16::avx512 {
namespace {

constexpr int64_t kLanes = 16;

__mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffff : (1u << std::max<int64_t>(count, 0)) - 1);
}

// Sixteen bf16 in the low halves of lanes.
__m512i rounded(__m512 x) { return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x))); }
__m512i rest_of(__m512 x, __m512i high) {
  return rounded(_mm512_sub_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(high, 16))));
}

// r[j] lane i becomes r[i] lane j.
void transpose(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// Two terms of a vector: rounded, and what that left.
struct Vectors {
  __m512i high, low;
};

// Sixteen pairs (x[0], x[1]), (x[2], x[3]), ... of `count` consecutive floats, zeros beyond.
Vectors pairs_along(const float* x, __m512 scale, int64_t count) {
  const __m512 a = _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(first_lanes(count), x));
  const __m512 b = count > kLanes ? _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(first_lanes(count - kLanes), x + kLanes))
                                  : _mm512_setzero_ps();
  const __m512i ha = rounded(a), hb = rounded(b);
  const auto join = [](__m512i low, __m512i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(low)), _mm512_cvtepi32_epi16(high), 1);
  };
  Vectors t{join(ha, hb), _mm512_setzero_si512()};
  t.low = join(rest_of(a, ha), rest_of(b, hb));
  return t;
}

// Pairs (x[i], y[i]) of sixteen lanes.
Vectors pairs_across(const float* x, const float* y, __m512 scale, __mmask16 lanes) {
  const auto load = [&](const float* p) {
    return p == nullptr ? _mm512_setzero_ps() : _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(lanes, p));
  };
  const __m512 a = load(x), b = load(y);
  const __m512i ha = rounded(a), hb = rounded(b);
  const auto join = [](__m512i low, __m512i high) { return _mm512_or_si512(low, _mm512_slli_epi32(high, 16)); };
  Vectors t{join(ha, hb), _mm512_setzero_si512()};
  t.low = join(rest_of(a, ha), rest_of(b, hb));
  return t;
}

// Sixteen vectors of a step of up to kDepth, of which `count` are there: by depth [pair][16], or by vector [16][pair].
// `along`: a vector is consecutive in memory, `ld` apart from the next; else the depth is. Returns whether there are
// rests.
bool pack_step(const float* x, int64_t ld, float scale, bool along, int64_t count, int64_t depth, bool by_depth,
               __m512i* out, __m512i* rest) {
  const __m512 by = _mm512_set1_ps(scale);
  __m512i high[16], low[16];
  __m512i any = _mm512_setzero_si512();
  for (int64_t i = 0; i < 16; ++i) {
    Vectors t{_mm512_setzero_si512(), _mm512_setzero_si512()};
    if (along) {
      if (i < count) t = pairs_along(x + i * ld, by, depth);
    } else {
      const float* first = 2 * i < depth ? x + 2 * i * ld : nullptr;
      const float* second = 2 * i + 1 < depth ? x + (2 * i + 1) * ld : nullptr;
      t = pairs_across(first, second, by, first_lanes(count));
    }
    high[i] = t.high;
    low[i] = t.low;
    any = _mm512_or_si512(any, t.low);
  }
  const bool rests = _mm512_test_epi16_mask(any, _mm512_set1_epi16(0x7fff)) != 0;
  if (along == by_depth) {
    transpose(high);
    if (rests) transpose(low);
  }
  for (int64_t i = 0; i < 16; ++i) {
    _mm512_store_si512(out + i, high[i]);
    _mm512_store_si512(rest + i, low[i]);
  }
  return rests;
}

}  // namespace

void pack_rows(const View& a, float scale, int64_t rows, int64_t depth, uint16_t* out, uint16_t* rest) {
  auto *to = reinterpret_cast<__m512i*>(out), *left = reinterpret_cast<__m512i*>(rest);
  const int64_t padded = (rows + 2 * kRows - 1) / (2 * kRows) * (2 * kRows);
  for (int64_t i = 0; i < padded; i += kRows) {
    for (int64_t k = 0; k < depth; k += kDepth, to += 16, left += 16) {
      const int64_t count = std::clamp<int64_t>(rows - i, 0, kRows), here = std::min(kDepth, depth - k);
      const float* x = count == 0 ? a.data : a.at(i, k);
      pack_step(x, a.ld, scale, !a.transposed, count, count == 0 ? 0 : here, false, to, left);
    }
  }
}

bool pack_panel(const View& b, int64_t columns, int64_t depth, uint16_t* out, uint16_t* rest) {
  auto *to = reinterpret_cast<__m512i*>(out), *left = reinterpret_cast<__m512i*>(rest);
  // Rests are written from the first one on that is not zero: most weights have none.
  alignas(64) __m512i some[16];
  bool any = false;
  for (int64_t k = 0; k < depth; k += kDepth) {
    const int64_t here = std::min(kDepth, depth - k);
    for (int64_t half = 0; half < 2; ++half, to += 16) {
      const int64_t count = std::clamp<int64_t>(columns - half * kLanes, 0, kLanes);
      const float* x = count == 0 ? b.data : b.at(k, half * kLanes);
      const bool found = pack_step(x, b.ld, 1.0f, b.transposed, count, count == 0 ? 0 : here, true, to, some);
      __m512i* at = left + (to - reinterpret_cast<__m512i*>(out));
      if (found && !any) {
        for (__m512i* z = left; z < at; ++z) _mm512_store_si512(z, _mm512_setzero_si512());
      }
      any = any || found;
      for (int64_t i = 0; any && i < 16; ++i) _mm512_store_si512(at + i, some[i]);
    }
  }
  return any;
}

namespace {

constexpr int64_t kTogether = 8;

// Adds a block's rows times a panel to the sums, one term of each.
void add_terms(const uint16_t* block, const uint16_t* panel, int64_t steps, __m512 (*sums)[2]) {
  for (int64_t s = 0; s < steps; ++s) {
    const auto* pairs = reinterpret_cast<const int32_t*>(block + s * kRows * kDepth);
    const auto* b = reinterpret_cast<const __m512i*>(panel + s * kColumns * kDepth);
    for (int64_t p = 0; p < kDepth / 2; ++p) {
      const auto low = reinterpret_cast<__m512bh>(_mm512_load_si512(b + p));
      const auto high = reinterpret_cast<__m512bh>(_mm512_load_si512(b + kLanes + p));
#pragma GCC unroll 8
      for (int64_t r = 0; r < kTogether; ++r) {
        const auto x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pairs[r * kDepth / 2 + p]));
        sums[r][0] = _mm512_dpbf16_ps(sums[r][0], x, low);
        sums[r][1] = _mm512_dpbf16_ps(sums[r][1], x, high);
      }
    }
  }
}

}  // namespace

void multiply(const Terms& a, const Terms& panel, int64_t rows, int64_t columns, int64_t depth, bool accumulate,
              float* c, int64_t ldc) {
  const int64_t steps = steps_of(depth);
  const __mmask16 first = first_lanes(columns), second = first_lanes(columns - kLanes);
  for (int64_t row = 0; row < rows; row += kTogether) {
    // Rows of a block lie one after another within each step.
    const int64_t at = row / kRows * steps * kRows * kDepth + row % kRows * kDepth;
    __m512 sums[kTogether][2];
    for (auto& sum : sums) sum[0] = sum[1] = _mm512_setzero_ps();
    add_terms(a.main + at, panel.main, steps, sums);
    add_terms(a.rest + at, panel.main, steps, sums);
    if (panel.rest != nullptr) add_terms(a.main + at, panel.rest, steps, sums);
    for (int64_t r = 0; r < std::min(kTogether, rows - row); ++r) {
      float* to = c + (row + r) * ldc;
      __m512 left = sums[r][0], right = sums[r][1];
      if (accumulate) {
        left = _mm512_add_ps(left, _mm512_maskz_loadu_ps(first, to));
        if (second != 0) right = _mm512_add_ps(right, _mm512_maskz_loadu_ps(second, to + kLanes));
      }
      _mm512_mask_storeu_ps(to, first, left);
      if (second != 0) _mm512_mask_storeu_ps(to + kLanes, second, right);
    }
  }
}

}  // namespace lq::cpu::bf16::avx512
