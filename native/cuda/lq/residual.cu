// The passes over the weights. A thread block takes 128 rows and goes along a few tiles of 128 columns: L1 L2 on the
// tensor cores, then what follows is done on the accumulators in registers. The product is computed twice (before and
// after the scales are known) because that is cheaper than storing it.
//
// Eight warps, 4 x 2, each 32 x 64 of a tile, 16 rows at a time. The columns of a warp are dealt to the tensor cores in
// an order that leaves every thread with 8 adjacent columns in each half of the 64, for two rows: weights, Fisher and
// residual move as 16-byte accesses of which four fill two sectors, and a block of 16, 32 or 64 weights belongs to two
// or four neighbouring threads.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "lq/mma.cuh"
#include "lq/workspace.h"
#include "quant/scales.cuh"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPanelWidth = 64;     // columns of the factors in a panel
constexpr int kResidentPanels = 3;  // of each factor that shared memory holds; more are loaded as they are needed
constexpr int kRun = 8;             // adjacent columns of a thread
constexpr int kHalf = 32;           // from the first run of a thread to its second
constexpr uint32_t kInfinity = 0x7f800000u;

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
  for (int row = threadIdx.x / kChunks; row < kTile; row += kThreads / kChunks) {
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

// Nearest levels of x, found by comparing with every threshold: no divergence and no table look-up.
template <int Bits>
__device__ inline void nearest_levels(const float* thresholds, const float* levels, const float (&x)[8],
                                      float (&level)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) level[i] = levels[0];
#pragma unroll
  for (int t = 0; t + 1 < (1 << Bits); ++t) {
    const float threshold = thresholds[t];
    const float above = levels[t + 1];
#pragma unroll
    for (int i = 0; i < 8; ++i) level[i] = x[i] > threshold ? above : level[i];
  }
}

__device__ inline uint32_t saturated_halves(float low, float high) {
  const __half2 limit = __float2half2_rn(65504.0f);
  const __half2 pair = __hmin2(__hmax2(__floats2half2_rn(low, high), __hneg2(limit)), limit);
  uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

__device__ inline void store_residual(__half* target, const float (&next)[8]) {
  *reinterpret_cast<uint4*>(target) =
      make_uint4(saturated_halves(next[0], next[1]), saturated_halves(next[2], next[3]),
                 saturated_halves(next[4], next[5]), saturated_halves(next[6], next[7]));
}

// residual_scale D_row q D_col for the 8 elements at (row, col).
__device__ inline void weigh_residual(const Workspace& ws, int row, int col, float (&next)[8]) {
  if (ws.row_scale != nullptr) {
    const float of_row = ws.row_scale[row] * ws.residual_scale;
    float of_col[8];
    load_floats(ws.col_scale + col, of_col);
#pragma unroll
    for (int i = 0; i < 8; ++i) next[i] *= of_row * of_col[i];
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) next[i] *= ws.residual_scale;
  }
}

// Adds the squares of 8 errors, and with Fisher their weighted squares.
__device__ inline void add_errors(const Workspace& ws, int64_t padded, const float (&square)[8], float* cost,
                                  float* squared) {
#pragma unroll
  for (int i = 0; i < 8; ++i) *squared += square[i];
  if (ws.fisher == nullptr) return;
  float fisher[8];
  load_floats(ws.fisher + padded, fisher);
#pragma unroll
  for (int i = 0; i < 8; ++i) *cost = fmaf(square[i], fisher[i], *cost);
}

// A warp's share of the errors of a tile; they are added up in a fixed order by update_kernel.
__device__ inline void store_errors(const Workspace& ws, const Stretch& at, int col0, double* cost, double* squared) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    *cost += __shfl_xor_sync(0xffffffffu, *cost, step);
    *squared += __shfl_xor_sync(0xffffffffu, *squared, step);
  }
  if (threadIdx.x % 32 == 0) {
    const int64_t tile = static_cast<int64_t>(at.row0 / kTile) * (ws.padded_cols / kTile) + col0 / kTile;
    const int64_t share = (at.slot * static_cast<int64_t>(ws.tiles()) + tile) * kTileWarps + threadIdx.x / 32;
    reinterpret_cast<double2*>(ws.errors)[share] = make_double2(ws.fisher != nullptr ? *cost : *squared, *squared);
  }
  *cost = *squared = 0.0;
}

template <typename W>
__global__ void __launch_bounds__(kThreads, 2) absmax_kernel(const Workspace ws, const LiveSlots live, int tiles) {
  const Stretch at = stretch_of(ws, live, tiles);
  if (ws.states[at.slot].active == 0) return;
  const SlotOption option = ws.options[at.slot];
  const int lane = threadIdx.x % 32;
  float* const scales = ws.scales + at.slot * ws.max_blocks;
  const int shift = __ffs(option.block) - 1;  // an aligned block's size is a power of two
  const int64_t blocks_a_row = ws.cols >> shift;
  uint32_t smallest = kInfinity;
  const auto put = [&](int row, int col, float largest) {
    scales[row * blocks_a_row + (col >> shift)] = largest;
    smallest = min(smallest, __float_as_uint(largest));
  };
  const auto aligned_strip = [&](const float(&sums)[8][4], const Run<W>(&runs)[2], int h, int row, int col) {
    float largest[2] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float w[8], r[8];
      unpack_residual(ws, sums, runs[half], h, half, row, col + half * kHalf, w, r);
#pragma unroll
      for (int i = 0; i < 8; ++i) largest[half] = fmaxf(largest[half], fabsf(r[i]));
    }
    if (option.block == 64) largest[0] = fmaxf(largest[0], largest[1]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      largest[half] = fmaxf(largest[half], __shfl_xor_sync(0xffffffffu, largest[half], 1));
      if (option.block >= 32) largest[half] = fmaxf(largest[half], __shfl_xor_sync(0xffffffffu, largest[half], 2));
    }
    const bool first = option.block == 16 ? lane % 2 == 0 : lane % 4 == 0;  // of the threads that share a block
    if (row >= ws.rows || !first) return;
    if (col < ws.cols) put(row, col, largest[0]);
    if (option.block < 64 && col + kHalf < ws.cols) put(row, col + kHalf, largest[1]);
  };
  const auto any_strip = [&](const float(&sums)[8][4], const Run<W>(&runs)[2], int h, int row, int col) {
    if (row >= ws.rows) return;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int begin = col + half * kHalf;
      if (begin >= ws.cols) continue;
      const int64_t flat = static_cast<int64_t>(row) * ws.cols + begin;
      int64_t block = flat / option.block;
      int place = static_cast<int>(flat - block * option.block);  // of the next weight in its block
      float largest = 0.0f;
      float w[8], r[8];
      unpack_residual(ws, sums, runs[half], h, half, row, begin, w, r);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        if (begin + i >= ws.cols) continue;
        if (place == option.block) {
          atomicMax(reinterpret_cast<uint32_t*>(scales + block), __float_as_uint(largest));
          largest = 0.0f;
          place = 0;
          ++block;
        }
        largest = fmaxf(largest, fabsf(r[i]));
        ++place;
      }
      atomicMax(reinterpret_cast<uint32_t*>(scales + block), __float_as_uint(largest));
    }
  };
  if (option.aligned == 0) {
    for_each_strip<W>(ws, at, any_strip, [](int) {});
    return;
  }
  for_each_strip<W>(ws, at, aligned_strip, [](int) {});
  smallest = __reduce_min_sync(0xffffffffu, smallest);
  if (lane == 0 && smallest != kInfinity) atomicMin(ws.minimum + at.slot, smallest);
}

// Blocks that are 16, 32 or 64 wide within a row, under a book of 4, 8 or 16 levels.
template <typename W, int Bits>
__global__ void __launch_bounds__(kThreads, 2)
    quantize_aligned_kernel(const Workspace ws, const LiveSlots live, int tiles) {
  __shared__ float thresholds[1 << Bits], levels[1 << Bits];
  const Stretch at = stretch_of(ws, live, tiles);
  if (ws.states[at.slot].active == 0) return;
  const SlotOption option = ws.options[at.slot];
  if (threadIdx.x < (1 << Bits)) {
    thresholds[threadIdx.x] = ws.books[option.book].thresholds[threadIdx.x];
    levels[threadIdx.x] = ws.books[option.book].levels[threadIdx.x];
  }
  __syncthreads();
  const float* const scales = ws.scales + at.slot * ws.max_blocks;
  __half* const residual = ws.residual + at.slot * ws.matrix_size();
  const int shift = __ffs(option.block) - 1;  // an aligned block's size is a power of two
  const int64_t blocks_a_row = ws.cols >> shift;
  double cost = 0.0, squared = 0.0;
  for_each_strip<W>(
      ws, at,
      [&](const float(&sums)[8][4], const Run<W>(&runs)[2], int h, int row, int col) {
        // Nothing is guarded but the scales: in the padding all is zero, and zeros are what belongs there.
        float scale[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int begin = col + half * kHalf;
          scale[half] = row < ws.rows && begin < ws.cols ? scales[row * blocks_a_row + (begin >> shift)] : 0.0f;
        }
        float strip_cost = 0.0f, strip_squared = 0.0f;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int begin = col + half * kHalf;
          const float inverse = scale[half] > 0.0f ? __frcp_rn(scale[half]) : 0.0f;
          const int64_t padded = static_cast<int64_t>(row) * ws.padded_cols + begin;
          float w[8], r[8], x[8], level[8];
          unpack_residual(ws, sums, runs[half], h, half, row, begin, w, r);
#pragma unroll
          for (int i = 0; i < 8; ++i) x[i] = r[i] * inverse;
          nearest_levels<Bits>(thresholds, levels, x, level);
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            const float error = fmaf(-scale[half], level[i], r[i]);
            x[i] = error * error;
            w[i] = fmaf(-scale[half], level[i], w[i]);
          }
          add_errors(ws, padded, x, &strip_cost, &strip_squared);
          weigh_residual(ws, row, begin, w);
          store_residual(residual + padded, w);
        }
        cost += strip_cost;
        squared += strip_squared;
      },
      [&](int col0) { store_errors(ws, at, col0, &cost, &squared); });
}

// Any block size, book and shape; with Emit the codes are stored and the residual is not.
template <typename W, bool Emit>
__global__ void __launch_bounds__(kThreads, 2)
    quantize_any_kernel(const Workspace ws, const LiveSlots live, int tiles) {
  __shared__ DeviceBook book;
  const Stretch at = stretch_of(ws, live, tiles);
  if (ws.states[at.slot].active == 0) return;
  const SlotOption option = ws.options[at.slot];
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(DeviceBook) / sizeof(int)); i += kThreads) {
    reinterpret_cast<int*>(&book)[i] = reinterpret_cast<const int*>(ws.books + option.book)[i];
  }
  __syncthreads();
  const float* const scales = ws.scales + at.slot * ws.max_blocks;
  __half* const residual = ws.residual + at.slot * ws.matrix_size();
  double cost = 0.0, squared = 0.0;
  for_each_strip<W>(
      ws, at,
      [&](const float(&sums)[8][4], const Run<W>(&runs)[2], int h, int row, int col) {
        if (row >= ws.rows) return;
        float strip_cost = 0.0f, strip_squared = 0.0f;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int begin = col + half * kHalf;
          if (begin >= ws.cols) continue;
          const int64_t padded = static_cast<int64_t>(row) * ws.padded_cols + begin;
          const int64_t flat = static_cast<int64_t>(row) * ws.cols + begin;
          int64_t block = flat / option.block;
          int place = static_cast<int>(flat - block * option.block);
          float w[8], r[8], square[8];
          unpack_residual(ws, sums, runs[half], h, half, row, begin, w, r);
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            square[i] = 0.0f;
            if (begin + i >= ws.cols) {
              w[i] = 0.0f;
              continue;
            }
            if (place == option.block) {
              place = 0;
              ++block;
            }
            ++place;
            const float scale = scales[block];
            const int code = nearest_code(book, scale > 0.0f ? __fdiv_rn(r[i], scale) : 0.0f);
            const float error = fmaf(-scale, book.levels[code], r[i]);
            square[i] = error * error;
            w[i] = fmaf(-scale, book.levels[code], w[i]);
            if (Emit) ws.codes[flat + i] = static_cast<uint8_t>(code);
          }
          add_errors(ws, padded, square, &strip_cost, &strip_squared);
          if (!Emit) {
            weigh_residual(ws, row, begin, w);
            store_residual(residual + padded, w);
          }
        }
        cost += strip_cost;
        squared += strip_squared;
      },
      [&](int col0) { store_errors(ws, at, col0, &cost, &squared); });
}

// Absmax of blocks that straddle threads is built with atomic maxima and starts from zero.
__global__ void clear_unaligned_kernel(const Workspace ws, const LiveSlots live) {
  const int slot = live.slot[blockIdx.x % live.count];
  if (ws.states[slot].active == 0 || ws.options[slot].aligned != 0) return;
  const int64_t first = static_cast<int64_t>(blockIdx.x / live.count) * 4096;
  for (int64_t i = first + threadIdx.x; i < min(first + 4096, ws.options[slot].blocks); i += blockDim.x) {
    ws.scales[slot * ws.max_blocks + i] = 0.0f;
  }
}

__global__ void __launch_bounds__(kThreads) update_kernel(const Workspace ws, const LiveSlots live) {
  __shared__ double sums[kThreads][2];
  const int slot = live.slot[blockIdx.x];
  if (ws.states[slot].active == 0) return;
  const int shares = ws.tiles() * kTileWarps;
  const double2* errors = reinterpret_cast<const double2*>(ws.errors) + static_cast<int64_t>(slot) * shares;
  double cost = 0.0, squared = 0.0;
#pragma unroll 4
  for (int share = threadIdx.x; share < shares; share += kThreads) {
    cost += errors[share].x;
    squared += errors[share].y;
  }
  sums[threadIdx.x][0] = cost;
  sums[threadIdx.x][1] = squared;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) {
      sums[threadIdx.x][0] += sums[threadIdx.x + half][0];
      sums[threadIdx.x][1] += sums[threadIdx.x + half][1];
    }
  }
  if (threadIdx.x != 0) return;
  const SlotOption option = ws.options[slot];
  SlotState state = ws.states[slot];
  state.cost = sums[0][0];
  state.squared_error = sums[0][1];
  state.fresh = 0;
  ++state.iterations;
  state.improved = state.best_iteration == 0 || state.cost < state.best_cost;
  if (state.improved) {
    state.best_cost = state.cost;
    state.best_squared_error = state.squared_error;
    state.best_iteration = state.iterations;
    state.since_best = 0;
  } else {
    ++state.since_best;
  }
  if (state.since_best >= option.patience || state.iterations >= option.max_iterations) state.active = 0;
  ws.states[slot] = state;
  ws.minimum[slot] = kInfinity;
}

// After the update: keeps the factors of an iterate that is the best so far.
__global__ void __launch_bounds__(kThreads) keep_best_kernel(const Workspace ws, const LiveSlots live) {
  const int slot = live.slot[blockIdx.x % live.count];
  if (ws.states[slot].improved == 0 || ws.options[slot].keep_best == 0) return;
  const int64_t i = (static_cast<int64_t>(blockIdx.x / live.count) * kThreads + threadIdx.x) * 8;
  const int64_t of_u = ws.u_size(), of_z = ws.z_size();
  if (i < of_u) {
    *reinterpret_cast<uint4*>(ws.best_u + slot * of_u + i) = *reinterpret_cast<const uint4*>(ws.u + slot * of_u + i);
  } else if (i - of_u < of_z) {
    const int64_t j = slot * of_z + i - of_u;
    *reinterpret_cast<uint4*>(ws.best_z + j) = *reinterpret_cast<const uint4*>(ws.z + j);
  }
}

// Tiles a thread block goes along: enough to hide the loading of the next behind the work on one, few enough that every
// multiprocessor has three blocks.
int tiles_a_block(const Workspace& ws, const LiveSlots& live) {
  const int64_t tiles = static_cast<int64_t>(ws.tiles()) * live.count;
  return static_cast<int>(std::clamp<int64_t>(tiles / (3 * ws.multiprocessors), 1, 4));
}

template <typename Kernel>
void launch_along_tiles(Kernel kernel, const Stream& stream, const Workspace& ws, const LiveSlots& live,
                        const char* name) {
  const int panels = static_cast<int>(ceil_div(ws.padded_rank, kPanelWidth));
  const int held = panels == 0 ? 0 : panels == 1 ? 3 : panels <= kResidentPanels ? 2 * panels : 2;
  const int bytes = held * static_cast<int>(sizeof(Panel));
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), name);
  const int tiles = tiles_a_block(ws, live);
  const int64_t grid = ws.padded_rows / kTile * ceil_div(ws.padded_cols / kTile, tiles) * live.count;
  kernel<<<static_cast<unsigned>(grid), kThreads, bytes, stream.get()>>>(ws, live, tiles);
  check_launch(name);
}

// The slots whose options a kernel is for.
template <typename Wanted>
LiveSlots slots_with(const LiveSlots& live, const SlotOption* options, Wanted&& wanted) {
  LiveSlots out{};
  for (int i = 0; i < live.count; ++i) {
    if (wanted(options[live.slot[i]])) out.slot[out.count++] = live.slot[i];
  }
  return out;
}

template <typename W, int Bits>
void launch_aligned(const Stream& stream, const Workspace& ws, const LiveSlots& live, const SlotOption* options) {
  const LiveSlots own =
      slots_with(live, options, [](const SlotOption& option) { return option.aligned != 0 && option.bits == Bits; });
  if (own.count > 0) launch_along_tiles(quantize_aligned_kernel<W, Bits>, stream, ws, own, "codes of the residual");
}

template <typename W>
void launch_quantize_as(const Stream& stream, const Workspace& ws, const LiveSlots& live, const SlotOption* options) {
  launch_aligned<W, 2>(stream, ws, live, options);
  launch_aligned<W, 3>(stream, ws, live, options);
  launch_aligned<W, 4>(stream, ws, live, options);
  const LiveSlots rest =
      slots_with(live, options, [](const SlotOption& option) { return option.aligned == 0 || option.bits > 4; });
  if (rest.count > 0) launch_along_tiles(quantize_any_kernel<W, false>, stream, ws, rest, "codes of the residual");
}

}  // namespace

void launch_absmax(const Stream& stream, const Workspace& ws, const LiveSlots& live, bool any_unaligned) {
  if (any_unaligned) {
    const auto grid = static_cast<unsigned>(ceil_div(ws.max_blocks, 4096) * live.count);
    clear_unaligned_kernel<<<grid, kThreads, 0, stream.get()>>>(ws, live);
    check_launch("clearing block scales");
  }
  const char* const name = "block absmax of the residual";
  if (ws.weight_is_bf16 != 0) {
    launch_along_tiles(absmax_kernel<__nv_bfloat16>, stream, ws, live, name);
  } else {
    launch_along_tiles(absmax_kernel<float>, stream, ws, live, name);
  }
}

void launch_quantize(const Stream& stream, const Workspace& ws, const LiveSlots& live, const SlotOption* options) {
  if (ws.weight_is_bf16 != 0) {
    launch_quantize_as<__nv_bfloat16>(stream, ws, live, options);
  } else {
    launch_quantize_as<float>(stream, ws, live, options);
  }
}

void launch_emit(const Stream& stream, const Workspace& ws) {
  LiveSlots first{};
  first.count = 1;
  if (ws.weight_is_bf16 != 0) {
    launch_along_tiles(quantize_any_kernel<__nv_bfloat16, true>, stream, ws, first, "final codes");
  } else {
    launch_along_tiles(quantize_any_kernel<float, true>, stream, ws, first, "final codes");
  }
}

void launch_update(const Stream& stream, const Workspace& ws, const LiveSlots& live, bool any_kept) {
  update_kernel<<<static_cast<unsigned>(live.count), kThreads, 0, stream.get()>>>(ws, live);
  check_launch("stop rule");
  if (!any_kept || ws.padded_rank == 0) return;
  const int64_t chunks = ceil_div(ws.u_size() + ws.z_size(), kThreads * 8);
  keep_best_kernel<<<static_cast<unsigned>(chunks * live.count), kThreads, 0, stream.get()>>>(ws, live);
  check_launch("keeping the best factors");
}

}  // namespace lq::cuda
