// The passes over the weights. A thread block takes 128 rows and goes along a few tiles of 128 columns: L1 L2 on the
// tensor cores, then what follows is done on the accumulators in registers. The product is computed twice (before and
// after the scales are known) because that is cheaper than storing it.
//
// Eight warps, 4 x 2, each 32 x 64 of a tile, 16 rows at a time. The columns of a warp are dealt to the tensor cores in
// an order that leaves every thread with 8 adjacent columns in each half of the 64, for two rows: weights, Fisher and
// residual move as 16-byte accesses of which four fill two sectors, and a block of 16, 32 or 64 weights belongs to two
// or four neighbouring threads.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "lq/mma.cuh"
#include "lq/workspace.h"

namespace lq::cuda {

constexpr int kTileThreads = 256;
constexpr int kPanelWidth = 64;     // columns of the factors in a panel
constexpr int kResidentPanels = 3;  // of each factor that shared memory holds; more are loaded as they are needed
constexpr int kRun = 8;             // adjacent columns of a thread
constexpr int kHalf = 32;           // from the first run of a thread to its second

using Panel = __half[kTile][kPanelWidth];

// Swizzles of the 16-byte chunks of a 128-byte row: the eight rows an ldmatrix reads fall into different banks.
__device__ inline int swizzle_u(int row, int chunk) { return (chunk ^ (row & 7)) * 8; }
__device__ inline int swizzle_z(int row, int chunk) { return (chunk ^ ((((row >> 3) & 3) << 1) | (row & 1))) * 8; }

// Starts copying 128 rows of panel `panel` of a factor whose first row is `source`.
template <bool IsU>
__device__ inline void load_panel(const Workspace& ws, const __half* source, int panel, Panel& target) {
  const int k0 = panel * kPanelWidth;
  const int chunks = min(kPanelWidth, ws.padded_rank - k0) / 8;
  constexpr int kChunks = kPanelWidth / 8;
  const int chunk = threadIdx.x % kChunks;
  if (chunk >= chunks) return;
  for (int row = threadIdx.x / kChunks; row < kTile; row += kTileThreads / kChunks) {
    copy_async(shared_address(&target[row][IsU ? swizzle_u(row, chunk) : swizzle_z(row, chunk)]),
               source + static_cast<int64_t>(row) * ws.padded_rank + k0 + chunk * 8);
  }
}

// sums[4 half + j][2 h + i] += (u z')[8 h + lane / 4, 32 half + 8 (lane % 4) + 2 j + i] of rows row0.. of u and col0..
// of z.
__device__ inline void multiply_panel(const Panel& u, const Panel& z, int row0, int col0, int chunks,
                                      float (&sums)[8][4]) {
  const int lane = threadIdx.x % 32;
  for (int k = 0; k < chunks; k += 2) {
    uint32_t a[4];
    const int of_u = row0 + lane % 16;
    load_matrices(a, shared_address(&u[of_u][swizzle_u(of_u, k + lane / 16)]));
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      const int n = lane % 8;
      const int of_z = col0 + j / 4 * kHalf + (n >> 1) * kRun + 2 * (j % 4 + lane / 16) + (n & 1);
      uint32_t b[4];
      load_matrices(b, shared_address(&z[of_z][swizzle_z(of_z, k + lane / 8 % 2)]));
      multiply_add(sums[j], a, b[0], b[1]);
      multiply_add(sums[j + 1], a, b[2], b[3]);
    }
  }
}

// Eight adjacent weights as they are stored.
template <typename W>
struct Run;
template <>
struct Run<float> {
  float4 low, high;
  __device__ void load(const float* source) {
    low = *reinterpret_cast<const float4*>(source);
    high = *reinterpret_cast<const float4*>(source + 4);
  }
  __device__ void unpack(float (&out)[8]) const {
    const float values[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) out[i] = values[i];
  }
};
template <>
struct Run<__nv_bfloat16> {
  uint4 packed;
  __device__ void load(const __nv_bfloat16* source) { packed = *reinterpret_cast<const uint4*>(source); }
  __device__ void unpack(float (&out)[8]) const {
    const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      out[2 * i] = __uint_as_float(words[i] << 16);
      out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  }
};

struct Stretch {
  int slot;
  int row0, col_begin, col_end;  // the tiles of a thread block
};

__device__ inline Stretch stretch_of(const Workspace& ws, const LiveSlots& live, int tiles) {
  const int across = (ws.padded_cols / kTile + tiles - 1) / tiles;
  const int place = static_cast<int>(blockIdx.x / live.count);
  const int col = place % across * tiles * kTile;
  return {live.slot[blockIdx.x % live.count], place / across * kTile, col, min(col + tiles * kTile, ws.padded_cols)};
}

// Calls strip(sums, h, row, col) for every 16 adjacent columns of this thread; their products are sums[.][2 h], [2 h +
// 1]. `tile_done(col0)` follows each tile.
template <typename W, typename Strip, typename TileDone>
__device__ inline void for_each_strip(const Workspace& ws, const Stretch& at, Strip&& strip, TileDone&& tile_done) {
  extern __shared__ __align__(128) unsigned char shared[];
  const int count = (ws.padded_rank + kPanelWidth - 1) / kPanelWidth;
  const bool resident = count > 0 && count <= kResidentPanels;
  const bool ahead = count == 1;  // there is room for the next tile's panel
  Panel* const of_u = reinterpret_cast<Panel*>(shared);
  Panel* const of_z = of_u + (resident ? count : 1);
  const __half* const u = ws.u + at.slot * ws.u_size() + static_cast<int64_t>(at.row0) * ws.padded_rank;
  const __half* const z = ws.z + at.slot * ws.z_size();
  const auto z_row = [&](int col) { return z + static_cast<int64_t>(col) * ws.padded_rank; };
  const int lane = threadIdx.x % 32;
  const int warp_row = static_cast<int>(threadIdx.x) / 64 * 32;
  const int warp_col = static_cast<int>(threadIdx.x) / 32 % 2 * 64;
  if (resident) {
    for (int panel = 0; panel < count; ++panel) {
      load_panel<true>(ws, u, panel, of_u[panel]);
      load_panel<false>(ws, z_row(at.col_begin), panel, of_z[panel]);
    }
    copy_commit();
  }
  int buffer = 0;
  for (int col0 = at.col_begin; col0 < at.col_end; col0 += kTile) {
    const int next = col0 + kTile;
    if (resident) {
      copy_wait<0>();
      __syncthreads();
      if (ahead && next < at.col_end) {
        load_panel<false>(ws, z_row(next), 0, of_z[buffer ^ 1]);
        copy_commit();
      }
    }
#pragma unroll 1
    for (int m = 0; m < 2; ++m) {
      // On their way while the tensor cores work. The padding can be read.
      const int row = at.row0 + warp_row + m * 16 + lane / 4;
      const int col = col0 + warp_col + lane % 4 * kRun;
      Run<W> runs[2][2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          runs[h][half].load(static_cast<const W*>(ws.weight) + static_cast<int64_t>(row + 8 * h) * ws.padded_cols +
                             col + half * kHalf);
        }
      }
      float sums[8][4] = {};
      for (int panel = 0; panel < count; ++panel) {
        if (!resident) {
          __syncthreads();
          load_panel<true>(ws, u, panel, of_u[0]);
          load_panel<false>(ws, z_row(col0), panel, of_z[0]);
          copy_commit();
          copy_wait<0>();
          __syncthreads();
        }
        const int chunks = min(kPanelWidth, ws.padded_rank - panel * kPanelWidth) / 8;
        multiply_panel(of_u[resident ? panel : 0],
                       of_z[ahead      ? buffer
                            : resident ? panel
                                       : 0],
                       warp_row + m * 16, warp_col, chunks, sums);
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) strip(sums, runs[h], h, row + 8 * h, col);
    }
    if (resident && !ahead && next < at.col_end) {
      __syncthreads();
      for (int panel = 0; panel < count; ++panel) load_panel<false>(ws, z_row(next), panel, of_z[panel]);
      copy_commit();
    }
    buffer ^= 1;
    tile_done(col0);
  }
}

template <int Count>
__device__ inline void load_floats(const float* source, float (&out)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(source + i);
    out[i] = four.x;
    out[i + 1] = four.y;
    out[i + 2] = four.z;
    out[i + 3] = four.w;
  }
}

// The run `half` (0 or 1) of a strip, at (row, col): weights, and weights minus L1 L2.
template <typename W>
__device__ inline void unpack_residual(const Workspace& ws, const float (&sums)[8][4], const Run<W>& run, int h,
                                       int half, int row, int col, float (&w)[8], float (&r)[8]) {
  run.unpack(w);
  if (ws.row_inverse != nullptr) {
    const float of_row = ws.row_inverse[row] * ws.product_scale;
    float of_col[8];
    load_floats(ws.col_inverse + col, of_col);
#pragma unroll
    for (int i = 0; i < 8; ++i) r[i] = fmaf(-sums[half * 4 + i / 2][2 * h + i % 2], of_row * of_col[i], w[i]);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) r[i] = fmaf(-sums[half * 4 + i / 2][2 * h + i % 2], ws.product_scale, w[i]);
  }
}

// Tiles a thread block goes along: enough to hide the loading of the next behind the work on one, few enough that every
// multiprocessor has three blocks.
inline int tiles_a_block(const Workspace& ws, const LiveSlots& live) {
  const int64_t tiles = static_cast<int64_t>(ws.tiles()) * live.count;
  return static_cast<int>(std::clamp<int64_t>(tiles / (3 * ws.multiprocessors), 1, 4));
}

template <typename Kernel>
void launch_along_tiles(Kernel kernel, const Stream& stream, const Workspace& ws, const LiveSlots& live,
                        const char* name) {
  const int panels = static_cast<int>(ceil_div(ws.padded_rank, kPanelWidth));
  const int held = panels == 0 ? 0 : panels == 1 ? 3 : panels <= kResidentPanels ? 2 * panels : 2;
  const int bytes = held * static_cast<int>(sizeof(Panel));
  // The most any rank takes, whatever this one does: another lane may set the attribute between here and the launch.
  constexpr int kMostBytes = std::max(3, 2 * kResidentPanels) * static_cast<int>(sizeof(Panel));
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMostBytes), name);
  const int tiles = tiles_a_block(ws, live);
  const int64_t grid = ws.padded_rows / kTile * ceil_div(ws.padded_cols / kTile, tiles) * live.count;
  kernel<<<static_cast<unsigned>(grid), kTileThreads, bytes, stream.get()>>>(ws, live, tiles);
  check_launch(name);
}

}  // namespace lq::cuda
