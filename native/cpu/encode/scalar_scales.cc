#include "encode/scalar_scales.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "convert.h"

namespace lq::cpu {
namespace {

float top_of(const EncodeOption& option, const Grid& grid) { return option.grid == GridKind::fitted ? 1.0f : grid.top; }

// The level, in units of the scale, that x / s is rounded to.
float nearest_level(const Grid& grid, float x) {
  if (grid.integers) {
    return std::clamp(std::nearbyint(x), static_cast<float>(grid.low), static_cast<float>(grid.high));
  }
  int32_t code = 0;
  for (const int32_t last = (1 << grid.table.bits) - 1; code < last && x > grid.table.thresholds[code];) ++code;
  return grid.table.levels[code];
}

// As it will be stored, in units of the target.
float stored_scale(ScaleDtype type, float unit, float s) {
  switch (type) {
    case ScaleDtype::BF16:
      return from_bf16(to_bf16(s * unit)) / unit;
    case ScaleDtype::FP16:
      return from_f16(to_f16(std::clamp(s * unit, -65504.0f, 65504.0f))) / unit;
    case ScaleDtype::FP32:
      return s;
  }
  return s;
}

// The scale of least weighted error among ranges shrunk from the one that holds every weight, of either sign where
// the levels are integers, of which one more is negative; and the least-squares scale of the codes that it gives.
float searched_scale(const EncodeOption& option, const Grid& grid, float multiplier, const float* x,
                     const float* weight, int64_t n, float low, float high) {
  constexpr int32_t kShrinks = 20;
  const float narrowest = 1.3f / static_cast<float>(option.bits);
  double least = std::numeric_limits<double>::infinity();
  float best = 0, refined = 0;
  const auto attempt = [&](float scale) {
    const float s = stored_scale(option.scale_type, multiplier, scale);
    if (s == 0) return;
    double cost = 0, numerator = 0, denominator = 0;
    for (int64_t j = 0; j < n; ++j) {
      const float level = nearest_level(grid, x[j] / s), e = x[j] - s * level;
      cost += static_cast<double>(weight[j] * e * e);
      numerator += static_cast<double>(weight[j] * x[j] * level);
      denominator += static_cast<double>(weight[j] * level * level);
    }
    if (cost < least) {
      least = cost;
      best = s;
      refined = denominator > 0 ? static_cast<float>(numerator / denominator) : s;
    }
  };
  for (const float sign : {1.0f, -1.0f}) {
    if (sign < 0 && !grid.integers) continue;
    const float bottom = grid.integers ? static_cast<float>(-grid.low) : -grid.table.levels[0];
    const float top = grid.integers ? static_cast<float>(grid.high) : top_of(option, grid);
    const float whole = sign > 0 ? std::max(high / top, -low / bottom) : std::max(high / bottom, -low / top);
    for (int32_t i = 0; i < kShrinks; ++i) {
      attempt(sign * whole * (1 - narrowest * static_cast<float>(i) / kShrinks));
    }
  }
  if (best != 0) attempt(refined);
  return best;
}

}  // namespace

GroupScale group_scale_of(const EncodeOption& option, const Grid& grid, float multiplier, const float* x,
                          const float* weight, int64_t n) {
  float low = 0, high = 0;
  for (int64_t j = 0; j < n; ++j) {
    low = std::min(low, x[j]);
    high = std::max(high, x[j]);
  }
  if (option.scales == ScaleKind::searched) {
    return {searched_scale(option, grid, multiplier, x, weight, n, low, high), 0};
  }
  const bool asymmetric = option.grid == GridKind::integer && !option.symmetric;
  const float steps = static_cast<float>((1 << option.bits) - 1);
  const float exact = asymmetric ? (high - low) / steps : std::max(-low, high) / top_of(option, grid);
  const float s = from_f16(to_f16(std::min(exact, 65504.0f)));
  return {s,
          asymmetric && s > 0 ? static_cast<uint8_t>(std::clamp(std::nearbyint(-low / s), 0.0f, steps)) : uint8_t{0}};
}

}  // namespace lq::cpu
