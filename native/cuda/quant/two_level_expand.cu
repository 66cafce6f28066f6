#include "lm/mma.cuh"
#include "quant/fields.cuh"
#include "quant/scales.cuh"
#include "quant/two_level_expand.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
unsigned blocks_for(int64_t count) { return static_cast<unsigned>(ceil_div(count, kThreads)); }

int shift_of(int32_t n) {
  for (int shift = 0; shift < 31; ++shift) {
    if (n == 1 << shift) return shift;
  }
  return -1;
}

// A divisor that is a shift most of the time.
struct Divisor {
  explicit Divisor(int32_t n) : value(static_cast<uint32_t>(n)), shift(shift_of(n)) {}
  __device__ int64_t divide(int64_t x) const { return shift >= 0 ? x >> shift : x / value; }
  uint32_t value;
  int shift;
};

struct Expansion : TwoLevelCodes {
  Divisor of_block, of_group;
  Placement placement;
  int64_t padded_rows, padded_cols;
  Bf16* out;
  int64_t plane;
};

__device__ inline float scale_of_block(const Expansion& e, int64_t block) {
  const uint32_t top = (1u << e.config.b1) - 1;
  const uint32_t field = word_at(e.scales, block * e.config.b1) & top;
  const int64_t group = e.of_group.divide(block);
  float maximum;
  if (e.config.b2 == ScaleDtype::FP32) {
    maximum = reinterpret_cast<const float*>(e.groups)[group];
  } else {
    const uint16_t bits = reinterpret_cast<const uint16_t*>(e.groups)[group];
    maximum = e.config.b2 == ScaleDtype::BF16 ? __bfloat162float(__ushort_as_bfloat16(bits))
                                              : __half2float(__ushort_as_half(bits));
  }
  return decoded_scale(e.offset, static_cast<float>(field), maximum, static_cast<float>(top));
}

// Eight weights a thread, for dense matrices whose rows and blocks are of whole eights.
template <int Bits, int PlaneCount>
__global__ void __launch_bounds__(kThreads) expand_eights_kernel(const Expansion e, int64_t eights) {
  __shared__ float levels[1 << Bits];
  for (int i = threadIdx.x; i < 1 << Bits; i += kThreads) levels[i] = e.levels[i];
  __syncthreads();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= eights) return;
  uint64_t codes;
  if constexpr (Bits == 2) {
    codes = reinterpret_cast<const uint16_t*>(e.codes)[i];
  } else if constexpr (Bits == 3) {
    codes = word_at(reinterpret_cast<const uint32_t*>(e.codes), i * 24);
  } else if constexpr (Bits == 4) {
    codes = reinterpret_cast<const uint32_t*>(e.codes)[i];
  } else {
    codes = reinterpret_cast<const uint64_t*>(e.codes)[i];
  }
  const float scale = scale_of_block(e, e.of_block.divide(i * 8));
  uint32_t high[4], low[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const float x = __fmul_rn(scale, levels[codes >> (2 * k * Bits) & ((1u << Bits) - 1)]);
    const float y = __fmul_rn(scale, levels[codes >> ((2 * k + 1) * Bits) & ((1u << Bits) - 1)]);
    high[k] = pack(x, y);
    if constexpr (PlaneCount == 2) low[k] = pack(rest(x), rest(y));
  }
  *reinterpret_cast<uint4*>(e.out + i * 8) = {high[0], high[1], high[2], high[3]};
  if constexpr (PlaneCount == 2) {
    *reinterpret_cast<uint4*>(e.out + e.plane + i * 8) = {low[0], low[1], low[2], low[3]};
  }
}

// One weight a thread, any matrix; padding becomes zero.
template <int PlaneCount>
__global__ void __launch_bounds__(kThreads) expand_kernel(const Expansion e) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= e.padded_rows * e.padded_cols) return;
  const Placement& p = e.placement;
  const int64_t row = i / e.padded_cols, col = i % e.padded_cols;
  float x = 0.0f;
  if (row % p.row_pitch < p.row_segment && col % p.col_pitch < p.col_segment) {
    const int64_t at = (row / p.row_pitch * p.row_segment + row % p.row_pitch) * p.cols +
                       col / p.col_pitch * p.col_segment + col % p.col_pitch;
    const uint32_t code =
        word_at(reinterpret_cast<const uint32_t*>(e.codes), at * e.config.b0) & ((1u << e.config.b0) - 1);
    x = __fmul_rn(scale_of_block(e, e.of_block.divide(at)), e.levels[code]);
  }
  store_planes<PlaneCount>(e.out + i, e.plane, x);
}

}  // namespace

void expand_two_level(const Stream& stream, const TwoLevelCodes& codes, const Placement& placement, int planes,
                      uint16_t* out) {
  const int64_t padded_rows = placement.padded_rows(), padded_cols = placement.padded_cols();
  const int64_t plane = padded_rows * padded_cols;
  const Expansion e{codes,
                    Divisor(codes.config.block),
                    Divisor(codes.config.group),
                    placement,
                    padded_rows,
                    padded_cols,
                    reinterpret_cast<Bf16*>(out),
                    plane};
  const auto launch = [&](auto one_plane, auto two_planes, int64_t threads, auto... more) {
    const auto kernel = planes == 2 ? two_planes : one_plane;
    kernel<<<blocks_for(threads), kThreads, 0, stream.get()>>>(e, more...);
    check_launch("expanding packed weights");
  };
  const bool dense = padded_rows == placement.rows && padded_cols == placement.cols;
  if (!dense || codes.config.block % 8 != 0) return launch(expand_kernel<1>, expand_kernel<2>, plane);
  const int64_t eights = plane / 8;
  switch (codes.config.b0) {
    case 2:
      return launch(expand_eights_kernel<2, 1>, expand_eights_kernel<2, 2>, eights, eights);
    case 3:
      return launch(expand_eights_kernel<3, 1>, expand_eights_kernel<3, 2>, eights, eights);
    case 4:
      return launch(expand_eights_kernel<4, 1>, expand_eights_kernel<4, 2>, eights, eights);
    default:
      return launch(expand_eights_kernel<8, 1>, expand_eights_kernel<8, 2>, eights, eights);
  }
}

}  // namespace lq::cuda
