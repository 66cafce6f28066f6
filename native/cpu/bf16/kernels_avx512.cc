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

// The bf16 numbers in the low halves of lanes, and in the high ones, as floats.
__m512 low_halves(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
__m512 high_halves(__m512i pairs) {
  return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}

// The terms of (a[0], a[1]), (a[2], ...), ..., (b[0], b[1]), ...: pairs of consecutive floats.
template <int Terms>
void split_along(__m512 a, __m512 b, __m512i* terms) {
  for (int t = 0; t < Terms; ++t) {
    terms[t] = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a));
    if (t + 1 == Terms) break;
    const auto whole = [](__m256i x) { return low_halves(_mm512_cvtepu16_epi32(x)); };
    a = _mm512_sub_ps(a, whole(_mm512_castsi512_si256(terms[t])));
    b = _mm512_sub_ps(b, whole(_mm512_extracti64x4_epi64(terms[t], 1)));
  }
}

// The terms of (a[0], b[0]), (a[1], b[1]), ...
template <int Terms>
void split_across(__m512 a, __m512 b, __m512i* terms) {
  alignas(64) static constexpr int16_t kInTurn[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  for (int t = 0; t < Terms; ++t) {
    terms[t] =
        _mm512_permutexvar_epi16(_mm512_load_si512(kInTurn), reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a)));
    if (t + 1 == Terms) break;
    a = _mm512_sub_ps(a, low_halves(terms[t]));
    b = _mm512_sub_ps(b, high_halves(terms[t]));
  }
}

// Sixteen vectors of a step of up to kDepth, of which `count` are there: vectors 2 i and 2 i + 1 of sixteen floats,
// which are one of them when it is consecutive in memory (`along`), `ld` apart from the next, else two of its depths.
struct Step {
  const float* x;
  int64_t ld;
  bool along;
  __mmask16 first, second;
  int64_t count, depth;

  Step(const float* x, int64_t ld, bool along, int64_t count, int64_t depth)
      : x(x),
        ld(ld),
        along(along),
        first(first_lanes(along ? depth : count)),
        second(along ? first_lanes(depth - kLanes) : first),
        count(count),
        depth(depth) {}

  void load(int64_t i, __m512* a, __m512* b) const {
    const float* low = along ? x + i * ld : x + 2 * i * ld;
    const float* high = along ? low + kLanes : low + ld;
    *a = _mm512_maskz_loadu_ps((along ? i < count : 2 * i < depth) ? first : 0, low);
    *b = _mm512_maskz_loadu_ps((along ? i < count : 2 * i + 1 < depth) ? second : 0, high);
  }
};

template <int Terms>
void split(bool along, __m512 a, __m512 b, __m512i* terms) {
  if (along) return split_along<Terms>(a, b, terms);
  split_across<Terms>(a, b, terms);
}

// Whether all numbers of a step are bf16 numbers: the lower halves of their bits are zero.
bool exact(const Step& step) {
  __m512i bits = _mm512_setzero_si512();
  for (int64_t i = 0; i < 16; ++i) {
    __m512 a, b;
    step.load(i, &a, &b);
    bits = _mm512_ternarylogic_epi32(bits, _mm512_castps_si512(a), _mm512_castps_si512(b), 0xfe);
  }
  return _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0xffff)) == 0;
}

// The terms of a step's pairs: by depth [pair][16], or by vector [16][pair].
template <int Terms>
void split_step(const Step& step, float scale, bool by_depth, __m512i (*out)[16]) {
  const __m512 by = _mm512_set1_ps(scale);
  for (int64_t i = 0; i < 16; ++i) {
    __m512 a, b;
    step.load(i, &a, &b);
    __m512i terms[Terms];
    split<Terms>(step.along, _mm512_mul_ps(by, a), _mm512_mul_ps(by, b), terms);
    for (int t = 0; t < Terms; ++t) out[t][i] = terms[t];
  }
  if (step.along == by_depth) {
    for (int t = 0; t < Terms; ++t) transpose(out[t]);
  }
}

// Packs a step of kRows consecutive rows.
template <int Terms>
void pack_whole_rows(const float* x, int64_t ld, float scale, __m512i* to) {
  const __m512 by = _mm512_set1_ps(scale);
  for (int64_t r = 0; r < kRows; ++r, x += ld) {
    __m512i terms[Terms];
    split_along<Terms>(_mm512_mul_ps(by, _mm512_loadu_ps(x)), _mm512_mul_ps(by, _mm512_loadu_ps(x + kLanes)), terms);
    for (int t = 0; t < Terms; ++t) _mm512_store_si512(to + t * kRows + r, terms[t]);
  }
}

template <int Terms>
void pack_rows_of(const View& a, float scale, int64_t rows, int64_t depth, int64_t stride, uint16_t* out) {
  for (int64_t i = 0; i < rows; i += kRows) {
    auto* to = reinterpret_cast<__m512i*>(out + i / kRows * stride);
    for (int64_t k = 0; k < depth; k += kDepth, to += Terms * kRows) {
      const int64_t here = std::min(kDepth, depth - k);
      if (!a.transposed && here == kDepth && rows - i >= kRows) {
        pack_whole_rows<Terms>(a.at(i, k), a.ld, scale, to);
        continue;
      }
      for (int64_t half = 0; half < kRows; half += kLanes) {
        const int64_t count = std::clamp<int64_t>(rows - i - half, 0, kLanes);
        const Step step(count == 0 ? a.data : a.at(i + half, k), a.ld, !a.transposed, count, count == 0 ? 0 : here);
        __m512i terms[Terms][16];
        split_step<Terms>(step, scale, false, terms);
        for (int t = 0; t < Terms; ++t) {
          for (int64_t r = 0; r < kLanes; ++r) _mm512_store_si512(to + t * kRows + half + r, terms[t][r]);
        }
      }
    }
  }
}

template <int Terms>
int32_t pack_panel_of(const View& b, int64_t columns, int64_t depth, int64_t stride, uint16_t* out) {
  int32_t needed = 1;
  int64_t at = 0;
  const auto store = [&](int t, int64_t place, const __m512i* values) {
    auto* to = reinterpret_cast<__m512i*>(out + t * stride) + place;
    for (int64_t i = 0; i < 16; ++i) _mm512_store_si512(to + i, values == nullptr ? _mm512_setzero_si512() : values[i]);
  };
  for (int64_t k = 0; k < depth; k += kDepth) {
    for (int64_t half = 0; half < kColumns; half += kLanes, at += 16) {
      const int64_t count = std::clamp<int64_t>(columns - half, 0, kLanes);
      const Step step(count == 0 ? b.data : b.at(k, half), b.ld, b.transposed, count,
                      count == 0 ? 0 : std::min(kDepth, depth - k));
      __m512i terms[Terms][16];
      const int32_t here = exact(step) ? 1 : Terms;
      if (here == 1) {
        split_step<1>(step, 1.0f, true, terms);
      } else {
        split_step<Terms>(step, 1.0f, true, terms);
      }
      // A term is written from the first place on where it is not zero: most weights have one term.
      for (; needed < here; ++needed) {
        for (int64_t place = 0; place < at; place += 16) store(needed, place, nullptr);
      }
      for (int t = 0; t < needed; ++t) store(t, at, t < here ? terms[t] : nullptr);
    }
  }
  return needed;
}

}  // namespace

void pack_rows(const View& a, float scale, int64_t rows, int64_t depth, int32_t terms, int64_t stride, uint16_t* out) {
  if (terms == 1) return pack_rows_of<1>(a, scale, rows, depth, stride, out);
  if (terms == 2) return pack_rows_of<2>(a, scale, rows, depth, stride, out);
  pack_rows_of<3>(a, scale, rows, depth, stride, out);
}

int32_t pack_panel(const View& b, int64_t columns, int64_t depth, int32_t terms, int64_t stride, uint16_t* out) {
  if (terms == 1) return pack_panel_of<1>(b, columns, depth, stride, out);
  if (terms == 2) return pack_panel_of<2>(b, columns, depth, stride, out);
  return pack_panel_of<3>(b, columns, depth, stride, out);
}

namespace {

constexpr int64_t kTogether = 8;

// Adds kTogether rows of one term times a panel's term to the sums; `next`: elements from a step of rows to the next.
void add_term(const uint16_t* rows, int64_t next, const uint16_t* panel, int64_t steps, __m512 (*sums)[2]) {
  for (int64_t s = 0; s < steps; ++s) {
    const auto* pairs = reinterpret_cast<const int32_t*>(rows + s * next);
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

void multiply(const Rows& a, const Panel* panels, int64_t rows, int64_t columns, int64_t depth, bool accumulate,
              float* c, int64_t ldc) {
  const int64_t steps = steps_of(depth), next = a.terms * kRows * kDepth;
  for (int64_t column = 0; column < columns; column += kColumns) {
    const Panel& panel = panels[column / kColumns];
    const __mmask16 first = first_lanes(columns - column), second = first_lanes(columns - column - kLanes);
    for (int64_t row = 0; row < rows; row += kTogether) {
      const uint16_t* own = a.data + row / kRows * a.stride + row % kRows * kDepth;
      __m512 sums[kTogether][2];
      for (auto& sum : sums) sum[0] = sum[1] = _mm512_setzero_ps();
      for (int32_t j = 0; j < panel.terms; ++j) {
        for (int32_t i = 0; i < a.terms - j; ++i) {
          add_term(own + i * kRows * kDepth, next, panel.data + j * panel.stride, steps, sums);
        }
      }
      for (int64_t r = 0; r < std::min(kTogether, rows - row); ++r) {
        float* to = c + (row + r) * ldc + column;
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
}

}  // namespace lq::cpu::bf16::avx512
