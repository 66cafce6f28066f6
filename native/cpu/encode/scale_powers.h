// Scales of input columns by a power of the inputs' size, as AWQ (arXiv 2306.00978) has them; the CUDA backend's too.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace lq::cpu {

constexpr int32_t kScalePowers = 20;        // powers on the grid, beside that of 0
constexpr int64_t kScaleSampledRows = 128;  // rows on which a power is judged
constexpr int64_t kScaleGroup = 128;        // columns of a group of the codes it is judged by

// What columns of those sizes are multiplied with at power / kScalePowers: around 1, and held far within fp16.
inline std::vector<float> scales_of_power(const std::vector<double>& sizes, int32_t power) {
  constexpr double kMost = 4096;
  std::vector<double> s(sizes);
  double low = std::numeric_limits<double>::infinity(), high = 0;
  for (double& x : s) {
    x = std::pow(std::max(x, 1e-6), static_cast<double>(power) / kScalePowers);
    low = std::min(low, x);
    high = std::max(high, x);
  }
  const double middle = std::sqrt(low * high);
  std::vector<float> scales(s.size());
  std::transform(s.begin(), s.end(), scales.begin(),
                 [&](double x) { return static_cast<float>(std::clamp(x / middle, 1 / kMost, kMost)); });
  return scales;
}

}  // namespace lq::cpu
