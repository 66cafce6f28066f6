#include <cuda_fp16.h>

#include <vector>

#include "encode/rows.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 128;

unsigned blocks(int64_t count, int64_t size) { return static_cast<unsigned>(ceil_div(count, size)); }

// Sum over the block's threads, in a fixed order; all threads get it.
__device__ double block_sum(double x) {
  __shared__ double sums[kThreads];
  __syncthreads();
  sums[threadIdx.x] = x;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  return sums[0];
}

__device__ double dot(const float* x, const float* y, int64_t n) {
  double sum = 0;
  for (int64_t j = threadIdx.x; j < n; j += kThreads) sum += static_cast<double>(x[j]) * static_cast<double>(y[j]);
  return block_sum(sum);
}

__device__ double weighted_dot(const float* x, const float* y, const float* f, int64_t n) {
  double sum = 0;
  for (int64_t j = threadIdx.x; j < n; j += kThreads) {
    sum += static_cast<double>(f[j]) * static_cast<double>(x[j]) * static_cast<double>(y[j]);
  }
  return block_sum(sum);
}

__device__ float to_half_and_back(double x) {
  return __half2float(__float2half_rn(static_cast<float>(fmin(fmax(x, 0.0), 65504.0))));
}

__global__ void largest_kernel(const float* x, int64_t count, int* bits) {
  int largest = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    largest = max(largest, __float_as_int(fabsf(x[i])));
  }
  atomicMax(bits, largest);
}

__global__ void scale_kernel(float* x, int64_t count, float factor) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) x[i] *= factor;
}

__global__ void moment_kernel(const float* a, int64_t n, double divisor, double damping, double* h) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n * n) return;
  const int64_t row = i / n, col = i % n;
  h[i] = (static_cast<double>(a[i]) + static_cast<double>(a[col * n + row])) / 2 / divisor + (row == col ? damping : 0);
}

__global__ void round_kernel(const double* x, int64_t count, float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) out[i] = static_cast<float>(x[i]);
}

__global__ void difference_kernel(const float* a, const float* b, int64_t ldb, int64_t count, int64_t width,
                                  float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) out[i] = a[i] - b[i / width * ldb + i % width];
}

__global__ void remainder_kernel(const float* whole, const float* part, const float* error, int64_t count,
                                 float* rest) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) rest[i] = whole[i] - part[i] + error[i];
}

__global__ void dots_kernel(const float* x, const float* y, int64_t cols, double* dots) {
  const int64_t row = blockIdx.x;
  const double sum = dot(x + row * cols, y + row * cols, cols);
  if (threadIdx.x == 0) dots[row] = sum;
}

__global__ void scales_kernel(const float* x, int64_t cols, double wide, float* scales) {
  const int64_t row = blockIdx.x;
  const double sum = dot(x + row * cols, x + row * cols, cols);
  if (threadIdx.x == 0) scales[row] = to_half_and_back(wide * sqrt(sum / static_cast<double>(cols)));
}

__global__ void weighted_kernel(const float* x, const float* f, int64_t cols, double* out) {
  const double sum = weighted_dot(x + blockIdx.x * cols, x + blockIdx.x * cols, f + blockIdx.x * cols, cols);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

__global__ void multiply_columns_kernel(float* x, int64_t count, int64_t cols, const float* scale) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) x[i] *= scale[i % cols];
}

__global__ void divide_columns_kernel(float* x, int64_t count, int64_t cols, const float* scale) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) x[i] = __fdiv_rn(x[i], scale[i % cols]);
}

__global__ void divide_both_kernel(double* h, int64_t cols, const float* scale) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < cols * cols) h[i] /= static_cast<double>(scale[i / cols]) * static_cast<double>(scale[i % cols]);
}

__global__ void sides_kernel(float* x, int64_t count, int64_t cols, const float* by_row, const float* by_column) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) x[i] *= by_row[i / cols] * by_column[i % cols];
}

__global__ void scaled_errors_kernel(const float* y, const float* v, const float* scales, int64_t count, int64_t cols,
                                     float* error) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) error[i] = y[i] - scales[i / cols] * v[i];
}

__global__ void refit_kernel(const float* y, const float* yh, const float* v, const float* vh, const float* fisher,
                             int64_t cols, float* scales, double* costs, double* squares) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * cols;
  const float* against = vh != nullptr ? vh + at : v + at;
  const bool elementwise = vh == nullptr && fisher != nullptr;
  const double vv = elementwise ? weighted_dot(v + at, v + at, fisher + at, cols) : dot(v + at, against, cols);
  const double yv = elementwise ? weighted_dot(y + at, v + at, fisher + at, cols) : dot(y + at, against, cols);
  float s = scales[blockIdx.x];
  if (s > 0 && vv > 0) s = to_half_and_back(yv / vv);
  double square = 0, cost = 0;
  for (int64_t j = threadIdx.x; j < cols; j += kThreads) {
    const double e = static_cast<double>(y[at + j] - s * v[at + j]);
    square += e * e;
    if (vh != nullptr) cost += e * static_cast<double>(yh[at + j] - s * vh[at + j]);
  }
  square = block_sum(square);
  cost = block_sum(cost);
  __syncthreads();
  if (threadIdx.x != 0) return;
  scales[blockIdx.x] = s;
  squares[blockIdx.x] = square;
  costs[blockIdx.x] = vh != nullptr ? fmax(cost, 0.0) : square;
}

// One probe of random signs a block; 16 columns times 16 slices of the rows above them.
__global__ void __launch_bounds__(256) variance_kernel(const float* by_tile, int64_t n, float* probes, double* sums) {
  float* e = probes + blockIdx.x * n;
  __shared__ float parts[16][17];
  const int column = static_cast<int>(threadIdx.x) % 16, slice = static_cast<int>(threadIdx.x) / 16;
  for (int64_t j = threadIdx.x; j < n; j += 256) {
    uint32_t x = static_cast<uint32_t>(blockIdx.x * 0x9E3779B1u + j * 0x85EBCA6Bu + 1u);
    x ^= x >> 16;
    x *= 0xC2B2AE35u;
    x ^= x >> 13;
    x *= 0x27D4EB2Fu;
    e[j] = (x >> 31) != 0 ? -1.0f : 1.0f;
  }
  __syncthreads();
  double moved = 0;
  for (int64_t at = 16; at < n; at += 16) {
    float sum = 0;
    if (at + column < n) {
      for (int64_t k = slice; k < at; k += 16) sum += e[k] * by_tile[k * n + at + column];
    }
    parts[slice][column] = sum;
    __syncthreads();
    if (slice == 0 && at + column < n) {
      float total = 0;
      for (int s = 0; s < 16; ++s) total += parts[s][column];
      e[at + column] -= total;
      moved += static_cast<double>(total) * static_cast<double>(total);
    }
    __syncthreads();
  }
  if (slice == 0) parts[0][column] = static_cast<float>(moved);
  __syncthreads();
  if (threadIdx.x != 0) return;
  double total = 0;
  for (int c = 0; c < 16; ++c) total += static_cast<double>(parts[0][c]);
  sums[blockIdx.x] = total;
}

}  // namespace

float largest_magnitude(const Stream& stream, const float* x, int64_t count) {
  DeviceBuffer<int> bits(stream, 1);
  bits.clear();
  largest_kernel<<<1024, 256, 0, stream.get()>>>(x, count, bits.get());
  check_launch("looking for the largest weight");
  int host = 0;
  bits.download(&host, 1);
  float out;
  std::memcpy(&out, &host, sizeof out);
  return out;
}

void scale_by(const Stream& stream, float* x, int64_t count, float factor) {
  scale_kernel<<<blocks(count, 256), 256, 0, stream.get()>>>(x, count, factor);
  check_launch("scaling");
}

void damped_moment(const Stream& stream, const float* a, int64_t n, double divisor, double damping, double* h) {
  moment_kernel<<<blocks(n * n, 256), 256, 0, stream.get()>>>(a, n, divisor, damping, h);
  check_launch("preparing the second moment");
}

void round_to_float(const Stream& stream, const double* x, int64_t count, float* out) {
  round_kernel<<<blocks(count, 256), 256, 0, stream.get()>>>(x, count, out);
  check_launch("rounding");
}

void difference(const Stream& stream, const float* a, const float* b, int64_t ldb, int64_t rows, int64_t width,
                float* out) {
  difference_kernel<<<blocks(rows * width, 256), 256, 0, stream.get()>>>(a, b, ldb, rows * width, width, out);
  check_launch("subtracting");
}

void remainder(const Stream& stream, const float* whole, const float* part, const float* error, int64_t count,
               float* rest) {
  remainder_kernel<<<blocks(count, 256), 256, 0, stream.get()>>>(whole, part, error, count, rest);
  check_launch("subtracting");
}

void row_dots(const Stream& stream, const float* x, const float* y, int64_t rows, int64_t cols, double* dots) {
  dots_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream.get()>>>(x, y, cols, dots);
  check_launch("summing rows");
}

void row_scales(const Stream& stream, const float* x, int64_t rows, int64_t cols, double wide, float* scales) {
  scales_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream.get()>>>(x, cols, wide, scales);
  check_launch("finding row scales");
}

void weighted_squares(const Stream& stream, const float* x, const float* f, int64_t rows, int64_t cols, double* out) {
  weighted_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream.get()>>>(x, f, cols, out);
  check_launch("summing rows");
}

void multiply_columns(const Stream& stream, float* x, int64_t rows, int64_t cols, const float* scale) {
  multiply_columns_kernel<<<blocks(rows * cols, 256), 256, 0, stream.get()>>>(x, rows * cols, cols, scale);
  check_launch("scaling columns");
}

void divide_columns(const Stream& stream, float* x, int64_t rows, int64_t cols, const float* scale) {
  divide_columns_kernel<<<blocks(rows * cols, 256), 256, 0, stream.get()>>>(x, rows * cols, cols, scale);
  check_launch("scaling columns");
}

void divide_both_sides(const Stream& stream, double* h, int64_t cols, const float* scale) {
  divide_both_kernel<<<blocks(cols * cols, 256), 256, 0, stream.get()>>>(h, cols, scale);
  check_launch("scaling columns");
}

void scale_sides(const Stream& stream, float* x, int64_t rows, int64_t cols, const float* by_row,
                 const float* by_column) {
  sides_kernel<<<blocks(rows * cols, 256), 256, 0, stream.get()>>>(x, rows * cols, cols, by_row, by_column);
  check_launch("scaling both sides");
}

void scaled_errors(const Stream& stream, const float* y, const float* v, const float* scales, int64_t rows,
                   int64_t cols, float* error) {
  scaled_errors_kernel<<<blocks(rows * cols, 256), 256, 0, stream.get()>>>(y, v, scales, rows * cols, cols, error);
  check_launch("finding errors");
}

void refit_scales(const Stream& stream, const float* y, const float* yh, const float* v, const float* vh,
                  const float* fisher, int64_t rows, int64_t cols, float* scales, double* costs, double* squares) {
  refit_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream.get()>>>(y, yh, v, vh, fisher, cols, scales, costs,
                                                                           squares);
  check_launch("fitting row scales");
}

double feedback_variance(const Stream& stream, const float* by_tile, int64_t n) {
  constexpr int kProbes = 32;
  DeviceBuffer<double> sums(stream, kProbes);
  DeviceBuffer<float> probes(stream, kProbes * n);
  variance_kernel<<<kProbes, 256, 0, stream.get()>>>(by_tile, n, probes.get(), sums.get());
  check_launch("probing feedback");
  double host[kProbes];
  sums.download(host, kProbes);
  double total = 0;
  for (const double x : host) total += x;
  return total / (kProbes * static_cast<double>(n));
}

}  // namespace lq::cuda
