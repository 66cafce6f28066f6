// What the kernels that work row by row share: a block a row, sums over a warp and over a block.
#pragma once

#include <cmath>

#include "lm/mma.cuh"
#include "lm/planes.h"

namespace lq::cuda {

constexpr int kRowThreads = 256;
constexpr int kRowWarps = kRowThreads / 32;
constexpr int kEightThreads = 128;  // a block, where each thread has eight columns

inline unsigned blocks_for(int64_t items, int64_t each) { return static_cast<unsigned>(ceil_div(items, each)); }

inline Bf16* bf16(uint16_t* p) { return reinterpret_cast<Bf16*>(p); }

__device__ inline float load_value(const float* p) { return *p; }
__device__ inline float load_value(const Bf16* p) { return __bfloat162float(*p); }

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

// Sum over the block, the same in every thread; calls may follow each other.
__device__ inline float block_sum(float x) {
  __shared__ float partial[kRowWarps];
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kRowWarps; ++i) sum += partial[i];
  return sum;
}

__device__ inline float block_max(float x) {
  __shared__ float partial[kRowWarps];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  x = partial[0];
#pragma unroll
  for (int i = 1; i < kRowWarps; ++i) x = fmaxf(x, partial[i]);
  return x;
}

}  // namespace lq::cuda
