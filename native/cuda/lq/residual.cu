// The passes over the weights. A tile of 128 x 128 weights is one thread block: L1 L2 on the tensor cores, then what
// follows is done on the accumulators in registers. The product is computed twice (before and after the scales are known)
// because that is cheaper than storing it.
//
// Eight warps, 4 x 2, each 32 x 64. The columns of a warp are dealt to the tensor cores in an order that leaves every thread
// with 16 adjacent columns of four rows: weights, Fisher and residual move as 16-byte accesses, and a block of 16, 32 or 64
// weights belongs to 1, 2 or 4 neighbouring threads.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "lq/mma.cuh"
#include "lq/workspace.h"
#include "quant/scales.cuh"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRankStep = 64;  // columns of the factors in shared memory at a time
constexpr int kStrip = 16;     // adjacent columns of a thread

struct Position {
  int slot;
  int row0, col0;  // of the tile
};

__device__ inline Position position_of(const Workspace& ws, const LiveSlots& live) {
  const int tile = static_cast<int>(blockIdx.x / live.count);
  const int across = ws.padded_cols / kTile;
  return {live.slot[blockIdx.x % live.count], tile / across * kTile, tile % across * kTile};
}

// Swizzles of the 16-byte chunks of a 128-byte row: the eight rows an ldmatrix reads fall into different banks.
__device__ inline int swizzle_u(int row, int chunk) { return (chunk ^ (row & 7)) * 8; }
__device__ inline int swizzle_z(int row, int chunk) {
  return (chunk ^ ((((row >> 4) & 3) << 1) | (row & 1))) * 8;
}

// accumulators[m][j][2 h + i] = (u z')[16 m + 8 h + lane / 4, 16 (lane % 4) + 2 j + i] of the warp's 32 x 64.
__device__ inline void low_rank_product(const Workspace& ws, const Position& at, __half (*su)[kRankStep],
                                        __half (*sz)[kRankStep], float (&accumulators)[2][8][4]) {
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 / 2 * 32;
  const int warp_col = threadIdx.x / 32 % 2 * 64;
  const __half* u = ws.u + at.slot * ws.u_size() + static_cast<int64_t>(at.row0) * ws.padded_rank;
  const __half* z = ws.z + at.slot * ws.z_size() + static_cast<int64_t>(at.col0) * ws.padded_rank;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) accumulators[m][j][i] = 0.0f;
    }
  }
  for (int k0 = 0; k0 < ws.padded_rank; k0 += kRankStep) {
    const int chunks = min(kRankStep, ws.padded_rank - k0) / 8;
    if (k0 > 0) __syncthreads();
    for (int i = threadIdx.x; i < kTile * chunks; i += kThreads) {
      const int row = i / chunks;
      const int chunk = i % chunks;
      const int64_t source = static_cast<int64_t>(row) * ws.padded_rank + k0 + chunk * 8;
      copy_async(shared_address(&su[row][swizzle_u(row, chunk)]), u + source);
      copy_async(shared_address(&sz[row][swizzle_z(row, chunk)]), z + source);
    }
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    for (int k = 0; k < chunks; k += 2) {
      uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const int row = warp_row + m * 16 + lane % 16;
        load_matrices(a[m], shared_address(&su[row][swizzle_u(row, k + lane / 16)]));
      }
#pragma unroll
      for (int j = 0; j < 8; j += 2) {
        const int n = lane % 8;
        const int row = warp_col + (n >> 1) * kStrip + 2 * (j + lane / 16) + (n & 1);
        uint32_t b[4];
        load_matrices(b, shared_address(&sz[row][swizzle_z(row, k + lane / 8 % 2)]));
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          multiply_add(accumulators[m][j], a[m], b[0], b[1]);
          multiply_add(accumulators[m][j + 1], a[m], b[2], b[3]);
        }
      }
    }
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

__device__ inline void load_weights(const float* source, float (&out)[8]) { load_floats(source, out); }
__device__ inline void load_weights(const __nv_bfloat16* source, float (&out)[8]) {
  const uint4 packed = *reinterpret_cast<const uint4*>(source);
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = __uint_as_float(words[i] << 16);
    out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

// The 8 adjacent elements `half` (0 or 1) of a thread's strip in row h of m: weights, and weights minus L1 L2.
template <typename W>
__device__ inline void load_residual(const Workspace& ws, const float (&accumulators)[8][4], int h, int half, int row,
                                     int col, float (&w)[8], float (&r)[8]) {
  load_weights(static_cast<const W*>(ws.weight) + static_cast<int64_t>(row) * ws.padded_cols + col, w);
  float unscale[8];
  if (ws.row_inverse != nullptr) {
    const float of_row = ws.row_inverse[row] * ws.product_scale;
    load_floats(ws.col_inverse + col, unscale);
#pragma unroll
    for (int i = 0; i < 8; ++i) unscale[i] *= of_row;
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) unscale[i] = ws.product_scale;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) r[i] = fmaf(-accumulators[half * 4 + i / 2][2 * h + i % 2], unscale[i], w[i]);
}

// Nearest levels of x, two to sixteen of them, found by comparing with every threshold: no divergence and no table look-up.
template <int Bits>
__device__ inline void nearest_levels(const DeviceBook& book, const float (&x)[8], float (&level)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) level[i] = book.levels[0];
#pragma unroll
  for (int t = 0; t + 1 < (1 << Bits); ++t) {
    const float threshold = book.thresholds[t];
    const float above = book.levels[t + 1];
#pragma unroll
    for (int i = 0; i < 8; ++i) level[i] = x[i] > threshold ? above : level[i];
  }
}

__device__ inline void nearest_levels(const DeviceBook& book, int bits, const float (&x)[8], float (&level)[8]) {
  switch (bits) {
    case 2: nearest_levels<2>(book, x, level); break;
    case 3: nearest_levels<3>(book, x, level); break;
    case 4: nearest_levels<4>(book, x, level); break;
    default:
#pragma unroll
      for (int i = 0; i < 8; ++i) level[i] = book.levels[nearest_code(book, x[i])];
  }
}

__device__ inline uint32_t saturated_halves(float low, float high) {
  constexpr float kLimit = 65504.0f;
  const __half2 pair = __floats2half2_rn(fminf(fmaxf(low, -kLimit), kLimit), fminf(fmaxf(high, -kLimit), kLimit));
  uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

template <typename W>
__global__ void __launch_bounds__(kThreads, 2) absmax_kernel(const Workspace ws, const LiveSlots live) {
  __shared__ __align__(16) __half su[kTile][kRankStep];
  __shared__ __align__(16) __half sz[kTile][kRankStep];
  const Position at = position_of(ws, live);
  if (ws.states[at.slot].active == 0) return;
  const SlotOption option = ws.options[at.slot];
  float accumulators[2][8][4];
  low_rank_product(ws, at, su, sz, accumulators);

  const int lane = threadIdx.x % 32;
  const int col = at.col0 + threadIdx.x / 32 % 2 * 64 + lane % 4 * kStrip;
  float* scales = ws.scales + at.slot * ws.max_blocks;
  uint32_t smallest = 0x7f800000u;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = at.row0 + threadIdx.x / 32 / 2 * 32 + m * 16 + h * 8 + lane / 4;
      const bool inside = row < ws.rows && col < ws.cols;
      int64_t block = 0;
      int place = 0;  // of the next weight in its block
      if (option.aligned == 0 && inside) {
        const int64_t flat = static_cast<int64_t>(row) * ws.cols + col;
        block = flat / option.block;
        place = static_cast<int>(flat - block * option.block);
      }
      float largest = 0.0f;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float w[8], r[8];
        load_residual<W>(ws, accumulators[m], h, half, row, col + half * 8, w, r);
        if (option.aligned != 0) {
#pragma unroll
          for (int i = 0; i < 8; ++i) largest = fmaxf(largest, fabsf(r[i]));
        } else if (inside) {
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            if (col + half * 8 + i < ws.cols) {
              if (place == option.block) {
                atomicMax(reinterpret_cast<uint32_t*>(scales + block), __float_as_uint(largest));
                largest = 0.0f;
                place = 0;
                ++block;
              }
              largest = fmaxf(largest, fabsf(r[i]));
              ++place;
            }
          }
        }
      }
      if (option.aligned != 0) {
        if (option.block >= 32) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
        if (option.block >= 64) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
        if (inside && lane % 4 % (option.block / kStrip) == 0) {
          scales[static_cast<int64_t>(row) * (ws.cols / option.block) + col / option.block] = largest;
          smallest = min(smallest, __float_as_uint(largest));
        }
      } else if (inside) {
        atomicMax(reinterpret_cast<uint32_t*>(scales + block), __float_as_uint(largest));
      }
    }
  }
  if (option.aligned == 0) return;
  smallest = __reduce_min_sync(0xffffffffu, smallest);
  if (lane == 0 && smallest != 0x7f800000u) atomicMin(ws.minimum + at.slot, smallest);
}

template <typename W, bool Emit>
__global__ void __launch_bounds__(kThreads, 2) quantize_kernel(const Workspace ws, const LiveSlots live) {
  __shared__ __align__(16) __half su[kTile][kRankStep];
  __shared__ __align__(16) __half sz[kTile][kRankStep];
  __shared__ DeviceBook book;
  __shared__ double warp_errors[kThreads / 32][2];
  const Position at = position_of(ws, live);
  if (!Emit && ws.states[at.slot].active == 0) return;
  const SlotOption option = ws.options[at.slot];
  {
    const DeviceBook& source = ws.books[option.book];
    if (threadIdx.x == 0) {
      book.bits = source.bits;
      book.levels_count = source.levels_count;
    }
    for (int i = threadIdx.x; i < source.levels_count; i += kThreads) {
      book.levels[i] = source.levels[i];
      book.thresholds[i] = source.thresholds[i];
    }
    __syncthreads();
  }
  float accumulators[2][8][4];
  low_rank_product(ws, at, su, sz, accumulators);

  const int lane = threadIdx.x % 32;
  const int col = at.col0 + threadIdx.x / 32 % 2 * 64 + lane % 4 * kStrip;
  const float* scales = ws.scales + at.slot * ws.max_blocks;
  __half* residual = ws.residual + at.slot * ws.matrix_size();
  double cost = 0.0, squared = 0.0;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = at.row0 + threadIdx.x / 32 / 2 * 32 + m * 16 + h * 8 + lane / 4;
      if (row >= ws.rows || col >= ws.cols) continue;
      const int64_t flat = static_cast<int64_t>(row) * ws.cols + col;
      const int64_t padded = static_cast<int64_t>(row) * ws.padded_cols + col;
      const float strip_scale =
          option.aligned != 0 ? scales[static_cast<int64_t>(row) * (ws.cols / option.block) + col / option.block] : 0.0f;
      const float row_weight = ws.row_scale != nullptr ? ws.row_scale[row] * ws.residual_scale : ws.residual_scale;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float w[8], r[8], scale[8], x[8], level[8];
        load_residual<W>(ws, accumulators[m], h, half, row, col + half * 8, w, r);
        if (option.aligned != 0) {
          const float inverse = strip_scale > 0.0f ? __frcp_rn(strip_scale) : 0.0f;
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            scale[i] = strip_scale;
            x[i] = r[i] * inverse;
          }
        } else {
          int64_t block = (flat + half * 8) / option.block;
          int place = static_cast<int>(flat + half * 8 - block * option.block);
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            if (place == option.block) {
              place = 0;
              ++block;
            }
            scale[i] = col + half * 8 + i < ws.cols ? scales[block] : 0.0f;
            x[i] = scale[i] > 0.0f ? __fdividef(r[i], scale[i]) : 0.0f;
            ++place;
          }
        }
        if (Emit) {
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            const int code = nearest_code(book, scale[i] > 0.0f ? __fdiv_rn(r[i], scale[i]) : 0.0f);
            level[i] = book.levels[code];
            if (col + half * 8 + i < ws.cols) ws.codes[flat + half * 8 + i] = static_cast<uint8_t>(code);
          }
        } else {
          nearest_levels(book, option.bits, x, level);
        }
        float plain[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float error = fmaf(-scale[i], level[i], r[i]);
          plain[i] = col + half * 8 + i < ws.cols ? error * error : 0.0f;
        }
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < 8; ++i) sum += plain[i];
        squared += sum;
        if (ws.fisher != nullptr) {
          float fisher[8];
          load_floats(ws.fisher + padded + half * 8, fisher);
          sum = 0.0f;
#pragma unroll
          for (int i = 0; i < 8; ++i) sum = fmaf(plain[i], fisher[i], sum);
        }
        cost += sum;
        if (!Emit) {
          float next[8];
#pragma unroll
          for (int i = 0; i < 8; ++i) next[i] = fmaf(-scale[i], level[i], w[i]) * row_weight;
          if (ws.col_scale != nullptr) {
            float of_col[8];
            load_floats(ws.col_scale + col + half * 8, of_col);
#pragma unroll
            for (int i = 0; i < 8; ++i) next[i] *= of_col[i];
          }
#pragma unroll
          for (int i = 0; i < 8; ++i) next[i] = col + half * 8 + i < ws.cols ? next[i] : 0.0f;
          *reinterpret_cast<uint4*>(residual + padded + half * 8) =
              make_uint4(saturated_halves(next[0], next[1]), saturated_halves(next[2], next[3]),
                         saturated_halves(next[4], next[5]), saturated_halves(next[6], next[7]));
        }
      }
    }
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    cost += __shfl_xor_sync(0xffffffffu, cost, step);
    squared += __shfl_xor_sync(0xffffffffu, squared, step);
  }
  if (lane == 0) {
    warp_errors[threadIdx.x / 32][0] = cost;
    warp_errors[threadIdx.x / 32][1] = squared;
  }
  __syncthreads();
  if (threadIdx.x < 2) {
    double sum = 0.0;
    for (int warp = 0; warp < kThreads / 32; ++warp) sum += warp_errors[warp][threadIdx.x];
    const int64_t tile = blockIdx.x / live.count;
    ws.errors[(at.slot * static_cast<int64_t>(ws.tiles()) + tile) * 2 + threadIdx.x] = sum;
  }
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
  const double* errors = ws.errors + static_cast<int64_t>(slot) * ws.tiles() * 2;
  double cost = 0.0, squared = 0.0;
  for (int tile = threadIdx.x; tile < ws.tiles(); tile += kThreads) {
    cost += errors[tile * 2];
    squared += errors[tile * 2 + 1];
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
  state.improved = state.iterations == 1 || state.cost < state.best_cost;
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
  ws.minimum[slot] = 0x7f800000u;
}

// After the update: keeps the factors of an iterate that is the best so far.
__global__ void __launch_bounds__(kThreads) keep_best_kernel(const Workspace ws, const LiveSlots live) {
  const int slot = live.slot[blockIdx.x % live.count];
  if (ws.states[slot].improved == 0) return;
  const int64_t i = (static_cast<int64_t>(blockIdx.x / live.count) * kThreads + threadIdx.x) * 8;
  const int64_t of_u = ws.u_size(), of_z = ws.z_size();
  if (i < of_u) {
    *reinterpret_cast<uint4*>(ws.best_u + slot * of_u + i) = *reinterpret_cast<const uint4*>(ws.u + slot * of_u + i);
  } else if (i - of_u < of_z) {
    const int64_t j = slot * of_z + i - of_u;
    *reinterpret_cast<uint4*>(ws.best_z + j) = *reinterpret_cast<const uint4*>(ws.z + j);
  }
}

}  // namespace

void launch_absmax(const Stream& stream, const Workspace& ws, const LiveSlots& live, bool any_unaligned) {
  if (any_unaligned) {
    const auto grid = static_cast<unsigned>(ceil_div(ws.max_blocks, 4096) * live.count);
    clear_unaligned_kernel<<<grid, kThreads, 0, stream.get()>>>(ws, live);
    check_launch("clearing block scales");
  }
  const auto grid = static_cast<unsigned>(static_cast<int64_t>(ws.tiles()) * live.count);
  if (ws.weight_is_bf16 != 0) {
    absmax_kernel<__nv_bfloat16><<<grid, kThreads, 0, stream.get()>>>(ws, live);
  } else {
    absmax_kernel<float><<<grid, kThreads, 0, stream.get()>>>(ws, live);
  }
  check_launch("block absmax of the residual");
}

void launch_quantize(const Stream& stream, const Workspace& ws, const LiveSlots& live) {
  const auto grid = static_cast<unsigned>(static_cast<int64_t>(ws.tiles()) * live.count);
  if (ws.weight_is_bf16 != 0) {
    quantize_kernel<__nv_bfloat16, false><<<grid, kThreads, 0, stream.get()>>>(ws, live);
  } else {
    quantize_kernel<float, false><<<grid, kThreads, 0, stream.get()>>>(ws, live);
  }
  check_launch("codes of the residual");
}

void launch_emit(const Stream& stream, const Workspace& ws) {
  LiveSlots first{};
  first.count = 1;
  const auto grid = static_cast<unsigned>(ws.tiles());
  if (ws.weight_is_bf16 != 0) {
    quantize_kernel<__nv_bfloat16, true><<<grid, kThreads, 0, stream.get()>>>(ws, first);
  } else {
    quantize_kernel<float, true><<<grid, kThreads, 0, stream.get()>>>(ws, first);
  }
  check_launch("final codes");
}

void launch_update(const Stream& stream, const Workspace& ws, const LiveSlots& live) {
  update_kernel<<<static_cast<unsigned>(live.count), kThreads, 0, stream.get()>>>(ws, live);
  check_launch("stop rule");
  if (ws.keep_best == 0 || ws.padded_rank == 0) return;
  const int64_t chunks = ceil_div(ws.u_size() + ws.z_size(), kThreads * 8);
  keep_best_kernel<<<static_cast<unsigned>(chunks * live.count), kThreads, 0, stream.get()>>>(ws, live);
  check_launch("keeping the best factors");
}

}  // namespace lq::cuda
