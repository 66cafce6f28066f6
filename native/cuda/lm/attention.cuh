// Tile arithmetic of attention: a warp owns 16 rows; tiles are rows of a head in shared memory, D wide.
#pragma once

#include "lm/mma.cuh"

namespace lq::cuda {

// 8 elements of padding make a row an odd number of 16 bytes, so that eight rows meet all banks.
template <int D>
constexpr int kPitch = D + 8;

// Rows [first, first + Rows) of every plane to shared memory, zero from `end` on.
template <int D, int Planes, int Rows, int Threads>
__device__ void load_rows(Bf16* tile, const Bf16* source, int64_t stride, int64_t plane, int first, int end) {
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int p = 0; p < Planes; ++p) {
    for (int i = threadIdx.x; i < Rows * kChunks; i += Threads) {
      const int row = i / kChunks, col = i % kChunks * 8;
      const bool inside = first + row < end;
      copy_async_or_zero(shared_address(tile + (p * Rows + row) * kPitch<D> + col),
                         inside ? source + p * plane + (first + row) * stride + col : source, inside);
    }
  }
}

// s += a b': the warp's 16 rows of tile a (which has ARows) times the N rows of tile b.
template <int D, int Planes, int ARows, int N>
__device__ void rows_times_rows(float (&s)[N / 8][4], const Bf16* a, int a_row, const Bf16* b, int lane) {
#pragma unroll
  for (int k = 0; k < D; k += 16) {
    uint32_t of_a[Planes][4];
#pragma unroll
    for (int p = 0; p < Planes; ++p) {
      load_matrices(of_a[p], shared_address(a + (p * ARows + a_row + lane % 16) * kPitch<D> + k + lane / 16 * 8));
    }
#pragma unroll
    for (int n = 0; n < N; n += 16) {
      uint32_t of_b[Planes][4];
#pragma unroll
      for (int p = 0; p < Planes; ++p) {
        const int row = n + lane % 8 + lane / 16 * 8;
        load_matrices(of_b[p], shared_address(b + (p * N + row) * kPitch<D> + k + lane / 8 % 2 * 8));
      }
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float(&sum)[4] = s[n / 8 + j];
        if constexpr (Planes == 2) {
          multiply_add_bf16(sum, of_a[1], of_b[0][2 * j], of_b[0][2 * j + 1]);
          multiply_add_bf16(sum, of_a[0], of_b[1][2 * j], of_b[1][2 * j + 1]);
        }
        multiply_add_bf16(sum, of_a[0], of_b[0][2 * j], of_b[0][2 * j + 1]);
      }
    }
  }
}

// o += w b: 16 x N coefficients in the layout rows_times_rows leaves, times the N rows of tile b.
template <int D, int Planes, int N>
__device__ void weights_times_rows(float (&o)[D / 8][4], const float (&w)[N / 8][4], const Bf16* b, int lane) {
#pragma unroll
  for (int k = 0; k < N; k += 16) {
    const float(&left)[4] = w[k / 8];
    const float(&right)[4] = w[k / 8 + 1];
    const uint32_t high[4] = {pack(left[0], left[1]), pack(left[2], left[3]), pack(right[0], right[1]),
                              pack(right[2], right[3])};
    [[maybe_unused]] uint32_t low[4];
    if constexpr (Planes == 2) {
      low[0] = pack(rest(left[0]), rest(left[1]));
      low[1] = pack(rest(left[2]), rest(left[3]));
      low[2] = pack(rest(right[0]), rest(right[1]));
      low[3] = pack(rest(right[2]), rest(right[3]));
    }
#pragma unroll
    for (int d = 0; d < D; d += 16) {
      uint32_t of_b[Planes][4];
#pragma unroll
      for (int p = 0; p < Planes; ++p) {
        load_matrices_transposed(of_b[p], shared_address(b + (p * N + k + lane % 16) * kPitch<D> + d + lane / 16 * 8));
      }
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float(&sum)[4] = o[d / 8 + j];
        if constexpr (Planes == 2) {
          multiply_add_bf16(sum, low, of_b[0][2 * j], of_b[0][2 * j + 1]);
          multiply_add_bf16(sum, high, of_b[1][2 * j], of_b[1][2 * j + 1]);
        }
        multiply_add_bf16(sum, high, of_b[0][2 * j], of_b[0][2 * j + 1]);
      }
    }
  }
}

}  // namespace lq::cuda
