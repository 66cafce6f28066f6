#include "encode/rotation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "encode/kernels.h"
#include "threads.h"

namespace lq::cpu {

float drawn_sign(uint64_t seed, int64_t j) {
  uint64_t z = seed + (static_cast<uint64_t>(j) + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return z >> 63 != 0 ? -1.0f : 1.0f;
}

namespace {

std::vector<float> drawn_signs(int64_t cols, uint64_t seed) {
  std::vector<float> signs;
  for (int64_t j = 0; j < cols; ++j) signs.push_back(drawn_sign(seed, j));
  return signs;
}

}  // namespace

Rotation::Rotation(int64_t cols, uint64_t seed)
    : Rotation(drawn_signs(cols, seed), std::min<int64_t>(cols & -cols, 512)) {
  is_orthonormal_ = true;
}

Rotation::Rotation(std::vector<float> factors, int64_t block)
    : cols_(static_cast<int64_t>(factors.size())),
      block_(block),
      is_orthonormal_(false),
      scale_(static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)))),
      factors_(std::move(factors)) {
  for (const float factor : factors_) into_.push_back(factor != 0 ? scale_ / factor : 0);
}

void Rotation::forward(float* row) const {
  for (int64_t j = 0; j < cols_; ++j) row[j] *= into_[static_cast<size_t>(j)];
  encode_kernels().hadamard(row, cols_, block_);
}

void Rotation::inverse(float* row) const {
  encode_kernels().hadamard(row, cols_, block_);
  for (int64_t j = 0; j < cols_; ++j) row[j] = row[j] * scale_ * factors_[static_cast<size_t>(j)];
}

void Rotation::both_sides(double* a) const {
  const double scale = 1.0 / std::sqrt(static_cast<double>(block_));
  const auto rows = [&] {
    parallel_for(0, cols_, 16, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        double* row = a + i * cols_;
        for (int64_t j = 0; j < cols_; ++j) row[j] *= static_cast<double>(factors_[static_cast<size_t>(j)]) * scale;
        for (int64_t h = 1; h < block_; h *= 2) {
          for (int64_t at = 0; at < cols_; at += 2 * h) {
            for (int64_t j = at; j < at + h; ++j) {
              const double u = row[j], v = row[j + h];
              row[j] = u + v;
              row[j + h] = u - v;
            }
          }
        }
      }
    });
  };
  const auto transpose = [&] {
    parallel_for(0, cols_, 16, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        for (int64_t j = i + 1; j < cols_; ++j) std::swap(a[i * cols_ + j], a[j * cols_ + i]);
      }
    });
  };
  rows();
  transpose();
  rows();
}

}  // namespace lq::cpu
