// Reading one element of a stored type.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "lq/types.h"

namespace lq::cuda {

// Element `i` of `data`. fp64 holds every type but 64-bit integers exactly.
__device__ inline double load_element(const void* data, Dtype dtype, int64_t i) {
  switch (dtype) {
    case Dtype::F64:
      return static_cast<const double*>(data)[i];
    case Dtype::F32:
      return static_cast<const float*>(data)[i];
    case Dtype::F16:
      return __half2float(static_cast<const __half*>(data)[i]);
    case Dtype::BF16:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
    case Dtype::F8_E4M3:
      return __half2float(__half(__nv_cvt_fp8_to_halfraw(static_cast<const __nv_fp8_storage_t*>(data)[i], __NV_E4M3)));
    case Dtype::F8_E5M2:
      return __half2float(__half(__nv_cvt_fp8_to_halfraw(static_cast<const __nv_fp8_storage_t*>(data)[i], __NV_E5M2)));
    case Dtype::I64:
      return static_cast<double>(static_cast<const int64_t*>(data)[i]);
    case Dtype::I32:
      return static_cast<const int32_t*>(data)[i];
    case Dtype::I16:
      return static_cast<const int16_t*>(data)[i];
    case Dtype::I8:
      return static_cast<const int8_t*>(data)[i];
    case Dtype::U64:
      return static_cast<double>(static_cast<const uint64_t*>(data)[i]);
    case Dtype::U32:
      return static_cast<const uint32_t*>(data)[i];
    case Dtype::U16:
      return static_cast<const uint16_t*>(data)[i];
    case Dtype::U8:
      return static_cast<const uint8_t*>(data)[i];
    case Dtype::BOOL:
      return static_cast<const uint8_t*>(data)[i] != 0 ? 1.0 : 0.0;
  }
  return 0.0;
}

}  // namespace lq::cuda
