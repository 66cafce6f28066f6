// Orthonormalisation of the sketches by Cholesky QR: G = Y'Y, equilibrated and factored in one block a slot, then
// U = Y R^-1. Columns that depend on those before them become zero.
#include <cuda_fp16.h>

#include "lq/workspace.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPanel = 64;  // rows and columns of a block of the small products
constexpr int kStep = 32;   // of their inner dimension at a time

__device__ inline bool idle(const Workspace& ws, int slot) { return ws.skips_step(ws.states[slot]); }

// Entry i of a sum kept in `parts` parts of `size` elements.
__device__ inline float sum_of_parts(const float* parts, int count, int64_t size, int64_t i) {
  float sum = parts[i];
  for (int part = 1; part < count; ++part) sum += parts[part * size + i];
  return sum;
}

// Partial Gram matrices of kGramRows rows. Grid: chunks of rows, slots, pairs of 64-column panels.
__global__ void __launch_bounds__(kThreads) gram_kernel(const Workspace ws, const LiveSlots live) {
  __shared__ float left[kStep][kPanel];
  __shared__ float right[kStep][kPanel];
  const int place = static_cast<int>(blockIdx.y);
  if (idle(ws, live.slot[place])) return;
  const int panels = (ws.padded_rank + kPanel - 1) / kPanel;
  const int i0 = static_cast<int>(blockIdx.z) / panels * kPanel;
  const int j0 = static_cast<int>(blockIdx.z) % panels * kPanel;
  const float* y = ws.y_sums + place * ws.column_splits * ws.u_size();
  const int row0 = static_cast<int>(blockIdx.x) * kGramRows;
  const int row_end = min(row0 + kGramRows, ws.padded_rows);
  const int ti = threadIdx.x / 16 * 4;
  const int tj = threadIdx.x % 16 * 4;
  float sums[4][4] = {};
  for (int row = row0; row < row_end; row += kStep) {
    __syncthreads();
    for (int i = threadIdx.x; i < kStep * kPanel; i += kThreads) {
      const int r = i / kPanel, c = i % kPanel;
      const int64_t base = static_cast<int64_t>(row + r) * ws.padded_rank;
      left[r][c] = i0 + c < ws.padded_rank ? sum_of_parts(y, ws.column_splits, ws.u_size(), base + i0 + c) : 0.0f;
      if (i0 != j0) {
        right[r][c] = j0 + c < ws.padded_rank ? sum_of_parts(y, ws.column_splits, ws.u_size(), base + j0 + c) : 0.0f;
      }
    }
    __syncthreads();
    const float(*other)[kPanel] = i0 == j0 ? left : right;
#pragma unroll 8
    for (int r = 0; r < kStep; ++r) {
      const float4 a = *reinterpret_cast<const float4*>(&left[r][ti]);
      const float4 b = *reinterpret_cast<const float4*>(&other[r][tj]);
      const float of_a[4] = {a.x, a.y, a.z, a.w};
      const float of_b[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(of_a[i], of_b[j], sums[i][j]);
      }
    }
  }
  float* gram = ws.gram + (static_cast<int64_t>(place) * gridDim.x + blockIdx.x) * ws.padded_rank * ws.padded_rank;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (i0 + ti + i < ws.padded_rank && j0 + tj + j < ws.padded_rank) {
        gram[(i0 + ti + i) * ws.padded_rank + j0 + tj + j] = sums[i][j];
      }
    }
  }
}

// What is left of the unit diagonal for a column that the earlier ones nearly span is rounding error.
constexpr float kDependent = 2e-6f;

// Whitening matrix L^-1 D of each slot's Gram matrix G: with D = diag(G)^-1/2 and D G D = L L', its rows combine
// columns of Y into orthonormal ones. Elimination works on [D G D | I] at once, in registers: thread (r, c) of 16 x 16
// holds the entries (r + 16 i, c + 16 j), i, j < Parts, of both halves. The pivot row goes through shared memory, and
// is the pivot column too.
template <int Parts>
__global__ void __launch_bounds__(kThreads)
    small_whitening_kernel(const Workspace ws, const LiveSlots live, int chunks) {
  constexpr int kSize = 16 * Parts;
  __shared__ float inverse_norm[kSize], pivots[kSize];
  __shared__ float row_g[2][kSize], row_w[2][kSize];
  const int place = static_cast<int>(blockIdx.x);
  if (idle(ws, live.slot[place])) return;
  const float* const partial = ws.gram + static_cast<int64_t>(place) * chunks * kSize * kSize;
  float* const out = ws.whitening + static_cast<int64_t>(place) * kSize * kSize;
  const int r = threadIdx.x / 16, c = threadIdx.x % 16;
  float g[Parts][Parts], w[Parts][Parts];
#pragma unroll
  for (int i = 0; i < Parts; ++i) {
#pragma unroll
    for (int j = 0; j < Parts; ++j) {
      const int row = r + 16 * i, col = c + 16 * j;
      float sum = 0.0f;
#pragma unroll 4
      for (int chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * kSize * kSize + row * kSize + col];
      g[i][j] = sum;
      w[i][j] = row == col ? 1.0f : 0.0f;
      if (row == col) inverse_norm[row] = sum > 0.0f && isfinite(sum) ? rsqrtf(sum) : 0.0f;
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Parts; ++i) {
#pragma unroll
    for (int j = 0; j < Parts; ++j) g[i][j] *= inverse_norm[r + 16 * i] * inverse_norm[c + 16 * j];
  }
#pragma unroll
  for (int part = 0; part < Parts; ++part) {
    for (int k = 16 * part; k < 16 * part + 16; ++k) {
      const int buffer = k % 2;
      if (r == k % 16) {
#pragma unroll
        for (int j = 0; j < Parts; ++j) {
          row_g[buffer][c + 16 * j] = g[part][j];
          row_w[buffer][c + 16 * j] = w[part][j];
        }
      }
      __syncthreads();
      const float pivot = row_g[buffer][k];
      const float inverse = pivot > kDependent ? 1.0f / pivot : 0.0f;
      if (threadIdx.x == 0) pivots[k] = pivot;
#pragma unroll
      for (int i = part; i < Parts; ++i) {
        const int row = r + 16 * i;
        const float factor = row > k ? row_g[buffer][row] * inverse : 0.0f;
#pragma unroll
        for (int j = 0; j < Parts; ++j) {
          g[i][j] = fmaf(-factor, row_g[buffer][c + 16 * j], g[i][j]);
          w[i][j] = fmaf(-factor, row_w[buffer][c + 16 * j], w[i][j]);
        }
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Parts; ++i) {
    const float pivot = pivots[r + 16 * i];
    const float scale = pivot > kDependent ? rsqrtf(pivot) : 0.0f;
#pragma unroll
    for (int j = 0; j < Parts; ++j) {
      const int row = r + 16 * i, col = c + 16 * j;
      out[row * kSize + col] = col <= row ? w[i][j] * scale * inverse_norm[col] : 0.0f;
    }
  }
}

// The same for more columns than registers hold. The two matrices are in shared memory when they fit, else the second
// is in place in `whitening` and the first over the slot's first partial Gram matrix.
__global__ void __launch_bounds__(kThreads)
    whitening_kernel(const Workspace ws, const LiveSlots live, int chunks, bool in_shared) {
  extern __shared__ float shared[];
  const int place = static_cast<int>(blockIdx.x);
  if (idle(ws, live.slot[place])) return;
  const int n = ws.padded_rank;
  float* const partial = ws.gram + static_cast<int64_t>(place) * chunks * n * n;
  float* const out = ws.whitening + static_cast<int64_t>(place) * n * n;
  float* const inverse_norm = shared;  // [n]
  const int stride = in_shared ? n + 1 : n;
  float* const g = in_shared ? shared + n : partial;
  float* const w = in_shared ? shared + n + n * stride : out;

  for (int i = threadIdx.x; i < n * n; i += kThreads) {
    double sum = 0.0;
    for (int chunk = 0; chunk < chunks; ++chunk) sum += partial[static_cast<int64_t>(chunk) * n * n + i];
    g[i / n * stride + i % n] = static_cast<float>(sum);
    w[i / n * stride + i % n] = i / n == i % n ? 1.0f : 0.0f;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += kThreads) {
    const float square = g[i * stride + i];
    inverse_norm[i] = square > 0.0f && isfinite(square) ? rsqrtf(square) : 0.0f;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n * n; i += kThreads)
    g[i / n * stride + i % n] *= inverse_norm[i / n] * inverse_norm[i % n];
  __syncthreads();

  // 16 threads a row; the pivot row is scaled as it is used, so one barrier a step is enough.
  const int lane = threadIdx.x % 16;
  for (int k = 0; k < n; ++k) {
    const float pivot = g[k * stride + k];
    const float inverse = pivot > kDependent ? 1.0f / pivot : 0.0f;
    for (int i = k + 1 + static_cast<int>(threadIdx.x) / 16; i < n; i += kThreads / 16) {
      const float factor = g[i * stride + k] * inverse;
      for (int j = k + 1 + lane; j < n; j += 16) g[i * stride + j] -= factor * g[k * stride + j];
      for (int j = lane; j <= k; j += 16) w[i * stride + j] -= factor * w[k * stride + j];
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < n * n; i += kThreads) {
    const int row = i / n, col = i % n;
    const float pivot = g[row * stride + row];
    const float scale = pivot > kDependent ? rsqrtf(pivot) * inverse_norm[col] : 0.0f;
    out[i] = col <= row ? w[row * stride + col] * scale : 0.0f;
  }
}

// u = kFactorScale Y whitening'. Grid: 64 rows, 64 columns, slots.
__global__ void __launch_bounds__(kThreads) whiten_kernel(const Workspace ws, const LiveSlots live) {
  __shared__ float of_y[kPanel][kStep + 1];
  __shared__ float of_w[kPanel][kStep + 1];
  const int place = static_cast<int>(blockIdx.z);
  const int slot = live.slot[place];
  if (idle(ws, slot)) return;
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * kPanel;
  const int col0 = static_cast<int>(blockIdx.y) * kPanel;
  const float* y = ws.y_sums + place * ws.column_splits * ws.u_size();
  const float* w = ws.whitening + static_cast<int64_t>(place) * ws.padded_rank * ws.padded_rank;
  const int ti = threadIdx.x / 16 * 4;
  const int tj = threadIdx.x % 16;
  float sums[4][4] = {};
  for (int k0 = 0; k0 < min(col0 + kPanel, ws.padded_rank); k0 += kStep) {
    __syncthreads();
    for (int i = threadIdx.x; i < kPanel * kStep; i += kThreads) {
      const int r = i / kStep, k = i % kStep;
      const bool inside = k0 + k < ws.padded_rank;
      of_y[r][k] = inside ? sum_of_parts(y, ws.column_splits, ws.u_size(), (row0 + r) * ws.padded_rank + k0 + k) : 0.0f;
      of_w[r][k] = inside && col0 + r < ws.padded_rank ? w[(col0 + r) * ws.padded_rank + k0 + k] : 0.0f;
    }
    __syncthreads();
#pragma unroll 8
    for (int k = 0; k < kStep; ++k) {
      float a[4], b[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        a[i] = of_y[ti + i][k];
        b[i] = of_w[tj + 16 * i][k];
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
      }
    }
  }
  __half* u = ws.u + slot * ws.u_size();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int col = col0 + tj + 16 * j;
      if (col < ws.padded_rank) u[(row0 + ti + i) * ws.padded_rank + col] = __float2half_rn(sums[i][j] * kFactorScale);
    }
  }
}

// z = z_store_scale * sum of the parts of E' u. Grid: (elements, slot).
__global__ void __launch_bounds__(kThreads) store_z_kernel(const Workspace ws, const LiveSlots live) {
  const int place = static_cast<int>(blockIdx.y);
  const int slot = live.slot[place];
  if (idle(ws, slot)) return;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= ws.z_size()) return;
  const float* sums = ws.z_sums + place * ws.row_splits * ws.z_size();
  const float value = sum_of_parts(sums, ws.row_splits, ws.z_size(), i) * ws.z_store_scale;
  ws.z[slot * ws.z_size() + i] = __float2half_rn(fminf(fmaxf(value, -65504.0f), 65504.0f));
}

void launch_whitening(const Stream& stream, const Workspace& ws, const LiveSlots& live, int chunks) {
  const int n = ws.padded_rank;
  const auto count = static_cast<unsigned>(live.count);
  switch (n) {
    case 16:
      small_whitening_kernel<1><<<count, kThreads, 0, stream.get()>>>(ws, live, chunks);
      break;
    case 32:
      small_whitening_kernel<2><<<count, kThreads, 0, stream.get()>>>(ws, live, chunks);
      break;
    case 48:
      small_whitening_kernel<3><<<count, kThreads, 0, stream.get()>>>(ws, live, chunks);
      break;
    case 64:
      small_whitening_kernel<4><<<count, kThreads, 0, stream.get()>>>(ws, live, chunks);
      break;
    default: {
      constexpr int kSharedLimit = 99 * 1024;  // what every architecture since sm_80 grants a block
      const int both = (n + 2 * n * (n + 1)) * static_cast<int>(sizeof(float));
      const bool in_shared = both <= kSharedLimit;
      const int bytes = in_shared ? both : n * static_cast<int>(sizeof(float));
      check(cudaFuncSetAttribute(whitening_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedLimit),
            "preparing the orthonormalisation");
      whitening_kernel<<<count, kThreads, bytes, stream.get()>>>(ws, live, chunks, in_shared);
    }
  }
  check_launch("Cholesky factor of the sketch");
}

}  // namespace

void launch_factorize(const Stream& stream, const Workspace& ws, const LiveSlots& live) {
  launch_column_sketch(stream, ws, live);
  const auto count = static_cast<unsigned>(live.count);
  const auto chunks = static_cast<unsigned>(ceil_div(ws.padded_rows, kGramRows));
  const auto panels = static_cast<unsigned>(ceil_div(ws.padded_rank, kPanel));
  gram_kernel<<<dim3(chunks, count, panels * panels), kThreads, 0, stream.get()>>>(ws, live);
  check_launch("Gram matrix of the sketch");

  launch_whitening(stream, ws, live, static_cast<int>(chunks));

  whiten_kernel<<<dim3(static_cast<unsigned>(ws.padded_rows / kPanel), panels, count), kThreads, 0, stream.get()>>>(
      ws, live);
  check_launch("orthonormal basis");
  launch_row_sketch(stream, ws, live);
  store_z_kernel<<<dim3(static_cast<unsigned>(ceil_div(ws.z_size(), kThreads)), count), kThreads, 0, stream.get()>>>(
      ws, live);
  check_launch("second factor");
}

}  // namespace lq::cuda
