// The arithmetic of block scales and codes, the same wherever a weight is quantised.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "lq/types.h"
#include "quant/book.h"

namespace lq::cuda {

// A group maximum as its storage type gives it back. Magnitudes beyond the type saturate at its largest finite value.
__device__ inline float cast_scale(float value, ScaleDtype type) {
  switch (type) {
    case ScaleDtype::BF16:
      return fminf(__bfloat162float(__float2bfloat16_rn(value)), 0x1.fep127f);
    case ScaleDtype::FP16:
      return __half2float(__float2half_rn(fminf(value, 65504.0f)));
    default:
      return value;
  }
}

// The roundings are spelt out so that contraction to fused multiply-adds cannot change a scale.
__device__ inline float scale_code(float excess, float group_max, float levels) {
  if (!(group_max > 0.0f)) return 0.0f;
  return fminf(fmaxf(rintf(__fdiv_rn(__fmul_rn(excess, levels), group_max)), 0.0f), levels);
}
__device__ inline float decoded_scale(float offset, float code, float group_max, float levels) {
  return __fadd_rn(offset, __fdiv_rn(__fmul_rn(code, group_max), levels));
}

// Code of x, in units of its block's decoded scale.
__device__ inline int nearest_code(const DeviceBook& book, float x) {
  int code = 0;
  for (int step = book.levels_count / 2; step > 0; step /= 2) code += x > book.thresholds[code + step - 1] ? step : 0;
  return code;
}

}  // namespace lq::cuda
