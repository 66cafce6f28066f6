// The kernels, written once and compiled for each instruction set over the vectors of ../kernels/vec.h. The including
// file opens the namespace. As in ../kernels, no symbol may be shared between the builds.

namespace {

#include "kernels/vec.h"

// Values are interleaved so that a vector of states needs each cost it starts from once: with D = min(2^bits, kLanes)
// states that follow from one cost, a vector covers kLanes / D costs, and its lane u * (kLanes / D) + i is the u-th
// state that follows from the i-th. The costs then come by a broadcast load, and only the minima are put in order.
#if defined(__AVX512F__)

template <int kCopies>
inline F spread(const float* p) {
  if constexpr (kCopies == 2) return _mm512_broadcast_f32x8(_mm256_loadu_ps(p));
  if constexpr (kCopies == 4) return _mm512_broadcast_f32x4(_mm_loadu_ps(p));
  if constexpr (kCopies == 8) {
    double pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return _mm512_castpd_ps(_mm512_set1_pd(pair));
  }
  return set1(*p);
}

template <int kCopies>
inline F in_order(F a) {
  if constexpr (kCopies == kLanes) return a;
  constexpr int g = kLanes / kCopies;
  alignas(64) static constexpr struct Order {
    int32_t lanes[kLanes]{};
    constexpr Order() {
      for (int j = 0; j < kLanes; ++j) lanes[j] = j % kCopies * g + j / kCopies;
    }
  } order;
  return _mm512_permutexvar_ps(_mm512_load_si512(order.lanes), a);
}

constexpr int kUnroll = 4;

#elif defined(__AVX2__)

template <int kCopies>
inline F spread(const float* p) {
  if constexpr (kCopies == 2) return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
  if constexpr (kCopies == 4) {
    double pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return _mm256_castpd_ps(_mm256_set1_pd(pair));
  }
  return set1(*p);
}

template <int kCopies>
inline F in_order(F a) {
  if constexpr (kCopies == kLanes) return a;
  constexpr int g = kLanes / kCopies;
  alignas(32) static constexpr struct Order {
    int32_t lanes[kLanes]{};
    constexpr Order() {
      for (int j = 0; j < kLanes; ++j) lanes[j] = j % kCopies * g + j / kCopies;
    }
  } order;
  return _mm256_permutevar8x32_ps(a, _mm256_load_si256(reinterpret_cast<const __m256i*>(order.lanes)));
}

constexpr int kUnroll = 4;

#else

template <int kCopies>
inline F spread(const float* p) {
  if constexpr (kCopies == 2) return _mm_setr_ps(p[0], p[1], p[0], p[1]);
  return set1(*p);
}

template <int kCopies>
inline F in_order(F a) {
  if constexpr (kCopies == kLanes) return a;
  return _mm_shuffle_ps(a, a, _MM_SHUFFLE(3, 1, 2, 0));
}

constexpr int kUnroll = 4;

#endif

// One step: costs before it, by states without their oldest bits (`in`), to costs after it (`out`), which is over the
// states without the oldest `next` bits.
template <int kCopies>
void viterbi_step(const ViterbiStep& step, int32_t states, int32_t next, float target, const float* in,
                         float* out) {
  const int64_t count = int64_t{1} << (states - next), older = int64_t{1} << next;
  const F t = set1(target);
  for (int64_t p = 0; p < count; p += kUnroll * kLanes) {
    F best[kUnroll];
    for (int i = 0; i < kUnroll; ++i) best[i] = set1(3e38f);
    for (int64_t h = 0; h < older; ++h) {
      const int64_t s = h * count + p;
      for (int i = 0; i < kUnroll; ++i) {
        const F d = sub(t, load(step.interleaved + s + i * kLanes));
        best[i] = min(best[i], fma(d, d, spread<kCopies>(in + ((s + i * kLanes) >> step.bits))));
      }
    }
    for (int i = 0; i < kUnroll; ++i) store(out + p + i * kLanes, in_order<kCopies>(best[i]));
  }
}

// The same where there are fewer costs than kUnroll vectors, or a vector.
void viterbi_short_step(const ViterbiStep& step, int32_t states, int32_t next, float target, const float* in,
                               float* out) {
  const int64_t count = int64_t{1} << (states - next), older = int64_t{1} << next;
  for (int64_t p = 0; p < count; ++p) {
    float best = 3e38f;
    for (int64_t h = 0; h < older; ++h) {
      const int64_t s = h * count + p;
      const float d = target - step.values[s], cost = in[s >> step.bits] + d * d;
      best = cost < best ? cost : best;
    }
    out[p] = best;
  }
}

void viterbi_any_step(const ViterbiStep& step, int32_t states, int32_t next, float target, const float* in,
                             float* out) {
  if ((int64_t{1} << (states - next)) < kUnroll * kLanes) {
    return viterbi_short_step(step, states, next, target, in, out);
  }
  switch (step.bits < 4 ? step.bits : 4) {
    case 1:
      return viterbi_step<2>(step, states, next, target, in, out);
    case 2:
      return viterbi_step<4>(step, states, next, target, in, out);
    case 3:
      return viterbi_step<(kLanes < 8 ? kLanes : 8)>(step, states, next, target, in, out);
    default:
      return viterbi_step<kLanes>(step, states, next, target, in, out);
  }
}

float viterbi(const ViterbiArgs& a) {
  // Costs before step t, then those after the last.
  float* before = a.scratch;
  const int64_t first = int64_t{1} << (a.states - a.steps[0].bits);
  for (int64_t p = 0; p < first; ++p) before[p] = a.from < 0 || a.from == p ? 0.0f : 1e30f;
  for (int64_t t = 0; t < a.count; ++t) {
    float* after = before + (int64_t{1} << (a.states - a.steps[t].bits));
    viterbi_any_step(a.steps[t], a.states, a.steps[t + 1].bits, a.targets[t], before, after);
    before = after;
  }
  const int64_t last = int64_t{1} << (a.states - a.steps[a.count].bits);
  int64_t p = a.to;
  if (p < 0) {
    p = 0;
    for (int64_t i = 1; i < last; ++i) {
      if (before[i] < before[p]) p = i;
    }
  }
  const float total = before[p];
  // Back along the path: which of the states that lead to p gave the least cost.
  for (int64_t t = a.count - 1; t >= 0; --t) {
    const ViterbiStep& step = a.steps[t];
    const int64_t rest = a.states - a.steps[t + 1].bits, older = int64_t{1} << a.steps[t + 1].bits;
    before -= int64_t{1} << (a.states - step.bits);
    int64_t from = p;
    float best = 3e38f;
    for (int64_t h = 0; h < older; ++h) {
      const int64_t s = (h << rest) | p;
      const float d = a.targets[t] - step.values[s], cost = before[s >> step.bits] + d * d;
      if (cost < best) {
        best = cost;
        from = s;
      }
    }
    a.path[t] = static_cast<uint32_t>(from);
    p = from >> step.bits;
  }
  return total;
}

void hadamard(float* x, int64_t n, int64_t b) {
  for (int64_t h = 1; h < b; h *= 2) {
    for (int64_t at = 0; at < n; at += 2 * h) {
      float *low = x + at, *high = low + h;
      int64_t i = 0;
      for (; i + kLanes <= h; i += kLanes) {
        const F u = load(low + i), v = load(high + i);
        store(low + i, add(u, v));
        store(high + i, sub(u, v));
      }
      for (; i < h; ++i) {
        const float u = low[i], v = high[i];
        low[i] = u + v;
        high[i] = u - v;
      }
    }
  }
}

constexpr int64_t kRows = 16;

// Nearest levels of x [16] in units of the scales.
void nearest(const RoundArgs& a, const float* x, float* level, uint8_t* index) {
  if (a.integers) {
    // Adding 1.5 * 2^23 rounds to an integer, ties to even.
    constexpr float kRound = 12582912.0f;
    for (int64_t r = 0; r < kRows; ++r) {
      float v = x[r] > a.low[r] ? x[r] : a.low[r];
      v = v < a.high[r] ? v : a.high[r];
      v = (v + kRound) - kRound;
      level[r] = v;
      index[r] = static_cast<uint8_t>(static_cast<int32_t>(v - a.low[r]));
    }
    return;
  }
  int32_t code[kRows] = {};
  const int32_t last = (1 << a.table->bits) - 1;
  for (int32_t i = 0; i < last; ++i) {
    const float threshold = a.table->thresholds[i];
    for (int64_t r = 0; r < kRows; ++r) code[r] += x[r] > threshold ? 1 : 0;
  }
  for (int64_t r = 0; r < kRows; ++r) {
    level[r] = a.table->levels[code[r]];
    index[r] = static_cast<uint8_t>(code[r]);
  }
}

void round(const RoundArgs& a) {
  for (int64_t j = 0; j < a.width; ++j) {
    float x[kRows], level[kRows];
    for (int64_t r = 0; r < kRows; ++r) x[r] = a.target[j * kRows + r];
    for (int64_t k = 0; a.feedback != nullptr && k < j; ++k) {
      const float n = a.feedback[k * a.ld + j];
      for (int64_t r = 0; r < kRows; ++r) x[r] += a.error[k * kRows + r] * n;
    }
    for (int64_t r = 0; r < kRows; ++r) x[r] *= a.inverse[j * kRows + r];
    nearest(a, x, level, a.index + j * kRows);
    for (int64_t r = 0; r < kRows; ++r) {
      const int64_t at = j * kRows + r;
      a.value[at] = level[r] * a.scale[at];
      a.error[at] = a.original[at] - a.value[at];
    }
  }
}

bool descend(const RoundArgs& a) {
  bool moved = false;
  float change[64][kRows];  // chunks are narrower
  for (int64_t j = 0; j < a.width; ++j) {
    const float diagonal = a.feedback[j * a.ld + j], inverse = diagonal > 0 ? 1 / diagonal : 0;
    float x[kRows], level[kRows], slope[kRows];
    for (int64_t r = 0; r < kRows; ++r) slope[r] = a.target[j * kRows + r];
    for (int64_t k = 0; k < j; ++k) {
      const float h = a.feedback[k * a.ld + j];
      for (int64_t r = 0; r < kRows; ++r) slope[r] -= change[k][r] * h;
    }
    for (int64_t r = 0; r < kRows; ++r) {
      const int64_t at = j * kRows + r;
      x[r] = (a.value[at] + slope[r] * inverse) * a.inverse[at];
    }
    nearest(a, x, level, a.index + j * kRows);
    for (int64_t r = 0; r < kRows; ++r) {
      const int64_t at = j * kRows + r;
      const float value = level[r] * a.scale[at];
      change[j][r] = value - a.value[at];
      moved |= change[j][r] != 0;
      a.value[at] = value;
      a.error[at] = a.original[at] - value;
    }
  }
  return moved;
}

// Products in single precision, pieces of 64 of them summed in double.
double dot(const float* x, const float* y, int64_t n) {
  double total = 0;
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    F sum = zero();
    for (int64_t j = i; j < i + 64; j += kLanes) sum = fma(load(x + j), load(y + j), sum);
    float lanes[kLanes];
    store(lanes, sum);
    for (int l = 0; l < kLanes; ++l) total += static_cast<double>(lanes[l]);
  }
  for (; i < n; ++i) total += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return total;
}

}  // namespace

const EncodeKernels encode_table = {kLanes, viterbi, round, descend, hadamard, dot};
