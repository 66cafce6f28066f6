// The two tall products of a step of subspace iteration, Y = E Z and Z = E' U, of many slots at once. Both read E once
// and are bound by that: 128 x 64 tiles on the tensor cores behind a three-stage ring of asynchronous copies. The inner
// dimension can be cut into parts whose sums the consumers add in a fixed order, so that few slots still fill the
// device.
#include <cuda_fp16.h>

#include "lq/mma.cuh"
#include "lq/workspace.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kDepth = 64;  // of the inner dimension a stage
constexpr int kWidth = 64;  // columns of the sketch a block makes
constexpr int kStages = 3;
constexpr int kStageA = kTile * kDepth;
constexpr int kStageB = kDepth * kWidth;
constexpr int kSharedBytes = kStages * (kStageA + kStageB) * static_cast<int>(sizeof(__half));

// Swizzled place of 16-byte chunk `chunk` of row `row`: eight consecutive rows fall into different banks.
__device__ inline int swizzle(int row, int chunk) { return ((chunk & ~7) | ((chunk ^ row) & 7)) * 8; }

struct Product {
  const __half* a;  // residual, row-major
  const __half* b;  // [inner, padded_rank]
  float* out;       // [outer, padded_rank]
  int outer0, column0, width;
  int inner_begin, inner_end;
  int64_t lda, ldb;
};

// A tile is [128 outer, 64 inner] of the residual, or with Transposed [64 inner, 128 outer].
template <bool Transposed>
__device__ inline void load_stage(const Product& p, int k0, __half* a, __half* b) {
  constexpr int kChunks = Transposed ? kTile / 8 : kDepth / 8;  // a row of A
  constexpr int kRows = Transposed ? kDepth : kTile;
  const int64_t row0 = Transposed ? k0 : p.outer0;
  const int64_t col0 = Transposed ? p.outer0 : k0;
#pragma unroll
  for (int i = 0; i < kRows * kChunks / kThreads; ++i) {
    const int index = i * kThreads + static_cast<int>(threadIdx.x);
    const int row = index / kChunks;
    const int chunk = index % kChunks;
    copy_async(shared_address(a + row * kChunks * 8 + swizzle(row, chunk)),
               p.a + (row0 + row) * p.lda + col0 + chunk * 8);
  }
  const int chunks = p.width / 8;
  for (int index = threadIdx.x; index < kDepth * chunks; index += kThreads) {
    const int row = index / chunks;
    const int chunk = index % chunks;
    copy_async(shared_address(b + row * kWidth + swizzle(row, chunk)),
               p.b + (k0 + row) * p.ldb + p.column0 + chunk * 8);
  }
}

template <bool Transposed>
__device__ inline void multiply_stage(const Product& p, const __half* a, const __half* b, float (&sums)[2][8][4]) {
  const int lane = threadIdx.x % 32;
  const int warp_outer = threadIdx.x / 32 * 32;
#pragma unroll
  for (int k = 0; k < kDepth; k += 16) {
    uint32_t of_a[2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      if (Transposed) {
        const int row = k + lane / 16 * 8 + lane % 8;
        const int chunk = (warp_outer + m * 16) / 8 + lane / 8 % 2;
        load_matrices_transposed(of_a[m], shared_address(a + row * kTile + swizzle(row, chunk)));
      } else {
        const int row = warp_outer + m * 16 + lane % 16;
        load_matrices(of_a[m], shared_address(a + row * kDepth + swizzle(row, k / 8 + lane / 16)));
      }
    }
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      if (j * 8 < p.width) {
        const int row = k + lane / 8 % 2 * 8 + lane % 8;
        uint32_t of_b[4];
        load_matrices_transposed(of_b, shared_address(b + row * kWidth + swizzle(row, j + lane / 16)));
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          multiply_add(sums[m][j], of_a[m], of_b[0], of_b[1]);
          multiply_add(sums[m][j + 1], of_a[m], of_b[2], of_b[3]);
        }
      }
    }
  }
}

// Grid: tiles of the outer dimension, (slot, chunk of columns), part of the inner dimension.
template <bool Transposed>
__global__ void __launch_bounds__(kThreads, 3) sketch_kernel(const Workspace ws, const LiveSlots live) {
  extern __shared__ __align__(128) __half ring[];
  const int place = static_cast<int>(blockIdx.y % live.count);
  const int slot = live.slot[place];
  if (ws.skips_step(ws.states[slot])) return;

  const int parts = static_cast<int>(gridDim.z);
  const int outer = Transposed ? ws.padded_cols : ws.padded_rows;
  const int steps = (Transposed ? ws.padded_rows : ws.padded_cols) / kDepth;
  const int64_t result = static_cast<int64_t>(outer) * ws.padded_rank;
  Product p;
  p.a = ws.residual + slot * ws.matrix_size();
  p.b = Transposed ? ws.u + slot * ws.u_size() : ws.z + slot * ws.z_size();
  p.out = (Transposed ? ws.z_sums : ws.y_sums) + (static_cast<int64_t>(place) * parts + blockIdx.z) * result;
  p.outer0 = static_cast<int>(blockIdx.x) * kTile;
  p.column0 = static_cast<int>(blockIdx.y / live.count) * kWidth;
  p.width = min(kWidth, ws.padded_rank - p.column0);
  p.inner_begin = static_cast<int>(static_cast<int64_t>(steps) * blockIdx.z / parts) * kDepth;
  p.inner_end = static_cast<int>(static_cast<int64_t>(steps) * (blockIdx.z + 1) / parts) * kDepth;
  p.lda = ws.padded_cols;
  p.ldb = ws.padded_rank;

  __half* const ring_b = ring + kStages * kStageA;
  float sums[2][8][4] = {};
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    const int k = p.inner_begin + stage * kDepth;
    if (k < p.inner_end) load_stage<Transposed>(p, k, ring + stage * kStageA, ring_b + stage * kStageB);
    copy_commit();
  }
  int stage = 0;
  for (int k = p.inner_begin; k < p.inner_end; k += kDepth) {
    copy_wait<kStages - 2>();
    __syncthreads();
    const int ahead = k + (kStages - 1) * kDepth;
    const int into = (stage + kStages - 1) % kStages;
    if (ahead < p.inner_end) load_stage<Transposed>(p, ahead, ring + into * kStageA, ring_b + into * kStageB);
    copy_commit();
    multiply_stage<Transposed>(p, ring + stage * kStageA, ring_b + stage * kStageB, sums);
    stage = (stage + 1) % kStages;
  }

  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int64_t row = p.outer0 + threadIdx.x / 32 * 32 + m * 16 + h * 8 + lane / 4;
      float* out = p.out + row * p.ldb + p.column0 + lane % 4 * 2;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        if (j * 8 < p.width)
          *reinterpret_cast<float2*>(out + j * 8) = make_float2(sums[m][j][2 * h], sums[m][j][2 * h + 1]);
      }
    }
  }
}

template <bool Transposed>
void launch(const Stream& stream, const Workspace& ws, const LiveSlots& live) {
  check(cudaFuncSetAttribute(sketch_kernel<Transposed>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "preparing the sketch");
  const dim3 grid(static_cast<unsigned>((Transposed ? ws.padded_cols : ws.padded_rows) / kTile),
                  static_cast<unsigned>(live.count * ceil_div(ws.padded_rank, kWidth)),
                  static_cast<unsigned>(Transposed ? ws.row_splits : ws.column_splits));
  sketch_kernel<Transposed><<<grid, kThreads, kSharedBytes, stream.get()>>>(ws, live);
  check_launch("sketch of the residual");
}

}  // namespace

void launch_column_sketch(const Stream& stream, const Workspace& ws, const LiveSlots& live) {
  launch<false>(stream, ws, live);
}

void launch_row_sketch(const Stream& stream, const Workspace& ws, const LiveSlots& live) {
  launch<true>(stream, ws, live);
}

}  // namespace lq::cuda
