// Inputs of the CUDA benchmarks: code books, option grids, and weights with heavy tails and a decaying spectrum.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "lq/types.h"

namespace lq::bench {

inline double inverse_normal(double p) {
  double low = -10.0, high = 10.0;
  for (int i = 0; i < 200; ++i) {
    const double middle = 0.5 * (low + high);
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

// NormalFloat levels of 2, 3, 4 or 8 bits.
inline CodeBook normal_float(int bits) {
  constexpr double kOffset = 0.9677083;
  CodeBook book{};
  book.bits = bits;
  const int half = 1 << (bits - 1);
  int level = 0;
  const auto put = [&](double p) {
    book.levels[level++] = static_cast<float>(inverse_normal(p) / inverse_normal(kOffset));
  };
  for (int i = 0; i + 1 < half; ++i) put((1.0 - kOffset) + (0.5 - (1.0 - kOffset)) * i / (half - 1));
  for (int i = 0; i <= half; ++i) put(0.5 + (kOffset - 0.5) * i / half);
  book.levels[half - 1] = 0.0f;
  return book;
}

inline uint16_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float from_bf16(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

template <typename Work>
void parallel_rows(int64_t rows, Work&& work) {
  const auto threads = static_cast<int64_t>(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::thread> pool;
  for (int64_t t = 0; t < threads; ++t) {
    pool.emplace_back([&, t] {
      for (int64_t row = rows * t / threads; row < rows * (t + 1) / threads; ++row) work(row);
    });
  }
  for (std::thread& thread : pool) thread.join();
}

// Student t (5 degrees of freedom) noise of standard deviation about 0.02 plus 96 directions whose strength decays as
// k^-0.7, in bf16: a linear layer of a language model in outline.
inline std::vector<uint16_t> layer_weights(int64_t rows, int64_t cols, uint64_t seed) {
  constexpr int kDirections = 96;
  std::vector<float> left(static_cast<size_t>(rows * kDirections)), right(static_cast<size_t>(kDirections * cols));
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal;
  for (float& value : left) value = normal(generator);
  for (int k = 0; k < kDirections; ++k) {
    const auto strength = static_cast<float>(0.006 * std::pow(k + 1.0, -0.7));
    for (int64_t j = 0; j < cols; ++j) right[static_cast<size_t>(k * cols + j)] = normal(generator) * strength;
  }
  std::vector<uint16_t> out(static_cast<size_t>(rows * cols));
  parallel_rows(rows, [&](int64_t i) {
    std::mt19937_64 own(seed * 7919 + static_cast<uint64_t>(i));
    std::student_t_distribution<float> noise(5.0f);
    std::vector<float> row(static_cast<size_t>(cols));
    for (float& value : row) value = 0.0155f * noise(own);
    for (int k = 0; k < kDirections; ++k) {
      const float factor = left[static_cast<size_t>(i * kDirections + k)];
      const float* direction = &right[static_cast<size_t>(k * cols)];
      for (int64_t j = 0; j < cols; ++j) row[static_cast<size_t>(j)] += factor * direction[j];
    }
    for (int64_t j = 0; j < cols; ++j) out[static_cast<size_t>(i * cols + j)] = to_bf16(row[static_cast<size_t>(j)]);
  });
  return out;
}

// The paper's grid: b0, b1 in {2, 3, 4}, b2 in {bf16, fp16, fp32}, B0 in {16, 32, 64}, B1 in {16, 64, 256}.
inline std::vector<SweepOption> paper_grid(const CodeBook* books, int rank) {
  std::vector<SweepOption> out;
  for (int b0 = 2; b0 <= 4; ++b0) {
    for (int b1 = 2; b1 <= 4; ++b1) {
      for (const ScaleDtype b2 : {ScaleDtype::BF16, ScaleDtype::FP16, ScaleDtype::FP32}) {
        for (const int block : {16, 32, 64}) {
          for (const int group : {16, 64, 256}) out.push_back({{b0, b1, b2, block, group}, &books[b0 - 2], rank});
        }
      }
    }
  }
  return out;
}

}  // namespace lq::bench
