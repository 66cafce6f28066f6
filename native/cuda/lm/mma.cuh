// bf16 tensor core products, and copies to shared memory that zero what is outside.
#pragma once

#include <cuda_bf16.h>

#include "lq/mma.cuh"

namespace lq::cuda {

using Bf16 = __nv_bfloat16;

// 16 bytes from global to shared memory, or 16 zero bytes.
__device__ inline void copy_async_or_zero(uint32_t target, const void* source, bool inside) {
  const int bytes = inside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(bytes) : "memory");
}

// The same with 4 or 8 bytes, through L1.
template <int Bytes>
__device__ inline void copy_async_or_zero(uint32_t target, const void* source, bool inside) {
  const int bytes = inside ? Bytes : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(target), "l"(source), "n"(Bytes), "r"(bytes)
               : "memory");
}

// d += a b for a 16x16 row-major, b 16x8 column-major, bf16 operands, fp32 accumulation.
__device__ inline void multiply_add_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// What bf16 cannot hold of x.
__device__ inline float rest(float x) { return x - __bfloat162float(__float2bfloat16_rn(x)); }

// Stores x in `planes` planes.
template <int Planes>
__device__ inline void store_planes(Bf16* out, int64_t plane, float x) {
  const Bf16 high = __float2bfloat16_rn(x);
  *out = high;
  if constexpr (Planes == 2) out[plane] = __float2bfloat16_rn(x - __bfloat162float(high));
}

// Two neighbours at once; out is 4-byte aligned.
template <int Planes>
__device__ inline void store_planes(Bf16* out, int64_t plane, float x, float y) {
  *reinterpret_cast<uint32_t*>(out) = pack(x, y);
  if constexpr (Planes == 2) *reinterpret_cast<uint32_t*>(out + plane) = pack(rest(x), rest(y));
}

template <int Planes>
__device__ inline float load_planes(const Bf16* in, int64_t plane) {
  float x = __bfloat162float(*in);
  if constexpr (Planes == 2) x += __bfloat162float(in[plane]);
  return x;
}

// Two neighbours of an fp32 or bf16 array.
__device__ inline float2 load_pair(const float* in) { return *reinterpret_cast<const float2*>(in); }
__device__ inline float2 load_pair(const Bf16* in) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(in));
}
__device__ inline void store_pair(float* out, float x, float y) { *reinterpret_cast<float2*>(out) = {x, y}; }
__device__ inline void store_pair(Bf16* out, float x, float y) { *reinterpret_cast<uint32_t*>(out) = pack(x, y); }

// Eight neighbours of an array, which lie on 16 bytes.
struct Eight {
  float at[8];
};
__device__ inline Eight load_eight(const float* in) {
  const float4 a = reinterpret_cast<const float4*>(in)[0], b = reinterpret_cast<const float4*>(in)[1];
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}
__device__ inline Eight load_eight(const Bf16* in) {
  const uint4 raw = *reinterpret_cast<const uint4*>(in);
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
  Eight out;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(words + i));
    out.at[2 * i] = pair.x;
    out.at[2 * i + 1] = pair.y;
  }
  return out;
}
template <int Planes>
__device__ inline Eight load_planes_eight(const Bf16* in, int64_t plane) {
  Eight out = load_eight(in);
  if constexpr (Planes == 2) {
    const Eight low = load_eight(in + plane);
#pragma unroll
    for (int i = 0; i < 8; ++i) out.at[i] += low.at[i];
  }
  return out;
}
__device__ inline void store_eight(float* out, const Eight& x) {
  reinterpret_cast<float4*>(out)[0] = {x.at[0], x.at[1], x.at[2], x.at[3]};
  reinterpret_cast<float4*>(out)[1] = {x.at[4], x.at[5], x.at[6], x.at[7]};
}
template <int Planes>
__device__ inline void store_planes(Bf16* out, int64_t plane, const Eight& x) {
  const float* v = x.at;
  *reinterpret_cast<uint4*>(out) = {pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7])};
  if constexpr (Planes == 2) {
    *reinterpret_cast<uint4*>(out + plane) = {pack(rest(v[0]), rest(v[1])), pack(rest(v[2]), rest(v[3])),
                                              pack(rest(v[4]), rest(v[5])), pack(rest(v[6]), rest(v[7]))};
  }
}

}  // namespace lq::cuda
