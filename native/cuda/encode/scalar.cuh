// What the kernels of scalar grids share: where scales are, and rounding to levels. Warps take rows, eight a block; a
// lane owns every 32nd of a stretch of columns.
#pragma once

#include "encode/scalar.h"
#include "quant/scales.cuh"

namespace lq::cuda {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kOwned = static_cast<int>(kMostColumns) / 32;  // columns a lane

__device__ inline int64_t scale_place(const ScaleTable& t, int64_t row, int64_t col, int64_t cols) {
  if (t.kind == ScaleKind::two_level) return (row * cols + col) / t.group;
  return row * t.groups + (t.kind == ScaleKind::group ? col / t.group : 0);
}

struct Rounder {
  bool integers, zeroed;
  float low, high;
  const DeviceBook* book;
  const uint8_t* codes;
};

// Level nearest to x in units of its scale, and its code.
__device__ inline float nearest_level(const Rounder& z, const DeviceBook& book, float x, float zero, int* code) {
  if (z.integers) {
    const float low = z.low - zero, v = rintf(fminf(fmaxf(x, low), z.high - zero));
    *code = static_cast<int>(v - low);
    return v;
  }
  const int i = nearest_code(book, x);
  *code = z.codes[i];
  return book.levels[i];
}

inline Rounder rounder(const DeviceLevels& levels, const ScaleTable& table) {
  const cpu::Levels& host = levels.host();
  return {host.integers,
          host.integers && table.asymmetric,
          static_cast<float>(host.low),
          static_cast<float>(host.high),
          levels.book(),
          levels.codes()};
}

// The book of a block of threads, in shared memory: integers have none.
__device__ inline void load_book(const Rounder& z, DeviceBook* book) {
  if (z.integers) return;
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(DeviceBook) / sizeof(int)); i += kThreads) {
    reinterpret_cast<int*>(book)[i] = reinterpret_cast<const int*>(z.book)[i];
  }
  __syncthreads();
}

}  // namespace lq::cuda
