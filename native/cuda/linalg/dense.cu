#include <algorithm>
#include <cmath>

#include "linalg/dense.h"
#include "linalg/small.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPanel = 64;
constexpr int kStep = 16;
constexpr int kInnerPanel = 32;   // outputs of a block of the fp64 kernel, each way
constexpr int kInnerRows = 1024;  // rows it sums

// out = a b or a' b, 64 x 64 outputs a block, or out -= a b.
template <bool Transposed, bool Subtract>
__global__ void __launch_bounds__(kThreads) multiply_kernel(const DeviceMatrix a, const DeviceMatrix b, float* out) {
  __shared__ float of_a[kStep][kPanel + 4];
  __shared__ float of_b[kStep][kPanel + 4];
  const int64_t outer = Transposed ? a.cols : a.rows;
  const int64_t inner = Transposed ? a.rows : a.cols;
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * kPanel;
  const int64_t col0 = static_cast<int64_t>(blockIdx.y) * kPanel;
  const int ti = threadIdx.x / 16 * 4;
  const int tj = threadIdx.x % 16 * 4;
  float sums[4][4] = {};
  for (int64_t k0 = 0; k0 < inner; k0 += kStep) {
    __syncthreads();
    for (int i = threadIdx.x; i < kStep * kPanel; i += kThreads) {
      const int k = Transposed ? i / kPanel : i % kStep;
      const int r = Transposed ? i % kPanel : i / kStep;
      const bool inside = k0 + k < inner && row0 + r < outer;
      const int64_t at = Transposed ? (k0 + k) * a.stride + row0 + r : (row0 + r) * a.stride + k0 + k;
      of_a[k][r] = inside ? a.data[at] : 0.0f;
    }
    for (int i = threadIdx.x; i < kStep * kPanel; i += kThreads) {
      const int k = i / kPanel, c = i % kPanel;
      of_b[k][c] = k0 + k < inner && col0 + c < b.cols ? b.data[(k0 + k) * b.stride + col0 + c] : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kStep; ++k) {
      float x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[i] = of_a[k][ti + i];
        y[i] = of_b[k][tj + i];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(x[i], y[j], sums[i][j]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t row = row0 + ti + i, col = col0 + tj + j;
      if (row < outer && col < b.cols) {
        float* target = out + row * b.cols + col;
        *target = Subtract ? *target - sums[i][j] : sums[i][j];
      }
    }
  }
}

template <bool Transposed, bool Subtract>
void launch_multiply(const Stream& stream, const DeviceMatrix& a, const DeviceMatrix& b, float* out) {
  const int64_t outer = Transposed ? a.cols : a.rows;
  const dim3 grid(static_cast<unsigned>(ceil_div(outer, kPanel)), static_cast<unsigned>(ceil_div(b.cols, kPanel)));
  multiply_kernel<Transposed, Subtract><<<grid, kThreads, 0, stream.get()>>>(a, b, out);
  check_launch("fp32 product");
}

// partial [chunk][a.cols, b.cols] = a' b over the rows of a chunk, fp64.
__global__ void __launch_bounds__(kThreads)
    inner_products_kernel(const DeviceMatrix a, const DeviceMatrix b, double* partial) {
  __shared__ float of_a[kStep][kInnerPanel];
  __shared__ float of_b[kStep][kInnerPanel];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kInnerRows;
  const int64_t end = min(first + kInnerRows, a.rows);
  const int64_t i0 = static_cast<int64_t>(blockIdx.y) * kInnerPanel;
  const int64_t j0 = static_cast<int64_t>(blockIdx.z) * kInnerPanel;
  const int ti = threadIdx.x / 16 * 2;
  const int tj = threadIdx.x % 16 * 2;
  double sums[2][2] = {};
  for (int64_t k0 = first; k0 < end; k0 += kStep) {
    __syncthreads();
    for (int i = threadIdx.x; i < kStep * kInnerPanel; i += kThreads) {
      const int k = i / kInnerPanel, c = i % kInnerPanel;
      of_a[k][c] = k0 + k < end && i0 + c < a.cols ? a.data[(k0 + k) * a.stride + i0 + c] : 0.0f;
      of_b[k][c] = k0 + k < end && j0 + c < b.cols ? b.data[(k0 + k) * b.stride + j0 + c] : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kStep; ++k) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          sums[i][j] = fma(static_cast<double>(of_a[k][ti + i]), static_cast<double>(of_b[k][tj + j]), sums[i][j]);
        }
      }
    }
  }
  double* out = partial + static_cast<int64_t>(blockIdx.x) * a.cols * b.cols;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      if (i0 + ti + i < a.cols && j0 + tj + j < b.cols) out[(i0 + ti + i) * b.cols + j0 + tj + j] = sums[i][j];
    }
  }
}

__global__ void sum_chunks_kernel(const double* partial, int64_t chunks, int64_t size, double* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size) return;
  double sum = 0.0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * size + i];
  out[i] = sum;
}

__device__ inline uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

__global__ void normal_kernel(float* data, int64_t count, uint64_t seed) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const uint64_t bits = mix(mix(seed) ^ static_cast<uint64_t>(i));
  const float radius = (static_cast<float>(bits >> 40) + 0.5f) * 0x1p-24f;
  const float angle = static_cast<float>(bits & 0xffffffu) * 0x1p-24f;
  data[i] = sqrtf(-2.0f * logf(radius)) * cospif(2.0f * angle);
}

}  // namespace

void multiply(const Stream& stream, const DeviceMatrix& a, const DeviceMatrix& b, float* out) {
  launch_multiply<false, false>(stream, a, b, out);
}

void multiply_transposed(const Stream& stream, const DeviceMatrix& a, const DeviceMatrix& b, float* out) {
  launch_multiply<true, false>(stream, a, b, out);
}

void multiply_subtract(const Stream& stream, const DeviceMatrix& a, const DeviceMatrix& b, float* out) {
  launch_multiply<false, true>(stream, a, b, out);
}

std::vector<double> inner_products(const Stream& stream, const DeviceMatrix& a, const DeviceMatrix& b) {
  const int64_t size = a.cols * b.cols;
  const int64_t chunks = ceil_div(a.rows, kInnerRows);
  DeviceBuffer<double> partial(stream, chunks * size);
  DeviceBuffer<double> sums(stream, size);
  const dim3 grid(static_cast<unsigned>(chunks), static_cast<unsigned>(ceil_div(a.cols, kInnerPanel)),
                  static_cast<unsigned>(ceil_div(b.cols, kInnerPanel)));
  inner_products_kernel<<<grid, kThreads, 0, stream.get()>>>(a, b, partial.get());
  check_launch("fp64 inner products");
  sum_chunks_kernel<<<static_cast<unsigned>(ceil_div(size, kThreads)), kThreads, 0, stream.get()>>>(
      partial.get(), chunks, size, sums.get());
  check_launch("sum of inner products");
  std::vector<double> out(static_cast<size_t>(size));
  sums.download(out.data(), size);
  return out;
}

void fill_normal(const Stream& stream, float* data, int64_t count, uint64_t seed) {
  normal_kernel<<<static_cast<unsigned>(ceil_div(count, kThreads)), kThreads, 0, stream.get()>>>(data, count, seed);
  check_launch("normal deviates");
}

DeviceBuffer<float> upload_as_float(const Stream& stream, const std::vector<double>& values) {
  const std::vector<float> narrow(values.begin(), values.end());
  DeviceBuffer<float> out(stream, static_cast<int64_t>(values.size()));
  out.upload(narrow.data(), out.size());
  stream.synchronize();
  return out;
}

void orthonormalize(const Stream& stream, float* y, int64_t rows, int cols) {
  DeviceBuffer<float> result(stream, rows * cols);
  const DeviceMatrix of_y{y, rows, cols, cols};
  // Twice: the second pass removes what the squared condition number of the Gram matrix cost the first.
  for (int pass = 0; pass < 2; ++pass) {
    const std::vector<double> m = inverse_cholesky(inner_products(stream, of_y, of_y), cols);
    std::vector<double> transposed(m.size());
    for (int i = 0; i < cols; ++i) {
      for (int j = 0; j < cols; ++j)
        transposed[static_cast<size_t>(j) * cols + i] = m[static_cast<size_t>(i) * cols + j];
    }
    const DeviceBuffer<float> right = upload_as_float(stream, transposed);
    multiply(stream, of_y, {right.get(), cols, cols, cols}, result.get());
    check(cudaMemcpyAsync(y, result.get(), static_cast<size_t>(result.bytes()), cudaMemcpyDeviceToDevice, stream.get()),
          "copying on the device");
  }
}

// More than asked for: they cost little here, and every option of a sweep starts from what comes out.
constexpr int kExtraPowerIterations = 2;

LowRank truncated_svd(const Stream& stream, const DeviceMatrix& a, int rank, int oversampling, int power_iterations,
                      uint64_t seed) {
  const auto limit = static_cast<int>(a.rows < a.cols ? a.rows : a.cols);
  LowRank out;
  out.rank = rank < limit ? rank : limit;
  const int64_t wide = static_cast<int64_t>(out.rank) + (oversampling > 0 ? oversampling : 0);
  const int q = static_cast<int>(wide < limit ? wide : limit);
  DeviceBuffer<float> x(stream, a.cols * q);
  DeviceBuffer<float> y(stream, a.rows * q);
  const DeviceMatrix of_x{x.get(), a.cols, q, q};
  const DeviceMatrix of_y{y.get(), a.rows, q, q};
  fill_normal(stream, x.get(), x.size(), seed);
  multiply(stream, a, of_x, y.get());
  orthonormalize(stream, y.get(), a.rows, q);
  for (int i = 0; i < power_iterations + kExtraPowerIterations; ++i) {
    multiply_transposed(stream, a, of_y, x.get());
    orthonormalize(stream, x.get(), a.cols, q);
    multiply(stream, a, of_x, y.get());
    orthonormalize(stream, y.get(), a.rows, q);
  }
  // Rayleigh-Ritz: with x = a' y, the singular values are the roots of the eigenvalues of x' x.
  multiply_transposed(stream, a, of_y, x.get());
  std::vector<double> vectors;
  const std::vector<double> squares = symmetric_eigenvalues(inner_products(stream, of_x, of_x), q, &vectors);
  std::vector<double> leading(static_cast<size_t>(q) * out.rank);
  for (int i = 0; i < q; ++i) {
    for (int j = 0; j < out.rank; ++j)
      leading[static_cast<size_t>(i) * out.rank + j] = vectors[static_cast<size_t>(i) * q + j];
  }
  for (int j = 0; j < out.rank; ++j) out.singular.push_back(sqrt(squares[j] > 0.0 ? squares[j] : 0.0));
  const DeviceBuffer<float> rotation = upload_as_float(stream, leading);
  const DeviceMatrix of_rotation{rotation.get(), q, out.rank, out.rank};
  out.u = DeviceBuffer<float>(stream, a.rows * out.rank);
  out.z = DeviceBuffer<float>(stream, a.cols * out.rank);
  multiply(stream, of_y, of_rotation, out.u.get());
  multiply(stream, of_x, of_rotation, out.z.get());
  return out;
}

namespace {

// Largest min(rows, cols) for which the whole Gram matrix is formed.
constexpr int kDirectLimit = 768;
constexpr int kKrylovBlock = 32;

std::vector<double> roots_of_largest(const std::vector<double>& squares, int count) {
  std::vector<double> out(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) out[i] = sqrt(squares[i] > 0.0 ? squares[i] : 0.0);
  return out;
}

// Ritz values of a' a on a growing block Krylov space, fully reorthogonalised.
std::vector<double> krylov_singular_values(const Stream& stream, const DeviceMatrix& a, int count, uint64_t seed,
                                           const Watch& watch) {
  constexpr double kSettled = 1e-5;  // of the largest, between two looks
  const auto limit = static_cast<int>(a.rows < a.cols ? a.rows : a.cols);
  const int64_t n = a.cols;
  const int capacity = static_cast<int>(round_up(limit, kKrylovBlock));
  DeviceBuffer<float> product(stream, a.rows * kKrylovBlock);
  DeviceBuffer<float> next(stream, n * kKrylovBlock);
  std::vector<DeviceBuffer<float>> basis;
  std::vector<double> projected(static_cast<size_t>(capacity) * capacity, 0.0);
  std::vector<double> before;
  int look = std::max(4 * kKrylovBlock, 2 * count);

  fill_normal(stream, next.get(), next.size(), seed);
  for (int size = 0;;) {
    orthonormalize(stream, next.get(), n, kKrylovBlock);
    basis.push_back(std::move(next));
    const DeviceMatrix last{basis.back().get(), n, kKrylovBlock, kKrylovBlock};
    next = DeviceBuffer<float>(stream, n * kKrylovBlock);
    multiply(stream, a, last, product.get());
    multiply_transposed(stream, a, {product.get(), a.rows, kKrylovBlock, kKrylovBlock}, next.get());
    const DeviceMatrix of_next{next.get(), n, kKrylovBlock, kKrylovBlock};
    for (int pass = 0; pass < 2; ++pass) {
      for (size_t block = 0; block < basis.size(); ++block) {
        const DeviceMatrix of_block{basis[block].get(), n, kKrylovBlock, kKrylovBlock};
        const std::vector<double> h = inner_products(stream, of_block, of_next);
        for (int i = 0; i < kKrylovBlock; ++i) {
          for (int j = 0; j < kKrylovBlock; ++j) {
            const size_t row = block * kKrylovBlock + i;
            const size_t col = static_cast<size_t>(size) + j;
            projected[row * capacity + col] += h[static_cast<size_t>(i) * kKrylovBlock + j];
            if (block + 1 < basis.size()) projected[col * capacity + row] = projected[row * capacity + col];
          }
        }
        const DeviceBuffer<float> coefficients = upload_as_float(stream, h);
        multiply_subtract(stream, of_block, {coefficients.get(), kKrylovBlock, kKrylovBlock, kKrylovBlock}, next.get());
      }
      watch.poll();
    }
    size += kKrylovBlock;
    watch.progress(size, limit);
    if (size < look && size < limit) continue;

    std::vector<double> square(static_cast<size_t>(size) * size);
    for (int i = 0; i < size; ++i) {
      for (int j = 0; j < size; ++j) {
        square[static_cast<size_t>(i) * size + j] =
            0.5 * (projected[static_cast<size_t>(i) * capacity + j] + projected[static_cast<size_t>(j) * capacity + i]);
      }
    }
    std::vector<double> now = roots_of_largest(symmetric_eigenvalues(std::move(square), size, nullptr), count);
    if (size >= limit) return now;
    bool settled = !before.empty();
    for (int i = 0; settled && i < count; ++i) settled = std::fabs(now[i] - before[i]) <= kSettled * now[0];
    if (settled) return now;
    before = std::move(now);
    look = size + std::max(2 * kKrylovBlock, size / 4);
  }
}

}  // namespace

std::vector<double> largest_singular_values(const Stream& stream, const DeviceMatrix& a, int count, uint64_t seed,
                                            const Watch& watch) {
  const auto limit = static_cast<int>(a.rows < a.cols ? a.rows : a.cols);
  if (limit > kDirectLimit) return krylov_singular_values(stream, a, count, seed, watch);
  if (a.cols <= a.rows)
    return roots_of_largest(symmetric_eigenvalues(inner_products(stream, a, a), limit, nullptr), count);
  // Wide: the transpose has the same singular values.
  DeviceBuffer<float> identity(stream, static_cast<int64_t>(limit) * limit);
  std::vector<float> ones(static_cast<size_t>(limit) * limit, 0.0f);
  for (int i = 0; i < limit; ++i) ones[static_cast<size_t>(i) * limit + i] = 1.0f;
  identity.upload(ones.data(), identity.size());
  DeviceBuffer<float> transposed(stream, a.rows * a.cols);
  multiply_transposed(stream, a, {identity.get(), limit, limit, limit}, transposed.get());
  const DeviceMatrix tall{transposed.get(), a.cols, a.rows, a.rows};
  return roots_of_largest(symmetric_eigenvalues(inner_products(stream, tall, tall), limit, nullptr), count);
}

}  // namespace lq::cuda
