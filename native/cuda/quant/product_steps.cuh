// What kernels that multiply with codes share.
#pragma once

#include "lm/mma.cuh"
#include "lm/product.h"

namespace lq::cuda {

// The wait that lets a launch start while the one before it still runs; nothing on older devices.
__device__ inline void wait_for_previous_launch() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void let_next_launch_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ inline void store_output(const Target& out, int64_t token, int64_t row, float value) {
  const int64_t at = token * out.stride + row;
  if (out.bf16) {
    Bf16* to = static_cast<Bf16*>(out.data) + at;
    if (out.accumulate) value += __bfloat162float(*to);
    *to = __float2bfloat16_rn(value);
  } else {
    float* to = static_cast<float*>(out.data) + at;
    if (out.accumulate) value += *to;
    *to = value;
  }
}

}  // namespace lq::cuda
