#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "encode/input_scales.h"
#include "encode/linear.h"
#include "encode/rows.h"
#include "encode/scale_powers.h"

namespace lq::cuda {
namespace {

using cpu::kScaleGroup;
using cpu::kScalePowers;
using cpu::kScaleSampledRows;
constexpr float kLevels = 7;

// Errors of a group of columns of a sampled row in 3 bits, a warp each: e [count, cols].
__global__ void __launch_bounds__(32)
    errors_kernel(const float* y, int64_t rows, int64_t cols, int64_t count, const float* scale, float* e) {
  const int64_t i = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * kScaleGroup;
  const int64_t last = min(cols, first + kScaleGroup);
  const float* w = y + i * rows / count * cols;
  float low = 0.0f, high = 0.0f;
  for (int64_t j = first + threadIdx.x; j < last; j += 32) {
    const float x = w[j] * scale[j];
    low = fminf(low, x);
    high = fmaxf(high, x);
  }
  for (int step = 16; step > 0; step /= 2) {
    low = fminf(low, __shfl_xor_sync(~0u, low, step));
    high = fmaxf(high, __shfl_xor_sync(~0u, high, step));
  }
  const float unit = __fdiv_rn(__fsub_rn(high, low), kLevels);
  for (int64_t j = first + threadIdx.x; j < last; j += 32) {
    const float x = w[j] * scale[j], q = unit > 0.0f ? __fmul_rn(rintf(__fdiv_rn(x, unit)), unit) : x;
    e[i * cols + j] = __fdiv_rn(__fsub_rn(x, q), scale[j]);
  }
}

}  // namespace

std::vector<float> search_input_scales(const Stream& stream, const float* y, int64_t rows, int64_t cols,
                                       const double* h, const std::vector<double>& row_weights) {
  const int64_t count = std::min(rows, kScaleSampledRows);
  std::vector<double> sizes(static_cast<size_t>(cols));
  const size_t step = sizeof(double), pitch = static_cast<size_t>(cols + 1) * step;
  check(cudaMemcpy2DAsync(sizes.data(), step, h, pitch, step, static_cast<size_t>(cols), cudaMemcpyDeviceToHost,
                          stream.get()),
        "copying from the device");
  stream.synchronize();
  for (double& x : sizes) x = std::sqrt(x);
  DeviceBuffer<float> metric(stream, cols * cols), e(stream, count * cols), eh(stream, count * cols),
      scale(stream, cols);
  DeviceBuffer<double> dots(stream, count);
  round_to_float(stream, h, cols * cols, metric.get());
  std::vector<float> best(static_cast<size_t>(cols), 1.0f), tried(best.size());
  std::vector<double> costs(static_cast<size_t>(count));
  double least = std::numeric_limits<double>::infinity();
  for (int power = 0; power <= kScalePowers; ++power) {
    tried = cpu::scales_of_power(sizes, power);
    for (float& x : tried) x = __half2float(__float2half_rn(x));
    scale.upload(tried.data(), cols);
    errors_kernel<<<dim3(static_cast<unsigned>(ceil_div(cols, kScaleGroup)), static_cast<unsigned>(count)), 32, 0,
                    stream.get()>>>(y, rows, cols, count, scale.get(), e.get());
    check_launch("trying input scales");
    encode_product(stream, count, cols, cols, e.get(), cols, metric.get(), cols, 1.0f, false, eh.get(), cols);
    row_dots(stream, e.get(), eh.get(), count, cols, dots.get());
    dots.download(costs.data(), count);
    double cost = 0;
    for (int64_t i = 0; i < count; ++i) {
      cost += row_weights[static_cast<size_t>(i * rows / count)] * costs[static_cast<size_t>(i)];
    }
    if (cost < least) {
      least = cost;
      best = tried;
    }
  }
  return best;
}

}  // namespace lq::cuda
