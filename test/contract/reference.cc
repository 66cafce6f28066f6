#include "reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lq::contract {
namespace {

// Rounds v >= 0 to `mantissa` bits after the leading one, with exponents no lower than `least`, at most `largest`.
double round_to(double v, int mantissa, int least, double largest) {
  if (v == 0) return 0;
  const int exponent = std::max(std::ilogb(v), least);
  const double unit = std::ldexp(1.0, exponent - mantissa);
  return std::min(std::nearbyint(v / unit) * unit, largest);
}

}  // namespace

uint32_t field(const uint8_t* packed, int64_t index, int32_t bits) {
  uint32_t value = 0;
  for (int32_t b = 0; b < bits; ++b) {
    const int64_t bit = index * bits + b;
    value |= static_cast<uint32_t>((packed[bit / 8] >> (bit % 8)) & 1) << b;
  }
  return value;
}

double group_value(const uint8_t* groups, int64_t index, ScaleDtype dtype) {
  if (dtype == ScaleDtype::FP32) {
    float v;
    std::memcpy(&v, groups + 4 * index, 4);
    return static_cast<double>(v);
  }
  const int bits = groups[2 * index] | (groups[2 * index + 1] << 8);
  const int width = dtype == ScaleDtype::BF16 ? 7 : 10, bias = dtype == ScaleDtype::BF16 ? 127 : 15;
  const int exponent = (bits & 0x7fff) >> width, mantissa = bits & ((1 << width) - 1);
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - width);
  return sign * std::ldexp(mantissa + (1 << width), exponent - bias - width);
}

double round_scale(double v, ScaleDtype dtype) {
  if (dtype == ScaleDtype::FP32) return static_cast<double>(static_cast<float>(v));
  if (dtype == ScaleDtype::BF16) return round_to(v, 7, -126, std::ldexp(255.0, 120));
  return round_to(v, 10, -14, 65504.0);
}

double decoded_scale(const QuantizedView& q, int64_t block) {
  const double v = group_value(q.groups, block / q.config.group, q.config.b2);
  const double top = (1 << q.config.b1) - 1;
  return static_cast<double>(q.offset) + field(q.scales, block, q.config.b1) * v / top;
}

std::vector<double> singular_values(const std::vector<double>& a, int64_t rows, int64_t cols) {
  // Columns of the taller orientation are rotated until orthogonal.
  const bool flip = cols > rows;
  const int64_t m = flip ? cols : rows, n = flip ? rows : cols;
  std::vector<std::vector<double>> columns(static_cast<size_t>(n), std::vector<double>(static_cast<size_t>(m)));
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      columns[static_cast<size_t>(flip ? i : j)][static_cast<size_t>(flip ? j : i)] =
          a[static_cast<size_t>(i * cols + j)];
    }
  }
  for (int sweep = 0; sweep < 60; ++sweep) {
    bool rotated = false;
    for (size_t p = 0; p < columns.size(); ++p) {
      for (size_t q = p + 1; q < columns.size(); ++q) {
        double pp = 0, qq = 0, pq = 0;
        for (size_t i = 0; i < static_cast<size_t>(m); ++i) {
          pp += columns[p][i] * columns[p][i];
          qq += columns[q][i] * columns[q][i];
          pq += columns[p][i] * columns[q][i];
        }
        if (std::abs(pq) <= 1e-13 * std::sqrt(pp * qq)) continue;
        rotated = true;
        const double theta = (qq - pp) / (2 * pq);
        const double t = (theta >= 0 ? 1 : -1) / (std::abs(theta) + std::sqrt(theta * theta + 1));
        const double c = 1 / std::sqrt(t * t + 1), s = c * t;
        for (size_t i = 0; i < static_cast<size_t>(m); ++i) {
          const double x = columns[p][i], y = columns[q][i];
          columns[p][i] = c * x - s * y;
          columns[q][i] = s * x + c * y;
        }
      }
    }
    if (!rotated) break;
  }
  std::vector<double> values;
  for (const auto& column : columns) {
    double sum = 0;
    for (const double x : column) sum += x * x;
    values.push_back(std::sqrt(sum));
  }
  std::sort(values.rbegin(), values.rend());
  return values;
}

double residual(const float* w, const float* q, const float* l1, const float* l2, const float* fisher, int64_t rows,
                int64_t cols, int64_t rank) {
  double total = 0;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      double d = static_cast<double>(w[i * cols + j]);
      if (q != nullptr) d -= static_cast<double>(q[i * cols + j]);
      for (int64_t k = 0; k < rank; ++k) {
        d -= static_cast<double>(l1[i * rank + k]) * static_cast<double>(l2[k * cols + j]);
      }
      total += (fisher != nullptr ? static_cast<double>(fisher[i * cols + j]) : 1.0) * d * d;
    }
  }
  return total;
}

}  // namespace lq::contract
