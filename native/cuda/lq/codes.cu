// Second pass: codes of W - L1 L2 under the decoded scales, their errors, and the next residual.
#include "lq/tiles.cuh"
#include "quant/scales.cuh"

namespace lq::cuda {
namespace {

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

// Blocks that are 16, 32 or 64 wide within a row, under a book of 4, 8 or 16 levels.
template <typename W, int Bits>
__global__ void __launch_bounds__(kTileThreads, 2)
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
__global__ void __launch_bounds__(kTileThreads, 2)
    quantize_any_kernel(const Workspace ws, const LiveSlots live, int tiles) {
  __shared__ DeviceBook book;
  const Stretch at = stretch_of(ws, live, tiles);
  if (ws.states[at.slot].active == 0) return;
  const SlotOption option = ws.options[at.slot];
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(DeviceBook) / sizeof(int)); i += kTileThreads) {
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

}  // namespace lq::cuda
