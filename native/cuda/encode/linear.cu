#include <vector>

#include "encode/linear.h"

namespace lq::cuda {
namespace {

constexpr int kTile = 16;   // columns of a tile of the trellis
constexpr int kBlock = 64;  // of the Cholesky factor

// c = factor * a b, or c += that. 64 x 64 of c a block, 4 x 4 a thread, 16 of k at a time.
template <typename Sum, typename Element>
__global__ void product_kernel(int64_t m, int64_t n, int64_t k, const Element* __restrict__ a, int64_t lda,
                               const Element* __restrict__ b, int64_t ldb, Sum factor, bool accumulate, Sum* c,
                               int64_t ldc) {
  __shared__ Sum left[16][68], right[16][64];
  const int64_t row = static_cast<int64_t>(blockIdx.y) * 64, col = static_cast<int64_t>(blockIdx.x) * 64;
  const int thread = static_cast<int>(threadIdx.x), tx = thread % 16, ty = thread / 16;
  Sum sums[4][4] = {};
  for (int64_t at = 0; at < k; at += 16) {
    for (int i = thread; i < 1024; i += 256) {
      const int64_t r = row + i / 16, q = at + i % 16;
      left[i % 16][i / 16] = r < m && q < k ? static_cast<Sum>(a[r * lda + q]) : Sum{0};
      const int64_t p = at + i / 64, s = col + i % 64;
      right[i / 64][i % 64] = p < k && s < n ? static_cast<Sum>(b[p * ldb + s]) : Sum{0};
    }
    __syncthreads();
#pragma unroll
    for (int q = 0; q < 16; ++q) {
      Sum x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[i] = left[q][ty * 4 + i];
        y[i] = right[q][tx * 4 + i];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] += x[i] * y[j];
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const int64_t r = row + ty * 4 + i, s = col + tx * 4 + j;
      if (r < m && s < n) c[r * ldc + s] = factor * sums[i][j] + (accumulate ? c[r * ldc + s] : Sum{0});
    }
  }
}

// Both indices turned around, so that a lower factor becomes an upper one.
__global__ void turn_kernel(const double* in, double jitter, double* out, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n * n) return;
  out[i] = in[n * n - 1 - i] + (i / n == i % n ? jitter : 0.0);
}

// Lower factor of the diagonal block at k, in place; *failed when it is not positive definite.
__global__ void diagonal_kernel(double* a, int64_t n, int64_t k, int width, int* failed) {
  __shared__ double s[kBlock][kBlock + 1];
  const int i = static_cast<int>(threadIdx.x);
  for (int j = 0; j < width && i < width; ++j) s[i][j] = a[(k + i) * n + k + j];
  __syncthreads();
  for (int p = 0; p < width; ++p) {
    if (i == p) {
      if (!(s[p][p] > 0)) *failed = 1;
      s[p][p] = sqrt(s[p][p]);
    }
    __syncthreads();
    if (i > p && i < width) s[i][p] /= s[p][p];
    __syncthreads();
    if (i > p && i < width) {
      for (int j = p + 1; j <= i; ++j) s[i][j] -= s[i][p] * s[j][p];
    }
    __syncthreads();
  }
  for (int j = 0; j < width && i < width; ++j) a[(k + i) * n + k + j] = j <= i ? s[i][j] : 0.0;
}

// Rows below the diagonal block at k times L^-T; a thread a row.
__global__ void panel_kernel(double* a, int64_t n, int64_t k, int width) {
  __shared__ double l[kBlock][kBlock + 1];
  for (int i = static_cast<int>(threadIdx.x); i < width * width; i += static_cast<int>(blockDim.x)) {
    l[i / width][i % width] = a[(k + i / width) * n + k + i % width];
  }
  __syncthreads();
  const int64_t row = k + width + static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= n) return;
  double* x = a + row * n + k;
  for (int j = 0; j < width; ++j) {
    double sum = x[j];
    for (int p = 0; p < j; ++p) sum -= x[p] * l[j][p];
    x[j] = sum / l[j][j];
  }
}

// a -= p p' below the block at k, lower triangle; 32 x 32 a block.
__global__ void update_kernel(double* a, int64_t n, int64_t k, int width) {
  if (blockIdx.x > blockIdx.y) return;
  __shared__ double left[32][17], right[32][17];
  const int64_t begin = k + width, row = begin + static_cast<int64_t>(blockIdx.y) * 32,
                col = begin + static_cast<int64_t>(blockIdx.x) * 32;
  const int thread = static_cast<int>(threadIdx.x), tx = thread % 16, ty = thread / 16;
  double sums[2][2] = {};
  for (int at = 0; at < width; at += 16) {
    for (int i = thread; i < 512; i += 256) {
      const int64_t r = row + i / 16, s = col + i / 16;
      const int q = at + i % 16;
      left[i / 16][i % 16] = r < n && q < width ? a[r * n + k + q] : 0.0;
      right[i / 16][i % 16] = s < n && q < width ? a[s * n + k + q] : 0.0;
    }
    __syncthreads();
#pragma unroll
    for (int q = 0; q < 16; ++q) {
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) sums[i][j] += left[ty + 16 * i][q] * right[tx + 16 * j][q];
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) {
      const int64_t r = row + ty + 16 * i, s = col + tx + 16 * j;
      if (r < n && s <= r) a[r * n + s] -= sums[i][j];
    }
  }
}

// The lower factor turned around is the upper R.
__global__ void turn_back_kernel(const double* l, double* r, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n * n) return;
  r[i] = i % n >= i / n ? l[n * n - 1 - i] : 0.0;
}

// One block of columns a y, a row above it a thread: x R_BB = r.
__global__ void feedback_kernel(const double* r, int64_t n, float* out) {
  __shared__ double u[kTile][kTile + 1];
  const int64_t at = static_cast<int64_t>(blockIdx.y) * kTile;
  const int width = static_cast<int>(n - at < kTile ? n - at : kTile);
  for (int i = static_cast<int>(threadIdx.x); i < width * width; i += static_cast<int>(blockDim.x)) {
    u[i / width][i % width] = r[(at + i / width) * n + at + i % width];
  }
  __syncthreads();
  const int64_t k = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (k >= at) return;
  double x[kTile];
  for (int j = 0; j < width; ++j) {
    double sum = r[k * n + at + j];
    for (int p = 0; p < j; ++p) sum -= x[p] * u[p][j];
    x[j] = sum / u[j][j];
    out[k * n + at + j] = static_cast<float>(x[j]);
  }
}

__global__ void column_feedback_kernel(const double* r, int64_t n, float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, row = i / n, col = i % n;
  if (i < n * n) out[i] = row < col ? static_cast<float>(r[i] / r[col * n + col]) : 0.0f;
}

__global__ void squared_diagonal_kernel(const double* r, int64_t n, float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) out[i] = static_cast<float>(r[i * n + i] * r[i * n + i]);
}

__global__ void trace_kernel(const double* r, int64_t n, double* rows) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n) return;
  double sum = 0;
  for (int64_t j = i; j < n && j < (i / kTile + 1) * kTile; ++j) sum += r[i * n + j] * r[i * n + j];
  rows[i] = sum;
}

__global__ void transpose_kernel(const double* in, int64_t n, double* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n * n) out[i % n * n + i / n] = in[i];
}

// Columns [at, at + width) of a row of x, a thread each, times the inverse of t's diagonal block there: t upper, or
// lower.
template <bool Lower>
__global__ void solve_block_kernel(const double* t, int64_t n, int64_t at, int width, int64_t m, double* x) {
  __shared__ double block[kBlock][kBlock + 1];
  for (int i = static_cast<int>(threadIdx.x); i < width * width; i += static_cast<int>(blockDim.x)) {
    block[i / width][i % width] = t[(at + i / width) * n + at + i % width];
  }
  __syncthreads();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= m) return;
  double* y = x + row * n + at;
  for (int step = 0; step < width; ++step) {
    const int j = Lower ? width - 1 - step : step;
    double sum = y[j];
    for (int k = Lower ? j + 1 : 0; k < (Lower ? width : j); ++k) sum -= y[k] * block[k][j];
    y[j] = sum / block[j][j];
  }
}

__global__ void add_kernel(const double* x, int64_t count, double step, float* w) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) w[i] = static_cast<float>(static_cast<double>(w[i]) + step * x[i]);
}

unsigned blocks(int64_t count, int64_t size) { return static_cast<unsigned>(ceil_div(count, size)); }

// The upper factor of h with `jitter` on its diagonal; empty when that is not positive definite.
DeviceBuffer<double> factor_with(const Stream& stream, const double* h, int64_t n, double jitter) {
  DeviceBuffer<double> work(stream, n * n), r(stream, n * n);
  DeviceBuffer<int> failed(stream, 1);
  failed.clear();
  turn_kernel<<<blocks(n * n, 256), 256, 0, stream.get()>>>(h, jitter, work.get(), n);
  for (int64_t k = 0; k < n; k += kBlock) {
    const int width = static_cast<int>(n - k < kBlock ? n - k : kBlock);
    const int64_t rest = n - k - width;
    diagonal_kernel<<<1, kBlock, 0, stream.get()>>>(work.get(), n, k, width, failed.get());
    if (rest == 0) break;
    panel_kernel<<<blocks(rest, 64), 64, 0, stream.get()>>>(work.get(), n, k, width);
    update_kernel<<<dim3(blocks(rest, 32), blocks(rest, 32)), 256, 0, stream.get()>>>(work.get(), n, k, width);
  }
  check_launch("factoring the second moment");
  int bad = 0;
  failed.download(&bad, 1);
  if (bad != 0) return {};
  turn_back_kernel<<<blocks(n * n, 256), 256, 0, stream.get()>>>(work.get(), r.get(), n);
  check_launch("factoring the second moment");
  return r;
}

// x[:, at .. at + width) -= x[:, from .. from + count) t[from .., at .. at + width).
struct SolvedColumns {
  int64_t from, count, at, width;
};
void subtract_solved(const Stream& stream, const double* t, int64_t n, int64_t m, double* x, const SolvedColumns& c) {
  if (c.count == 0) return;
  product_kernel<double><<<dim3(blocks(c.width, 64), blocks(m, 64)), 256, 0, stream.get()>>>(
      m, c.width, c.count, x + c.from, n, t + c.from * n + c.at, n, -1.0, true, x + c.at, n);
}

}  // namespace

void encode_product(const Stream& stream, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
                    int64_t ldb, float factor, bool accumulate, float* c, int64_t ldc) {
  product_kernel<float><<<dim3(blocks(n, 64), blocks(m, 64)), 256, 0, stream.get()>>>(m, n, k, a, lda, b, ldb, factor,
                                                                                      accumulate, c, ldc);
  check_launch("multiplying");
}

void product_in_double(const Stream& stream, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
                       double* out) {
  product_kernel<double>
      <<<dim3(blocks(n, 64), blocks(m, 64)), 256, 0, stream.get()>>>(m, n, k, a, k, b, n, 1.0, false, out, n);
  check_launch("multiplying");
}

void add_in_double(const Stream& stream, const double* x, int64_t count, double step, float* w) {
  add_kernel<<<blocks(count, 256), 256, 0, stream.get()>>>(x, count, step, w);
  check_launch("adding");
}

DeviceBuffer<double> exact_upper_factor(const Stream& stream, const double* h, int64_t n) {
  return factor_with(stream, h, n, 0);
}

DeviceBuffer<double> upper_factor(const Stream& stream, const double* h, int64_t n) {
  for (double jitter = 0;; jitter = jitter == 0 ? 1e-7 : jitter * 10) {
    DeviceBuffer<double> r = factor_with(stream, h, n, jitter);
    if (r.get() != nullptr) return r;
  }
}

void solve_upper(const Stream& stream, const double* r, int64_t n, int64_t m, double* x) {
  for (int64_t at = 0; at < n; at += kBlock) {
    const int64_t width = n - at < kBlock ? n - at : kBlock;
    subtract_solved(stream, r, n, m, x, {0, at, at, width});
    solve_block_kernel<false><<<blocks(m, 64), 64, 0, stream.get()>>>(r, n, at, static_cast<int>(width), m, x);
  }
  check_launch("solving with a factor");
}

void solve_symmetric(const Stream& stream, const double* r, int64_t n, int64_t m, double* x) {
  DeviceBuffer<double> transposed(stream, n * n);
  transpose_kernel<<<blocks(n * n, 256), 256, 0, stream.get()>>>(r, n, transposed.get());
  // y r' = x from the last columns on, then x r = y from the first.
  for (int64_t at = (n - 1) / kBlock * kBlock; at >= 0; at -= kBlock) {
    const int64_t width = n - at < kBlock ? n - at : kBlock;
    subtract_solved(stream, transposed.get(), n, m, x, {at + width, n - at - width, at, width});
    solve_block_kernel<true>
        <<<blocks(m, 64), 64, 0, stream.get()>>>(transposed.get(), n, at, static_cast<int>(width), m, x);
  }
  check_launch("solving with the second moment");
  solve_upper(stream, r, n, m, x);
}

DeviceBuffer<float> tile_feedback(const Stream& stream, const double* r, int64_t n) {
  DeviceBuffer<float> out(stream, n * n);
  out.clear();
  feedback_kernel<<<dim3(blocks(n, 128), blocks(n, kTile)), 128, 0, stream.get()>>>(r, n, out.get());
  check_launch("preparing feedback");
  return out;
}

DeviceBuffer<float> column_feedback(const Stream& stream, const double* r, int64_t n) {
  DeviceBuffer<float> out(stream, n * n);
  column_feedback_kernel<<<blocks(n * n, 256), 256, 0, stream.get()>>>(r, n, out.get());
  check_launch("preparing feedback");
  return out;
}

DeviceBuffer<float> squared_diagonal(const Stream& stream, const double* r, int64_t n) {
  DeviceBuffer<float> out(stream, n);
  squared_diagonal_kernel<<<blocks(n, 256), 256, 0, stream.get()>>>(r, n, out.get());
  check_launch("preparing feedback");
  return out;
}

double tile_trace(const Stream& stream, const double* r, int64_t n) {
  DeviceBuffer<double> rows(stream, n);
  trace_kernel<<<blocks(n, 256), 256, 0, stream.get()>>>(r, n, rows.get());
  check_launch("preparing feedback");
  std::vector<double> host(static_cast<size_t>(n));
  rows.download(host.data(), n);
  double sum = 0;
  for (const double x : host) sum += x;
  return sum;
}

}  // namespace lq::cuda
