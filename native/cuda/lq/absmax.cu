// First pass: W - L1 L2 and the largest magnitude of its blocks.
#include "lq/tiles.cuh"

namespace lq::cuda {
namespace {

constexpr uint32_t kInfinity = 0x7f800000u;

template <typename W>
__global__ void __launch_bounds__(kTileThreads, 2) absmax_kernel(const Workspace ws, const LiveSlots live, int tiles) {
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

// Absmax of blocks that straddle threads is built with atomic maxima and starts from zero.
__global__ void clear_unaligned_kernel(const Workspace ws, const LiveSlots live) {
  const int slot = live.slot[blockIdx.x % live.count];
  if (ws.states[slot].active == 0 || ws.options[slot].aligned != 0) return;
  const int64_t first = static_cast<int64_t>(blockIdx.x / live.count) * 4096;
  for (int64_t i = first + threadIdx.x; i < min(first + 4096, ws.options[slot].blocks); i += blockDim.x) {
    ws.scales[slot * ws.max_blocks + i] = 0.0f;
  }
}

}  // namespace

void launch_absmax(const Stream& stream, const Workspace& ws, const LiveSlots& live, bool any_unaligned) {
  if (any_unaligned) {
    const auto grid = static_cast<unsigned>(ceil_div(ws.max_blocks, 4096) * live.count);
    clear_unaligned_kernel<<<grid, kTileThreads, 0, stream.get()>>>(ws, live);
    check_launch("clearing block scales");
  }
  const char* const name = "block absmax of the residual";
  if (ws.weight_is_bf16 != 0) {
    launch_along_tiles(absmax_kernel<__nv_bfloat16>, stream, ws, live, name);
  } else {
    launch_along_tiles(absmax_kernel<float>, stream, ws, live, name);
  }
}

}  // namespace lq::cuda
