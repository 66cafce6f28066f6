// Scales of least error, and coordinate descent.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>

#include "encode/linear.h"
#include "encode/scalar.cuh"

namespace lq::cuda {
namespace {

__device__ inline float stored_scale(const ScaleSearch& q, float s) {
  switch (q.type) {
    case ScaleDtype::BF16:
      return __fdiv_rn(__bfloat162float(__float2bfloat16_rn(s * q.unit)), q.unit);
    case ScaleDtype::FP16:
      return __fdiv_rn(__half2float(__float2half_rn(fminf(fmaxf(s * q.unit, -65504.0f), 65504.0f))), q.unit);
    default:
      return s;
  }
}

__device__ inline double warp_sum(double x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

// A warp a row of a group.
__global__ void __launch_bounds__(kThreads)
    search_kernel(const ScalarMatrix m, const Rounder z, const ScaleTable t, const ScaleSearch q, int64_t at,
                  int64_t width, const float* moved, bool delta) {
  constexpr int kShrinks = 20;
  __shared__ DeviceBook book;
  load_book(z, &book);
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (row >= m.rows) return;
  const auto target = [&](int64_t j) {
    return moved[row * width + j] + (delta ? m.target[row * m.cols + at + j] : 0.0f);
  };
  float low = 0.0f, high = 0.0f;
  for (int64_t j = lane; j < width; j += 32) {
    low = fminf(low, target(j));
    high = fmaxf(high, target(j));
  }
  for (int step = 16; step > 0; step /= 2) {
    low = fminf(low, __shfl_xor_sync(~0u, low, step));
    high = fmaxf(high, __shfl_xor_sync(~0u, high, step));
  }
  double least = HUGE_VAL;
  float best = 0.0f, refined = 0.0f;
  const auto attempt = [&](float scale) {
    const float s = stored_scale(q, scale);
    if (s == 0.0f) return;
    double cost = 0, numerator = 0, denominator = 0;
    for (int64_t j = lane; j < width; j += 32) {
      int code;
      const float x = target(j), level = nearest_level(z, book, __fdiv_rn(x, s), 0.0f, &code);
      const float e = x - s * level, w = q.column_weight[at + j];
      cost += static_cast<double>(w * e * e);
      numerator += static_cast<double>(w * x * level);
      denominator += static_cast<double>(w * level * level);
    }
    cost = warp_sum(cost);
    numerator = warp_sum(numerator);
    denominator = warp_sum(denominator);
    if (cost < least) {
      least = cost;
      best = s;
      refined = denominator > 0 ? static_cast<float>(numerator / denominator) : s;
    }
  };
  const float narrowest = 1.3f / static_cast<float>(q.bits);
  const float bottom = z.integers ? -z.low : -book.levels[0], top = z.integers ? z.high : t.top;
  for (int side = 0; side < (z.integers ? 2 : 1); ++side) {
    const float whole = side == 0 ? fmaxf(high / top, -low / bottom) : -fmaxf(high / bottom, -low / top);
    for (int i = 0; i < kShrinks; ++i) {
      attempt(whole * (1.0f - narrowest * static_cast<float>(i) / static_cast<float>(kShrinks)));
    }
  }
  if (best != 0.0f) attempt(refined);
  if (lane != 0) return;
  const int64_t place = scale_place(t, row, at, m.cols);
  t.scales[place] = best;
  t.zeros[place] = 0;
}

// One stretch of columns of a sweep of descent, a warp a row: change [rows, width] is by how much values grew.
__global__ void __launch_bounds__(kThreads)
    descend_kernel(const ScalarMatrix m, const Rounder z, const ScaleTable t, const float* eh, int64_t at, int width,
                   const float* h, float* change, int* any) {
  __shared__ DeviceBook book;
  load_book(z, &book);
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (row >= m.rows) return;
  float slope[kOwned], value[kOwned], scale[kOwned], inverse[kOwned], zero[kOwned], diagonal[kOwned], grown[kOwned];
  int code[kOwned];
#pragma unroll
  for (int s = 0; s < kOwned; ++s) {
    const int j = s * 32 + lane;
    slope[s] = value[s] = scale[s] = inverse[s] = zero[s] = diagonal[s] = grown[s] = 0.0f;
    code[s] = 0;
    if (j >= width) continue;
    const int64_t col = at + j, place = scale_place(t, row, col, m.cols);
    slope[s] = eh[row * m.cols + col];
    value[s] = m.values[row * m.cols + col];
    scale[s] = t.scales[place];
    inverse[s] = scale[s] != 0.0f ? __fdiv_rn(1.0f, scale[s]) : 0.0f;
    if (z.zeroed) zero[s] = static_cast<float>(t.zeros[place]);
    const float d = h[col * m.cols + col];
    diagonal[s] = d > 0.0f ? __fdiv_rn(1.0f, d) : 0.0f;
  }
  bool moved = false;
#pragma unroll
  for (int s = 0; s < kOwned; ++s) {
    for (int k = 0; k < 32 && s * 32 + k < width; ++k) {
      int found;
      const float x = (value[s] + slope[s] * diagonal[s]) * inverse[s];
      const float v = __fmul_rn(nearest_level(z, book, x, zero[s], &found), scale[s]);
      float step = __fsub_rn(v, value[s]);
      if (lane == k) {
        grown[s] = step;
        value[s] = v;
        code[s] = found;
        moved |= step != 0.0f;
      }
      step = __shfl_sync(~0u, step, k);
      const float* n = h + (at + s * 32 + k) * m.cols + at;
#pragma unroll
      for (int o = s; o < kOwned; ++o) {
        const int j = o * 32 + lane;
        if (j > s * 32 + k && j < width) slope[o] = fmaf(-step, n[j], slope[o]);
      }
    }
  }
#pragma unroll
  for (int s = 0; s < kOwned; ++s) {
    const int j = s * 32 + lane;
    if (j >= width) continue;
    const int64_t place = row * m.cols + at + j;
    change[row * width + j] = grown[s];
    m.values[place] = value[s];
    m.error[place] = __fsub_rn(m.target[place], value[s]);
    m.codes[place] = static_cast<uint8_t>(code[s]);
  }
  if (moved) *any = 1;
}

unsigned blocks(int64_t count, int64_t size) { return static_cast<unsigned>(ceil_div(count, size)); }

}  // namespace

void search_scales(const Stream& stream, const ScalarMatrix& m, const DeviceLevels& levels, const ScaleTable& table,
                   const ScaleSearch& search, int64_t at, int64_t width, const float* moved, bool delta) {
  search_kernel<<<blocks(m.rows, kWarps), kThreads, 0, stream.get()>>>(m, rounder(levels, table), table, search, at,
                                                                       width, moved, delta);
  check_launch("searching scales");
}

void descend(const Stream& stream, const ScalarMatrix& m, const DeviceLevels& levels, const ScaleTable& table,
             const float* h, float* eh, const Watch& watch) {
  constexpr int kSweeps = 4;  // LNQ's number
  DeviceBuffer<float> change(stream, m.rows * std::min(kMostColumns, m.cols));
  DeviceBuffer<int> any(stream, 1);
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    any.clear();
    for (int64_t at = 0; at < m.cols; at += kMostColumns) {
      watch.poll();
      const int64_t width = std::min(kMostColumns, m.cols - at);
      descend_kernel<<<blocks(m.rows, kWarps), kThreads, 0, stream.get()>>>(
          m, rounder(levels, table), table, eh, at, static_cast<int>(width), h, change.get(), any.get());
      check_launch("descending");
      encode_product(stream, m.rows, m.cols, width, change.get(), width, h + at * m.cols, m.cols, -1.0f, true, eh,
                     m.cols);
    }
    int moved = 0;
    any.download(&moved, 1);
    if (moved == 0) break;
  }
}

}  // namespace lq::cuda
