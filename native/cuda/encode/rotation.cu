#include <cmath>

#include "encode/rotation.h"

namespace lq::cuda {
namespace {

// A run of b elements of a row a block. Signs and scale come before the rotation or, on the way back, after it.
template <typename T, bool Back = false>
__global__ void rotate_kernel(T* x, int64_t cols, int b, const float* signs, T scale) {
  __shared__ T s[512];
  const int64_t runs = cols / b, run = static_cast<int64_t>(blockIdx.x) % runs;
  T* row = x + static_cast<int64_t>(blockIdx.x) / runs * cols + run * b;
  const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  for (int j = thread; j < b; j += threads) s[j] = Back ? row[j] : row[j] * static_cast<T>(signs[run * b + j]) * scale;
  __syncthreads();
  for (int h = 1; h < b; h *= 2) {
    for (int i = thread; i < b / 2; i += threads) {
      const int low = i / h * 2 * h + i % h;
      const T u = s[low], v = s[low + h];
      s[low] = u + v;
      s[low + h] = u - v;
    }
    __syncthreads();
  }
  for (int j = thread; j < b; j += threads) {
    row[j] = Back ? s[j] * scale * static_cast<T>(signs[run * b + j]) : s[j];
  }
}

__global__ void transpose_kernel(double* a, int64_t n) {
  const int64_t i = blockIdx.y, j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= n || j <= i) return;
  const double x = a[i * n + j];
  a[i * n + j] = a[j * n + i];
  a[j * n + i] = x;
}

template <typename T, bool Back = false>
void rotate(const Stream& stream, T* x, int64_t rows, int64_t cols, int b, const float* signs) {
  const int threads = b / 2 > 32 ? b / 2 : 32;
  rotate_kernel<T, Back><<<static_cast<unsigned>(rows * (cols / b)), threads, 0, stream.get()>>>(
      x, cols, b, signs, static_cast<T>(1.0 / std::sqrt(static_cast<double>(b))));
  check_launch("rotating");
}

}  // namespace

DeviceRotation::DeviceRotation(const Stream& stream, int64_t cols, uint64_t seed)
    : cols_(cols), block_(static_cast<int>(cols & -cols)), signs_(stream, cols) {
  if ((cols & -cols) > 512) block_ = 512;
  std::vector<float> signs(static_cast<size_t>(cols));
  for (int64_t j = 0; j < cols; ++j) {
    uint64_t z = seed + static_cast<uint64_t>(j + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    signs[static_cast<size_t>(j)] = ((z ^ (z >> 31)) >> 63) != 0 ? -1.0f : 1.0f;
  }
  signs_.upload(signs.data(), cols);
  stream.synchronize();
}

void DeviceRotation::forward(const Stream& stream, float* x, int64_t rows) const {
  rotate(stream, x, rows, cols_, block_, signs_.get());
}

void DeviceRotation::inverse(const Stream& stream, float* x, int64_t rows) const {
  rotate<float, true>(stream, x, rows, cols_, block_, signs_.get());
}

void DeviceRotation::both_sides(const Stream& stream, double* h) const {
  rotate(stream, h, cols_, cols_, block_, signs_.get());
  transpose_kernel<<<dim3(static_cast<unsigned>(ceil_div(cols_, 256)), static_cast<unsigned>(cols_)), 256, 0,
                     stream.get()>>>(h, cols_);
  check_launch("rotating");
  rotate(stream, h, cols_, cols_, block_, signs_.get());
}

}  // namespace lq::cuda
