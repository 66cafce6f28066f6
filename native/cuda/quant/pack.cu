#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "quant/book.h"
#include "quant/pack.h"
#include "quant/scales.cuh"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;

unsigned blocks_for(int64_t count) { return static_cast<unsigned>(ceil_div(count, kThreads)); }

// One packed byte a thread.
__global__ void pack_kernel(const uint8_t* fields, int64_t count, int bits, int64_t bytes, uint8_t* out) {
  const int64_t byte = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (byte >= bytes) return;
  const int64_t first_bit = byte * 8;
  uint32_t value = 0;
  for (int64_t i = first_bit / bits; i < count && i * bits < first_bit + 8; ++i) {
    const auto shift = static_cast<int>(i * bits - first_bit);
    const uint32_t field = fields[i];
    value |= shift >= 0 ? field << shift : field >> -shift;
  }
  out[byte] = static_cast<uint8_t>(value);
}

__device__ inline uint32_t field_at(const uint8_t* packed, int64_t i, int bits) {
  const int64_t bit = i * bits;
  const int64_t byte = bit / 8;
  const auto shift = static_cast<int>(bit % 8);
  uint32_t value = packed[byte];
  if (shift + bits > 8) value |= static_cast<uint32_t>(packed[byte + 1]) << 8;
  return (value >> shift) & ((1u << bits) - 1u);
}

__global__ void store_groups_kernel(const float* in, int64_t count, ScaleDtype type, uint8_t* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  switch (type) {
    case ScaleDtype::BF16:
      reinterpret_cast<__nv_bfloat16*>(out)[i] = __float2bfloat16_rn(in[i]);
      break;
    case ScaleDtype::FP16:
      reinterpret_cast<__half*>(out)[i] = __float2half_rn(in[i]);
      break;
    case ScaleDtype::FP32:
      reinterpret_cast<float*>(out)[i] = in[i];
      break;
  }
}

__device__ inline float group_at(const uint8_t* groups, int64_t i, ScaleDtype type) {
  switch (type) {
    case ScaleDtype::BF16:
      return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(groups)[i]);
    case ScaleDtype::FP16:
      return __half2float(reinterpret_cast<const __half*>(groups)[i]);
    default:
      return reinterpret_cast<const float*>(groups)[i];
  }
}

__global__ void dequantize_kernel(const uint8_t* codes, const uint8_t* scales, const uint8_t* groups,
                                  QuantConfig config, const DeviceBook* book, float offset, int64_t count, float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t block = i / config.block;
  const float levels = static_cast<float>((1 << config.b1) - 1);
  const auto code = static_cast<float>(field_at(scales, block, config.b1));
  const float scale = decoded_scale(offset, code, group_at(groups, block / config.group, config.b2), levels);
  out[i] = __fmul_rn(scale, book->levels[field_at(codes, i, config.b0)]);
}

}  // namespace

void pack_fields(const Stream& stream, const uint8_t* fields, int64_t count, int32_t bits, uint8_t* packed) {
  const int64_t bytes = (count * bits + 7) / 8;
  pack_kernel<<<blocks_for(bytes), kThreads, 0, stream.get()>>>(fields, count, bits, bytes, packed);
  check_launch("packing fields");
}

void store_group_maxima(const Stream& stream, const float* maxima, int64_t count, ScaleDtype type, uint8_t* host) {
  DeviceBuffer<uint8_t> packed(stream, count * (type == ScaleDtype::FP32 ? 4 : 2));
  store_groups_kernel<<<blocks_for(count), kThreads, 0, stream.get()>>>(maxima, count, type, packed.get());
  check_launch("packing group maxima");
  packed.download(host, packed.size());
}

void pack_quantized(const Stream& stream, const uint8_t* codes, const uint8_t* scale_codes, const float* group_maxima,
                    const uint32_t* minimum, QuantizedView* q) {
  const QuantConfig& config = q->config;
  const int64_t blocks = block_count(config, q->count), groups = group_count(config, q->count);
  DeviceBuffer<uint8_t> packed_codes(stream, code_bytes(config, q->count));
  DeviceBuffer<uint8_t> packed_scales(stream, scale_bytes(config, q->count));
  pack_fields(stream, codes, q->count, config.b0, packed_codes.get());
  pack_fields(stream, scale_codes, blocks, config.b1, packed_scales.get());
  store_group_maxima(stream, group_maxima, groups, config.b2, q->groups);
  packed_codes.download(q->codes, packed_codes.size());
  packed_scales.download(q->scales, packed_scales.size());
  check(cudaMemcpyAsync(&q->offset, minimum, sizeof q->offset, cudaMemcpyDeviceToHost, stream.get()),
        "copying from the device");
  stream.synchronize();
}

void unpack_quantized(const Stream& stream, const QuantizedView& q, float* out) {
  check_config(q.config, q.book);
  const DeviceBook host_book = make_device_book(*q.book);
  DeviceBuffer<DeviceBook> book(stream, 1);
  book.upload(&host_book, 1);
  DeviceBuffer<uint8_t> codes(stream, code_bytes(q.config, q.count));
  DeviceBuffer<uint8_t> scales(stream, scale_bytes(q.config, q.count));
  DeviceBuffer<uint8_t> groups(stream, group_bytes(q.config, q.count));
  codes.upload(q.codes, codes.size());
  scales.upload(q.scales, scales.size());
  groups.upload(q.groups, groups.size());
  dequantize_kernel<<<blocks_for(q.count), kThreads, 0, stream.get()>>>(codes.get(), scales.get(), groups.get(),
                                                                        q.config, book.get(), q.offset, q.count, out);
  check_launch("dequantising");
  stream.synchronize();
}

}  // namespace lq::cuda
