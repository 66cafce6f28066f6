// The kernels, written once and compiled for each instruction set. The including file opens the namespace. Loops over
// the rows of a strip are declared as simd loops; no symbol may be shared between the builds.

namespace {

#include "kernels/vec.h"

#define LQ_ROWS _Pragma("omp simd") for (int r = 0; r < kStrip; ++r)

inline uint32_t bits_of(float x) {
  uint32_t b;
  __builtin_memcpy(&b, &x, 4);
  return b;
}
inline float float_of(uint32_t b) {
  float x;
  __builtin_memcpy(&x, &b, 4);
  return x;
}
inline float magnitude(float x) { return float_of(bits_of(x) & 0x7fffffffu); }
inline float least(float a, float b) { return a < b ? a : b; }
inline float most(float a, float b) { return a > b ? a : b; }
inline float clamp(float x, float low, float high) { return least(most(x, low), high); }
// Nearest integer, |x| < 2^22.
inline float nearest_integer(float x) { return (x + 12582912.0f) - 12582912.0f; }

// The nearest value of fp16, within its range.
inline float to_half(float x) {
  const float m = least(magnitude(x), 65504.0f);
  const float small = nearest_integer(most(least(m, 0x1p-14f), 0.0f) * 0x1p24f) * 0x1p-24f;
  const uint32_t b = bits_of(m);
  const float normal = least(float_of((b + 0xfffu + ((b >> 13) & 1u)) & ~0x1fffu), 65504.0f);
  return float_of(bits_of(m < 0x1p-14f ? small : normal) | (bits_of(x) & 0x80000000u));
}

// The power of two at or below |x|, between those an E8M0 exponent can halve.
inline float to_power(float x) { return float_of(bits_of(clamp(magnitude(x), 0x1p-120f, 0x1p120f)) & 0x7f800000u); }

struct Scales {
  float scale[kStrip], minimum[kStrip], scale_code[kStrip], minimum_code[kStrip];
};

// What is stored for the scale and minimum wanted.
inline void store_scales(const ScalarForm& form, const float* wanted, const float* wanted_min, const float* d,
                         const float* dmin, Scales* out) {
  if (form.scale == ScaleCode::integer) {
    const float low = static_cast<float>(form.scale_low), high = static_cast<float>(form.scale_high);
    const float min_high = static_cast<float>(form.min_high);
    LQ_ROWS {
      const float inverse = d[r] > 0 ? 1.0f / d[r] : 0.0f, min_inverse = dmin[r] > 0 ? 1.0f / dmin[r] : 0.0f;
      out->scale_code[r] = nearest_integer(clamp(wanted[r] * inverse, low, high));
      out->minimum_code[r] = nearest_integer(clamp(wanted_min[r] * min_inverse, 0.0f, min_high));
      out->scale[r] = d[r] * out->scale_code[r];
      out->minimum[r] = dmin[r] * out->minimum_code[r];
    }
    return;
  }
  const bool power = form.scale == ScaleCode::power;
  LQ_ROWS {
    out->scale_code[r] = 0;
    out->minimum_code[r] = 0;
    out->scale[r] = power ? to_power(wanted[r]) : to_half(wanted[r]);
    out->minimum[r] = to_half(wanted_min[r]);
  }
}

// Codes and values of one column: of targets t, with scales s and their inverses.
inline void round_column(const ScalarForm& form, const float* t, const float* s, const float* inverse, const float* m,
                         float* code, float* value) {
  const float low = static_cast<float>(form.low), high = static_cast<float>(form.high);
  if (form.levels == nullptr) {
    LQ_ROWS {
      code[r] = nearest_integer(clamp((t[r] + m[r]) * inverse[r], low, high));
      value[r] = s[r] * code[r] - m[r];
    }
    return;
  }
  float level[kStrip];
  const float* levels = form.levels;
  LQ_ROWS {
    code[r] = 0;
    level[r] = levels[0];
  }
  for (int i = 1; i <= form.high; ++i) {
    const float middle = 0.5f * (levels[i - 1] + levels[i]), index = static_cast<float>(i), at = levels[i];
    LQ_ROWS {
      const bool above = t[r] * inverse[r] > middle;
      code[r] = above ? index : code[r];
      level[r] = above ? at : level[r];
    }
  }
  LQ_ROWS value[r] = s[r] * level[r];
}

struct SubOutput {
  float code[32][kStrip], value[32][kStrip];
  float cost[kStrip];
};

// One sub-block under given scales, feeding errors back among its columns.
void round_sub(const ScalarForm& form, const float (*weight)[kStrip], const float (*target)[kStrip], const float* n,
               int64_t ld, const float* d, const Scales& scales, bool feed, SubOutput* out) {
  float inverse[kStrip], error[32][kStrip];
  LQ_ROWS {
    inverse[r] = scales.scale[r] != 0 ? 1.0f / scales.scale[r] : 0.0f;
    out->cost[r] = 0;
  }
  for (int j = 0; j < form.sub; ++j) {
    float t[kStrip];
    LQ_ROWS t[r] = target[j][r];
    if (feed) {
      for (int k = 0; k < j; ++k) {
        const float f = n[k * ld + j];
        LQ_ROWS t[r] += error[k][r] * f;
      }
    }
    round_column(form, t, scales.scale, inverse, scales.minimum, out->code[j], out->value[j]);
    const float w = d[j];
    LQ_ROWS {
      error[j][r] = weight[j][r] - out->value[j][r];
      const float miss = t[r] - out->value[j][r];
      out->cost[r] += w * miss * miss;
    }
  }
}

// The best scales of a sub-block among those tried.
struct Search {
  Scales scales;
  float wanted[kStrip], wanted_min[kStrip];
  SubOutput best;

  void start() { LQ_ROWS best.cost[r] = 3e38f; }

  void keep(const ScalarForm& form, const float* tried, const float* tried_min, const Scales& s,
            const SubOutput& found, bool codes) {
    uint32_t better[kStrip];
    LQ_ROWS {
      better[r] = found.cost[r] < best.cost[r];
      best.cost[r] = better[r] ? found.cost[r] : best.cost[r];
      wanted[r] = better[r] ? tried[r] : wanted[r];
      wanted_min[r] = better[r] ? tried_min[r] : wanted_min[r];
      scales.scale[r] = better[r] ? s.scale[r] : scales.scale[r];
      scales.minimum[r] = better[r] ? s.minimum[r] : scales.minimum[r];
      scales.scale_code[r] = better[r] ? s.scale_code[r] : scales.scale_code[r];
      scales.minimum_code[r] = better[r] ? s.minimum_code[r] : scales.minimum_code[r];
    }
    if (!codes) return;
    for (int j = 0; j < form.sub; ++j) {
      LQ_ROWS {
        best.code[j][r] = better[r] ? found.code[j][r] : best.code[j][r];
        best.value[j][r] = better[r] ? found.value[j][r] : best.value[j][r];
      }
    }
  }
};

// Calls `try_one(wanted, wanted_min)` with scales for a sub-block of targets. Ranges narrower than the extremes clip
// few weights and serve the rest better, the more so the fewer the levels.
template <typename Try>
void each_scale(const ScalarForm& form, const float (*target)[kStrip], const Try& try_one) {
  const float count = static_cast<float>(form.levels == nullptr ? form.high - form.low : form.high);
  float low[kStrip], high[kStrip], wanted[kStrip], wanted_min[kStrip];
  LQ_ROWS low[r] = high[r] = target[0][r];
  for (int j = 1; j < form.sub; ++j) {
    LQ_ROWS {
      low[r] = least(low[r], target[j][r]);
      high[r] = most(high[r], target[j][r]);
    }
  }
  const float step = count <= 3 ? 0.1f : count <= 7 ? 0.07f : count <= 15 ? 0.05f : 0.02f;
  if (form.has_min) {
    constexpr int kSide = 5;
    if (!form.signed_min) {
      LQ_ROWS {
        low[r] = least(low[r], 0.0f);
        high[r] = most(high[r], 0.0f);
      }
    }
    for (int a = 0; a < kSide; ++a) {
      for (int b = 0; b < kSide; ++b) {
        const float left = step * static_cast<float>(a) - 0.5f * step, right = step * static_cast<float>(b) - 0.5f * step;
        LQ_ROWS {
          const float range = high[r] - low[r];
          const float from = low[r] + left * range, to = high[r] - right * range;
          wanted_min[r] = form.signed_min ? -from : most(-from, 0.0f);
          wanted[r] = most(to - from, 0.0f) / count;
        }
        try_one(wanted, wanted_min);
      }
    }
    return;
  }
  const float top = form.levels == nullptr ? static_cast<float>(-form.low) : magnitude(form.levels[0]);
  const float other = form.levels == nullptr ? static_cast<float>(form.high) : form.levels[form.high];
  LQ_ROWS {
    wanted_min[r] = 0;
    low[r] = magnitude(low[r]);
    high[r] = magnitude(high[r]);
  }
  const int steps = form.scale == ScaleCode::power ? 3 : 9;
  for (int side = 0; side < 2; ++side) {
    if (side == 1 && form.scale == ScaleCode::power) break;
    for (int a = 0; a < steps; ++a) {
      const float factor = form.scale == ScaleCode::power ? (a == 0 ? 0.5f : a == 1 ? 1.0f : 2.0f)
                                                          : 1.0f + step - step * static_cast<float>(a);
      LQ_ROWS {
        // The larger extreme in the longer half of the levels, or both within.
        const float own = side == 0 ? most(low[r] / top, high[r] / other) : -most(high[r] / top, low[r] / other);
        wanted[r] = own * factor;
      }
      try_one(wanted, wanted_min);
    }
  }
}

void encode_scalar(const ScalarForm& form, const SuperInput& in, SuperOutput* out) {
  const int sub = form.sub, subs = form.super / sub;
  const bool integer = form.scale == ScaleCode::integer;
  float base[kStrip], base_min[kStrip], zero[kStrip] = {};
  LQ_ROWS base[r] = base_min[r] = 0;
  Scales scales;
  SubOutput found;
  Search search;
  if (integer) {
    // The scales that would be best if they could be any number give the super-block's.
    ScalarForm free = form;
    free.scale = ScaleCode::half;
    for (int s = 0; s < subs; ++s) {
      const int at = s * sub;
      search.start();
      each_scale(free, in.target + at, [&](const float* wanted, const float* wanted_min) {
        store_scales(free, wanted, wanted_min, zero, zero, &scales);
        round_sub(free, in.weight + at, in.target + at, in.n + at * in.ld + at, in.ld, in.d + at, scales, true, &found);
        search.keep(free, wanted, wanted_min, scales, found, false);
      });
      LQ_ROWS {
        base[r] = most(base[r], magnitude(search.wanted[r]));
        base_min[r] = most(base_min[r], search.wanted_min[r]);
      }
    }
  }
  LQ_ROWS out->cost[r] = 3e38f;
  // Super-scales around the one that the largest scale fills; the second tries leave room for targets that grow.
  constexpr float kFactors[] = {1.0f, 0.93f, 1.08f};
  const int tries = integer ? 3 : 1;
  static thread_local SuperOutput made;
  for (int attempt = 0; attempt < tries; ++attempt) {
    float d[kStrip], dmin[kStrip], total[kStrip], error[kMaxSuper][kStrip];
    LQ_ROWS {
      total[r] = 0;
      d[r] = integer ? to_half(base[r] * kFactors[attempt] / static_cast<float>(form.scale_high)) : 0.0f;
      dmin[r] = integer && form.has_min ? to_half(base_min[r] * kFactors[attempt] / static_cast<float>(form.min_high)) : 0.0f;
    }
    for (int s = 0; s < subs; ++s) {
      const int at = s * sub;
      float target[32][kStrip];
      for (int j = 0; j < sub; ++j) {
        LQ_ROWS target[j][r] = in.target[at + j][r];
      }
      for (int k = 0; k < at; ++k) {
        const float* f = in.n + k * in.ld + at;
        for (int j = 0; j < sub; ++j) {
          LQ_ROWS target[j][r] += error[k][r] * f[j];
        }
      }
      const auto attempt_scales = [&](const float* wanted, const float* wanted_min) {
        store_scales(form, wanted, wanted_min, d, dmin, &scales);
        round_sub(form, in.weight + at, target, in.n + at * in.ld + at, in.ld, in.d + at, scales, true, &found);
        search.keep(form, wanted, wanted_min, scales, found, true);
      };
      search.start();
      each_scale(form, target, attempt_scales);
      if (integer) {
        // The neighbours of the best.
        float wanted[kStrip], wanted_min[kStrip], center[kStrip], center_min[kStrip];
        LQ_ROWS {
          center[r] = search.scales.scale_code[r];
          center_min[r] = search.scales.minimum_code[r];
        }
        for (int a = -1; a <= 1; ++a) {
          for (int b = form.has_min ? -1 : 0; b <= (form.has_min ? 1 : 0); ++b) {
            if (a == 0 && b == 0) continue;
            LQ_ROWS {
              wanted[r] = d[r] * (center[r] + static_cast<float>(a));
              wanted_min[r] = dmin[r] * most(center_min[r] + static_cast<float>(b), 0.0f);
            }
            attempt_scales(wanted, wanted_min);
          }
        }
      }
      for (int j = 0; j < sub; ++j) {
        LQ_ROWS {
          made.code[at + j][r] = search.best.code[j][r];
          made.value[at + j][r] = search.best.value[j][r];
          error[at + j][r] = in.weight[at + j][r] - search.best.value[j][r];
        }
      }
      LQ_ROWS {
        made.scale[s][r] = search.scales.scale[r];
        made.minimum[s][r] = search.scales.minimum[r];
        made.scale_code[s][r] = search.scales.scale_code[r];
        made.minimum_code[s][r] = search.scales.minimum_code[r];
        total[r] += search.best.cost[r];
      }
    }
    uint32_t better[kStrip];
    LQ_ROWS {
      better[r] = total[r] < out->cost[r];
      out->cost[r] = better[r] ? total[r] : out->cost[r];
      out->d[r] = better[r] ? d[r] : out->d[r];
      out->dmin[r] = better[r] ? dmin[r] : out->dmin[r];
    }
    for (int j = 0; j < form.super; ++j) {
      LQ_ROWS {
        out->code[j][r] = better[r] ? made.code[j][r] : out->code[j][r];
        out->value[j][r] = better[r] ? made.value[j][r] : out->value[j][r];
      }
    }
    for (int s = 0; s < subs; ++s) {
      LQ_ROWS {
        out->scale[s][r] = better[r] ? made.scale[s][r] : out->scale[s][r];
        out->minimum[s][r] = better[r] ? made.minimum[s][r] : out->minimum[s][r];
        out->scale_code[s][r] = better[r] ? made.scale_code[s][r] : out->scale_code[s][r];
        out->minimum_code[s][r] = better[r] ? made.minimum_code[s][r] : out->minimum_code[s][r];
      }
    }
  }
}

bool descend_scalar(const ScalarForm& form, int64_t cols, const float* h, const float (*scale)[kStrip],
                    const float (*minimum)[kStrip], float (*g)[kStrip], float (*code)[kStrip],
                    float (*value)[kStrip]) {
  bool changed = false;
  for (int64_t j = 0; j < cols; ++j) {
    const float* s = scale[j / form.sub];
    const float* m = minimum[j / form.sub];
    const float diagonal = h[j * cols + j];
    if (!(diagonal > 0)) continue;
    float t[kStrip], inverse[kStrip], new_code[kStrip], new_value[kStrip], shift[kStrip];
    LQ_ROWS {
      t[r] = value[j][r] + g[j][r] / diagonal;
      inverse[r] = s[r] != 0 ? 1.0f / s[r] : 0.0f;
    }
    round_column(form, t, s, inverse, m, new_code, new_value);
    float moved = 0;
    LQ_ROWS {
      shift[r] = new_value[r] - value[j][r];
      // A step that gains nothing beyond rounding is not taken, so that sweeps end.
      const float gain = 2 * g[j][r] * shift[r] - shift[r] * shift[r] * diagonal;
      const bool take = gain > 1e-6f * shift[r] * shift[r] * diagonal;
      shift[r] = take ? shift[r] : 0.0f;
      code[j][r] = take ? new_code[r] : code[j][r];
      value[j][r] = take ? new_value[r] : value[j][r];
    }
    for (int r = 0; r < kStrip; ++r) moved += magnitude(shift[r]);
    if (moved == 0) continue;
    changed = true;
    const float* row = h + j * cols;
    for (int64_t k = 0; k < cols; ++k) {
      const float f = row[k];
      LQ_ROWS g[k][r] -= shift[r] * f;
    }
  }
  return changed;
}

template <int kDims>
int32_t nearest_of(const GridView& grid, const float* b, const float* c, float* cost) {
  float sums[1024];
  F low = set1(3e38f);
  for (int32_t i = 0; i < grid.count; i += kLanes) {
    F a[kDims], total = zero();
#pragma GCC unroll 8
    for (int j = 0; j < kDims; ++j) a[j] = load(grid.magnitude + j * grid.count + i);
#pragma GCC unroll 8
    for (int j = 0; j < kDims; ++j) {
      F inner = set1(b[j]);
#pragma GCC unroll 8
      for (int k = j; k < kDims; ++k) inner = fma(set1(c[j * kDims + k]), a[k], inner);
      total = fma(a[j], inner, total);
    }
    store(sums + i, total);
    low = min(low, total);
  }
  float lanes[kLanes];
  store(lanes, low);
  float least_cost = lanes[0];
  for (int l = 1; l < kLanes; ++l) least_cost = least(least_cost, lanes[l]);
  int32_t found = 0;
  while (found < grid.count - 1 && sums[found] != least_cost) ++found;
  *cost = least_cost;
  return found;
}

int32_t nearest(const GridView& grid, const float* b, const float* c, float* cost) {
  return grid.dims == 8 ? nearest_of<8>(grid, b, c, cost) : nearest_of<4>(grid, b, c, cost);
}

#undef LQ_ROWS

}  // namespace

const EncodeKernels encode_table = {encode_scalar, descend_scalar, nearest};
