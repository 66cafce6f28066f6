#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "encode/scalar.cuh"
#include "quant/scales.h"

namespace lq::cuda {
namespace {

unsigned blocks(int64_t count, int64_t size) { return static_cast<unsigned>(ceil_div(count, size)); }

__global__ void absmax_kernel(const float* x, int64_t count, int64_t block, float unit, float top, int64_t blocks,
                              float* out) {
  const int64_t b = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (b >= blocks) return;
  float largest = 0.0f;
  for (int64_t i = b * block; i < count && i < (b + 1) * block; ++i) largest = fmaxf(largest, fabsf(x[i]));
  out[b] = __fdiv_rn(__fmul_rn(largest, unit), top);
}

__global__ void divide_kernel(float* x, int64_t count, float divisor) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) x[i] = __fdiv_rn(x[i], divisor);
}

// A warp a row.
__global__ void find_scales_kernel(const ScalarMatrix m, const ScaleTable t, int64_t at, int64_t width,
                                   const float* moved, bool delta) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= m.rows) return;
  float low = 0.0f, high = 0.0f;
  for (int64_t j = threadIdx.x % 32; j < width; j += 32) {
    const float x = moved[row * width + j] + (delta ? m.target[row * m.cols + at + j] : 0.0f);
    low = fminf(low, x);
    high = fmaxf(high, x);
  }
  for (int step = 16; step > 0; step /= 2) {
    low = fminf(low, __shfl_xor_sync(~0u, low, step));
    high = fmaxf(high, __shfl_xor_sync(~0u, high, step));
  }
  if (threadIdx.x % 32 != 0) return;
  const float exact = t.asymmetric ? __fdiv_rn(__fsub_rn(high, low), t.steps) : __fdiv_rn(fmaxf(-low, high), t.top);
  const float s = __half2float(__float2half_rn(fminf(exact, 65504.0f)));
  const int64_t place = scale_place(t, row, at, m.cols);
  t.scales[place] = s;
  const float zero = t.asymmetric && s > 0.0f ? fminf(fmaxf(rintf(__fdiv_rn(-low, s)), 0.0f), t.steps) : 0.0f;
  t.zeros[place] = static_cast<uint8_t>(zero);
}

// A warp a row, which hands the error of each column on to those after it; a lane owns every 32nd column. Solve: what
// is handed on is the column itself, and nothing is rounded.
template <bool Solve>
__global__ void __launch_bounds__(kThreads)
    columns_kernel(const ScalarMatrix m, const Rounder z, const ScaleTable t, float* wide, int64_t ld, int64_t at,
                   int64_t offset, int width, const float* feedback) {
  __shared__ DeviceBook book;
  if (!Solve) load_book(z, &book);
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32, col = at + offset;
  const int lane = threadIdx.x % 32;
  if (row >= m.rows) return;
  float x[kOwned], original[kOwned], scale[kOwned], inverse[kOwned], zero[kOwned], value[kOwned], error[kOwned];
  int code[kOwned];
#pragma unroll
  for (int s = 0; s < kOwned; ++s) {
    const int j = s * 32 + lane;
    x[s] = original[s] = scale[s] = inverse[s] = zero[s] = value[s] = error[s] = 0.0f;
    code[s] = 0;
    if (j >= width) continue;
    x[s] = wide[row * ld + offset + j];
    if constexpr (!Solve) {
      original[s] = m.target[row * m.cols + col + j];
      const int64_t place = scale_place(t, row, col + j, m.cols);
      scale[s] = t.scales[place];
      inverse[s] = scale[s] != 0.0f ? __fdiv_rn(1.0f, scale[s]) : 0.0f;
      if (z.zeroed) zero[s] = static_cast<float>(t.zeros[place]);
    }
  }
#pragma unroll
  for (int s = 0; s < kOwned; ++s) {
    for (int k = 0; k < 32 && s * 32 + k < width; ++k) {
      float handed = -x[s];
      if constexpr (!Solve) {
        int found;
        const float level = nearest_level(z, book, x[s] * inverse[s], zero[s], &found);
        const float v = __fmul_rn(level, scale[s]), e = __fsub_rn(original[s], v);
        // Without feedback all lanes are right at once.
        if (lane == k || feedback == nullptr) {
          value[s] = v;
          error[s] = e;
          code[s] = found;
        }
        if (feedback == nullptr) break;
        handed = e;
      }
      handed = __shfl_sync(~0u, handed, k);
      const float* n = feedback + (col + s * 32 + k) * m.cols + col;
#pragma unroll
      for (int o = s; o < kOwned; ++o) {
        const int j = o * 32 + lane;
        if (j > s * 32 + k && j < width) x[o] = fmaf(handed, n[j], x[o]);
      }
    }
  }
#pragma unroll
  for (int s = 0; s < kOwned; ++s) {
    const int j = s * 32 + lane;
    if (j >= width) continue;
    if constexpr (Solve) {
      wide[row * ld + offset + j] = x[s];
    } else {
      const int64_t place = row * m.cols + col + j;
      m.values[place] = value[s];
      m.error[place] = error[s];
      m.codes[place] = static_cast<uint8_t>(code[s]);
    }
  }
}

// Value of a weight in units of its scale, and what its error counts.
struct Weighed {
  float value, weight;
};
__device__ inline Weighed weigh(const ScalarMatrix& m, const ScaleTable& t, const FitWeights& w, int64_t i) {
  const int64_t row = i / m.cols, col = i % m.cols;
  const float s = t.scales[scale_place(t, row, col, m.cols)];
  const float f = w.elementwise != nullptr ? w.elementwise[i]
                  : w.by_column == nullptr ? 1.0f
                                           : w.by_column[col * w.stride];
  return {s > 0.0f ? __fdiv_rn(m.target[i], s) : 0.0f, f * w.row_weight[row] * s * s};
}

// Largest weight and largest |weight value|, as bits of floats that are not negative.
__global__ void fit_range_kernel(const ScalarMatrix m, const ScaleTable t, const FitWeights w, int* largest) {
  float weight = 0.0f, moment = 0.0f;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < m.rows * m.cols;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const Weighed x = weigh(m, t, w, i);
    weight = fmaxf(weight, x.weight);
    moment = fmaxf(moment, fabsf(x.weight * x.value));
  }
  atomicMax(largest, __float_as_int(weight));
  atomicMax(largest + 1, __float_as_int(moment));
}

// Sums in fixed point, which do not depend on their order.
__global__ void fit_kernel(const ScalarMatrix m, const ScaleTable t, const FitWeights w, double weight_unit,
                           double moment_unit, unsigned long long* bins) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < m.rows * m.cols;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const Weighed x = weigh(m, t, w, i);
    const float at = (fminf(fmaxf(x.value, -cpu::kFitRange), cpu::kFitRange) + cpu::kFitRange) *
                     (static_cast<float>(cpu::kFitBins) / (2 * cpu::kFitRange));
    const int64_t bin = min(static_cast<long long>(cpu::kFitBins - 1), static_cast<long long>(at));
    const double weight = static_cast<double>(x.weight);
    atomicAdd(bins + 2 * bin, static_cast<unsigned long long>(__double2ll_rn(weight * weight_unit)));
    atomicAdd(bins + 2 * bin + 1,
              static_cast<unsigned long long>(__double2ll_rn(weight * static_cast<double>(x.value) * moment_unit)));
  }
}

}  // namespace

DeviceLevels::DeviceLevels(const Stream& stream, const cpu::Levels& levels) : levels_(levels) {
  if (levels.integers) return;
  const DeviceBook book = make_device_book(levels.book);
  book_ = DeviceBuffer<DeviceBook>(stream, 1);
  codes_ = DeviceBuffer<uint8_t>(stream, kMaxLevels);
  book_.upload(&book, 1);
  codes_.upload(levels_.codes, kMaxLevels);
  stream.synchronize();
}

void two_level_scales(const Stream& stream, const ScalarMatrix& m, const QuantConfig& config, float unit,
                      const ScaleTable& table, uint8_t* codes, float* maxima, uint32_t* minimum) {
  const int64_t count = m.rows * m.cols, n = block_count(config, count);
  absmax_kernel<<<blocks(n, kThreads), kThreads, 0, stream.get()>>>(m.target, count, config.block, unit, table.top, n,
                                                                    table.scales);
  check_launch("block absmax");
  constexpr uint32_t kInfinity = 0x7f800000u;
  const ScaleSlot host{table.scales, minimum, codes, maxima, n, config.b1, config.group, config.b2, 0, 1, nullptr};
  DeviceBuffer<ScaleSlot> slot(stream, 1);
  slot.upload(&host, 1);
  check(cudaMemcpyAsync(minimum, &kInfinity, sizeof kInfinity, cudaMemcpyHostToDevice, stream.get()),
        "copying to the device");
  LiveSlots live{};
  live.count = 1;
  launch_scales(stream, slot.get(), live, n, group_count(config, count), true);
  divide_kernel<<<blocks(n, kThreads), kThreads, 0, stream.get()>>>(table.scales, n, unit);
  check_launch("block scales");
  stream.synchronize();  // the slot goes before the copy would
}

void find_scales(const Stream& stream, const ScalarMatrix& m, const ScaleTable& table, int64_t at, int64_t width,
                 const float* moved, bool delta) {
  find_scales_kernel<<<blocks(m.rows, kWarps), kThreads, 0, stream.get()>>>(m, table, at, width, moved, delta);
  check_launch("finding scales");
}

void round_columns(const Stream& stream, const ScalarMatrix& m, const DeviceLevels& levels, const ScaleTable& table,
                   const float* wide, int64_t ld, int64_t at, int64_t offset, int64_t width, const float* feedback) {
  columns_kernel<false><<<blocks(m.rows, kWarps), kThreads, 0, stream.get()>>>(
      m, rounder(levels, table), table, const_cast<float*>(wide), ld, at, offset, static_cast<int>(width), feedback);
  check_launch("rounding");
}

void solve_columns(const Stream& stream, int64_t rows, float* x, int64_t ld, int64_t at, int64_t offset, int64_t width,
                   const float* feedback, int64_t cols) {
  const ScalarMatrix m{rows, cols, nullptr, nullptr, nullptr, nullptr};
  columns_kernel<true><<<blocks(rows, kWarps), kThreads, 0, stream.get()>>>(m, Rounder{}, ScaleTable{}, x, ld, at,
                                                                            offset, static_cast<int>(width), feedback);
  check_launch("following feedback");
}

std::vector<cpu::FitBin> fit_histogram(const Stream& stream, const ScalarMatrix& m, const ScaleTable& table,
                                       const FitWeights& weights) {
  DeviceBuffer<int> range(stream, 2);
  range.clear();
  fit_range_kernel<<<1024, kThreads, 0, stream.get()>>>(m, table, weights, range.get());
  check_launch("weighing values");
  float largest[2];
  int bits[2];
  range.download(bits, 2);
  std::memcpy(largest, bits, sizeof largest);
  // As many bits as sums of all elements leave room for.
  const int room = 61 - std::ilogb(static_cast<double>(m.rows * m.cols));
  const auto unit = [&](float x) { return x > 0 ? std::ldexp(1.0, room - std::ilogb(x)) : 1.0; };
  const double weight_unit = unit(largest[0]), moment_unit = unit(largest[1]);
  DeviceBuffer<unsigned long long> bins(stream, 2 * cpu::kFitBins);
  bins.clear();
  fit_kernel<<<1024, kThreads, 0, stream.get()>>>(m, table, weights, weight_unit, moment_unit, bins.get());
  check_launch("weighing values");
  std::vector<unsigned long long> host(static_cast<size_t>(2 * cpu::kFitBins));
  bins.download(host.data(), bins.size());
  std::vector<cpu::FitBin> out(static_cast<size_t>(cpu::kFitBins));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = {static_cast<double>(host[2 * i]) / weight_unit,
              static_cast<double>(static_cast<int64_t>(host[2 * i + 1])) / moment_unit};
  }
  return out;
}

}  // namespace lq::cuda
