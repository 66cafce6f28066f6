// One vector of floats in the instruction set this file is compiled for. Included by kernels.inl only, inside the
// namespace of that instruction set: no symbol may be shared between the builds, or the linker would keep one of them.
//
//   F  vector of kLanes floats      I  vector of kLanes 32-bit integers
// load_n and store_n touch the first n lanes only; load_n fills the others with zeros.

#if defined(__AVX512F__)

using F = __m512;
using I = __m512i;
constexpr int kLanes = 16;

static inline F load(const float* p) { return _mm512_loadu_ps(p); }
static inline void store(float* p, F a) { _mm512_storeu_ps(p, a); }
static inline __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
static inline F load_n(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
static inline void store_n(float* p, F a, int64_t n) { _mm512_mask_storeu_ps(p, first(n), a); }
static inline F set1(float x) { return _mm512_set1_ps(x); }
static inline F zero() { return _mm512_setzero_ps(); }
static inline F add(F a, F b) { return _mm512_add_ps(a, b); }
static inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
static inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
static inline F div(F a, F b) { return _mm512_div_ps(a, b); }
static inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
static inline F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
static inline F min(F a, F b) { return _mm512_min_ps(a, b); }
static inline F max(F a, F b) { return _mm512_max_ps(a, b); }
static inline I abs_bits(F a) { return _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff)); }
static inline I max(I a, I b) { return _mm512_max_epi32(a, b); }
static inline I zero_int() { return _mm512_setzero_si512(); }
static inline int32_t reduce_max(I a) { return _mm512_reduce_max_epi32(a); }
static inline float reduce_max(F a) { return _mm512_reduce_max_ps(a); }
static inline float reduce_min(F a) { return _mm512_reduce_min_ps(a); }
static inline float reduce_add(F a) { return _mm512_reduce_add_ps(a); }
static inline int count_zero(F a, int64_t n) {
  return __builtin_popcount(_mm512_mask_cmp_ps_mask(first(n), a, zero(), _CMP_EQ_OQ));
}
static inline int count_zero(F a) { return __builtin_popcount(_mm512_cmp_ps_mask(a, zero(), _CMP_EQ_OQ)); }
// a where b is not zero, else 0.
static inline F where_nonzero(F a, F b) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(b, zero(), _CMP_NEQ_UQ), a); }
static inline void store_codes(uint8_t* p, I a, int64_t n) { _mm512_mask_cvtepi32_storeu_epi8(p, first(n), a); }
static inline I to_int(F a) { return _mm512_cvtps_epi32(a); }
static inline F from_bf16_lanes(const uint16_t* p) {
  const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}
#define LQ_HAVE_F16C 1
static inline F from_f16_lanes(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

// Nearest level by binary search over the thresholds: the code is the number of thresholds below x.
template <int kBits>
struct Encoder {
  static_assert(kBits <= 4);
  F thresholds, levels, middle;
  explicit Encoder(const BookTable& t)
      : thresholds(load(t.thresholds)), levels(load(t.levels)), middle(set1(t.thresholds[(1 << (kBits - 1)) - 1])) {}
  I code(F x) const {
    constexpr int half = 1 << (kBits - 1);
    I c = _mm512_maskz_set1_epi32(_mm512_cmp_ps_mask(x, middle, _CMP_GT_OQ), half);
    for (int step = half / 2; step > 0; step /= 2) {
      const F t = _mm512_permutexvar_ps(_mm512_add_epi32(c, _mm512_set1_epi32(step - 1)), thresholds);
      const __mmask16 above = _mm512_cmp_ps_mask(x, t, _CMP_GT_OQ);
      c = _mm512_mask_add_epi32(c, above, c, _mm512_set1_epi32(step));
    }
    return c;
  }
  F level(I c) const { return _mm512_permutexvar_ps(c, levels); }
};

template <>
struct Encoder<8> {
  const BookTable& table;
  explicit Encoder(const BookTable& t) : table(t) {}
  I code(F x) const {
    I c = zero_int();
    for (int step = 128; step > 0; step /= 2) {
      const I probe = _mm512_add_epi32(c, _mm512_set1_epi32(step - 1));
      const F t = _mm512_i32gather_ps(probe, table.thresholds, 4);
      c = _mm512_mask_add_epi32(c, _mm512_cmp_ps_mask(x, t, _CMP_GT_OQ), c, _mm512_set1_epi32(step));
    }
    return c;
  }
  F level(I c) const { return _mm512_i32gather_ps(c, table.levels, 4); }
};

// Register blocking of the thin products: rows x vectors of accumulators.
constexpr int kRightRows = 8, kRightVectors = 2;
constexpr int kLeftColumns = 8, kLeftVectors = 3;
constexpr int kUpdateRows = 4, kUpdateVectors = 4;

#elif defined(__AVX2__)

using F = __m256;
using I = __m256i;
constexpr int kLanes = 8;

static inline F load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, F a) { _mm256_storeu_ps(p, a); }
static inline I first(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline F load_n(const float* p, int64_t n) { return _mm256_maskload_ps(p, first(n)); }
static inline void store_n(float* p, F a, int64_t n) { _mm256_maskstore_ps(p, first(n), a); }
static inline F set1(float x) { return _mm256_set1_ps(x); }
static inline F zero() { return _mm256_setzero_ps(); }
static inline F add(F a, F b) { return _mm256_add_ps(a, b); }
static inline F sub(F a, F b) { return _mm256_sub_ps(a, b); }
static inline F mul(F a, F b) { return _mm256_mul_ps(a, b); }
static inline F div(F a, F b) { return _mm256_div_ps(a, b); }
static inline F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
static inline F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
static inline F min(F a, F b) { return _mm256_min_ps(a, b); }
static inline F max(F a, F b) { return _mm256_max_ps(a, b); }
static inline I abs_bits(F a) { return _mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7fffffff)); }
static inline I max(I a, I b) { return _mm256_max_epi32(a, b); }
static inline I zero_int() { return _mm256_setzero_si256(); }
static inline int32_t reduce_max(I a) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(1, 0, 3, 2)));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(2, 3, 0, 1)));
  return _mm_cvtsi128_si32(m);
}
static inline float reduce_max(F a) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}
static inline float reduce_min(F a) {
  __m128 m = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  m = _mm_min_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_min_ss(m, _mm_shuffle_ps(m, m, 1)));
}
static inline float reduce_add(F a) {
  __m128 m = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  m = _mm_add_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_add_ss(m, _mm_shuffle_ps(m, m, 1)));
}
static inline int count_zero(F a) {
  return __builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, zero(), _CMP_EQ_OQ))));
}
static inline int count_zero(F a, int64_t n) {
  const unsigned mask = static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps(a, zero(), _CMP_EQ_OQ)));
  return __builtin_popcount(mask & ((1u << n) - 1));
}
static inline F where_nonzero(F a, F b) { return _mm256_and_ps(a, _mm256_cmp_ps(b, zero(), _CMP_NEQ_UQ)); }
static inline void store_codes(uint8_t* p, I a, int64_t n) {
  alignas(32) int32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), a);
  for (int64_t i = 0; i < n; ++i) p[i] = static_cast<uint8_t>(lanes[i]);
}
static inline I to_int(F a) { return _mm256_cvtps_epi32(a); }
static inline F from_bf16_lanes(const uint16_t* p) {
  const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
}
#define LQ_HAVE_F16C 1
static inline F from_f16_lanes(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

template <int kBits>
struct Encoder {
  F thresholds, levels, middle;
  explicit Encoder(const BookTable& t)
      : thresholds(load(t.thresholds)), levels(load(t.levels)), middle(set1(t.thresholds[(1 << (kBits - 1)) - 1])) {}
  I code(F x) const {
    constexpr int half = 1 << (kBits - 1);
    I c = _mm256_and_si256(_mm256_castps_si256(_mm256_cmp_ps(x, middle, _CMP_GT_OQ)), _mm256_set1_epi32(half));
    for (int step = half / 2; step > 0; step /= 2) {
      const F t = _mm256_permutevar8x32_ps(thresholds, _mm256_add_epi32(c, _mm256_set1_epi32(step - 1)));
      const I above = _mm256_castps_si256(_mm256_cmp_ps(x, t, _CMP_GT_OQ));
      c = _mm256_add_epi32(c, _mm256_and_si256(above, _mm256_set1_epi32(step)));
    }
    return c;
  }
  F level(I c) const { return _mm256_permutevar8x32_ps(levels, c); }
};

template <>
struct Encoder<4> {
  F low, high, levels_low, levels_high, middle;
  explicit Encoder(const BookTable& t)
      : low(load(t.thresholds)),
        high(load(t.thresholds + 8)),
        levels_low(load(t.levels)),
        levels_high(load(t.levels + 8)),
        middle(set1(t.thresholds[7])) {}
  I code(F x) const {
    const F upper = _mm256_cmp_ps(x, middle, _CMP_GT_OQ);
    I c = zero_int();
    for (int step = 4; step > 0; step /= 2) {
      const I probe = _mm256_add_epi32(c, _mm256_set1_epi32(step - 1));
      const F t = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, probe), _mm256_permutevar8x32_ps(high, probe), upper);
      const I above = _mm256_castps_si256(_mm256_cmp_ps(x, t, _CMP_GT_OQ));
      c = _mm256_add_epi32(c, _mm256_and_si256(above, _mm256_set1_epi32(step)));
    }
    return _mm256_add_epi32(c, _mm256_and_si256(_mm256_castps_si256(upper), _mm256_set1_epi32(8)));
  }
  F level(I c) const {
    const F upper = _mm256_castsi256_ps(_mm256_slli_epi32(c, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(levels_low, c), _mm256_permutevar8x32_ps(levels_high, c), upper);
  }
};

template <>
struct Encoder<8> {
  const BookTable& table;
  explicit Encoder(const BookTable& t) : table(t) {}
  I code(F x) const {
    I c = zero_int();
    for (int step = 128; step > 0; step /= 2) {
      const F t = _mm256_i32gather_ps(table.thresholds, _mm256_add_epi32(c, _mm256_set1_epi32(step - 1)), 4);
      const I above = _mm256_castps_si256(_mm256_cmp_ps(x, t, _CMP_GT_OQ));
      c = _mm256_add_epi32(c, _mm256_and_si256(above, _mm256_set1_epi32(step)));
    }
    return c;
  }
  F level(I c) const { return _mm256_i32gather_ps(table.levels, c, 4); }
};

constexpr int kRightRows = 6, kRightVectors = 2;
constexpr int kLeftColumns = 4, kLeftVectors = 3;
constexpr int kUpdateRows = 4, kUpdateVectors = 3;

#else

using F = __m128;
using I = __m128i;
constexpr int kLanes = 4;

static inline F load(const float* p) { return _mm_loadu_ps(p); }
static inline void store(float* p, F a) { _mm_storeu_ps(p, a); }
static inline F load_n(const float* p, int64_t n) {
  float lanes[4] = {};
  for (int64_t i = 0; i < n && i < 4; ++i) lanes[i] = p[i];
  return load(lanes);
}
static inline void store_n(float* p, F a, int64_t n) {
  float lanes[4];
  store(lanes, a);
  for (int64_t i = 0; i < n && i < 4; ++i) p[i] = lanes[i];
}
static inline F set1(float x) { return _mm_set1_ps(x); }
static inline F zero() { return _mm_setzero_ps(); }
static inline F add(F a, F b) { return _mm_add_ps(a, b); }
static inline F sub(F a, F b) { return _mm_sub_ps(a, b); }
static inline F mul(F a, F b) { return _mm_mul_ps(a, b); }
static inline F div(F a, F b) { return _mm_div_ps(a, b); }
static inline F fma(F a, F b, F c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
static inline F fnma(F a, F b, F c) { return _mm_sub_ps(c, _mm_mul_ps(a, b)); }
static inline F min(F a, F b) { return _mm_min_ps(a, b); }
static inline F max(F a, F b) { return _mm_max_ps(a, b); }
static inline I abs_bits(F a) { return _mm_and_si128(_mm_castps_si128(a), _mm_set1_epi32(0x7fffffff)); }
static inline I max(I a, I b) {
  const I above = _mm_cmpgt_epi32(a, b);
  return _mm_or_si128(_mm_and_si128(above, a), _mm_andnot_si128(above, b));
}
static inline I zero_int() { return _mm_setzero_si128(); }
static inline int32_t reduce_max(I a) {
  a = max(a, _mm_shuffle_epi32(a, _MM_SHUFFLE(1, 0, 3, 2)));
  return _mm_cvtsi128_si32(max(a, _mm_shuffle_epi32(a, _MM_SHUFFLE(2, 3, 0, 1))));
}
static inline float reduce_max(F a) {
  a = max(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_max_ss(a, _mm_shuffle_ps(a, a, 1)));
}
static inline float reduce_min(F a) {
  a = min(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_min_ss(a, _mm_shuffle_ps(a, a, 1)));
}
static inline float reduce_add(F a) {
  a = add(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps(a, a, 1)));
}
static inline int count_zero(F a) {
  return __builtin_popcount(static_cast<unsigned>(_mm_movemask_ps(_mm_cmpeq_ps(a, zero()))));
}
static inline int count_zero(F a, int64_t n) {
  const unsigned mask = static_cast<unsigned>(_mm_movemask_ps(_mm_cmpeq_ps(a, zero())));
  return __builtin_popcount(mask & ((1u << n) - 1));
}
static inline F where_nonzero(F a, F b) { return _mm_and_ps(a, _mm_cmpneq_ps(b, zero())); }
static inline void store_codes(uint8_t* p, I a, int64_t n) {
  alignas(16) int32_t lanes[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes), a);
  for (int64_t i = 0; i < n; ++i) p[i] = static_cast<uint8_t>(lanes[i]);
}
static inline I to_int(F a) { return _mm_cvtps_epi32(a); }
static inline F from_bf16_lanes(const uint16_t* p) {
  const __m128i raw = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), raw));
}

template <int kBits>
struct Encoder {
  const BookTable& table;
  explicit Encoder(const BookTable& t) : table(t) {}
  I code(F x) const {
    alignas(16) float lanes[4];
    alignas(16) int32_t codes[4];
    _mm_store_ps(lanes, x);
    for (int lane = 0; lane < 4; ++lane) {
      int32_t c = 0;
      for (int step = 1 << (kBits - 1); step > 0; step /= 2)
        c += lanes[lane] > table.thresholds[c + step - 1] ? step : 0;
      codes[lane] = c;
    }
    return _mm_load_si128(reinterpret_cast<const __m128i*>(codes));
  }
  F level(I c) const {
    alignas(16) int32_t codes[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(codes), c);
    return _mm_setr_ps(table.levels[codes[0]], table.levels[codes[1]], table.levels[codes[2]], table.levels[codes[3]]);
  }
};

constexpr int kRightRows = 4, kRightVectors = 2;
constexpr int kLeftColumns = 4, kLeftVectors = 2;
constexpr int kUpdateRows = 4, kUpdateVectors = 2;

#endif
