#include "lm/residual.h"
#include "lm/rows.cuh"

namespace lq::cuda {
namespace {

__global__ void __launch_bounds__(kRowThreads)
    embed_kernel(const Bf16* table, int64_t plane, int planes, const int32_t* tokens, int64_t hidden, float scale,
                 float* x) {
  const Bf16* from = table + tokens[blockIdx.x] * hidden;
  float* to = x + blockIdx.x * hidden;
  for (int64_t i = threadIdx.x; i < hidden; i += kRowThreads) {
    to[i] = scale * (__bfloat162float(from[i]) + (planes == 2 ? __bfloat162float(from[plane + i]) : 0.0f));
  }
}

__global__ void __launch_bounds__(kRowThreads)
    add_rows_kernel(const float* table, const int32_t* places, int64_t width, float* x) {
  const float* from = table + places[blockIdx.x] * width;
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads) x[blockIdx.x * width + i] += from[i];
}

__global__ void __launch_bounds__(kRowThreads) add_bias_kernel(const float* bias, int64_t width, float* x) {
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads) x[blockIdx.x * width + i] += bias[i];
}

template <int P>
__global__ void __launch_bounds__(kRowThreads)
    split_kernel(const float* x, int64_t count, float scale, Bf16* out, int64_t plane) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x) * 2;
  if (i >= count) return;
  const float2 v = load_pair(x + i);
  store_planes<P>(out + i, plane, scale * v.x, scale * v.y);
}

}  // namespace

void embed(const Stream& stream, const Operand& table, const int32_t* tokens, int64_t rows, int64_t hidden, float scale,
           float* x) {
  embed_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(
      reinterpret_cast<const Bf16*>(table.data), table.plane, table.planes, tokens, hidden, scale, x);
  check_launch("embedding");
}

void add_rows(const Stream& stream, const float* table, const int32_t* places, int64_t rows, int64_t width, float* x) {
  add_rows_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(table, places, width, x);
  check_launch("adding rows");
}

void add_bias(const Stream& stream, const float* bias, int64_t rows, int64_t width, float* x) {
  add_bias_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(bias, width, x);
  check_launch("bias");
}

void split(const Stream& stream, const float* x, int64_t count, float scale, const Planes& out) {
  const auto kernel = out.count == 2 ? split_kernel<2> : split_kernel<1>;
  kernel<<<blocks_for(count, kRowThreads * 2), kRowThreads, 0, stream.get()>>>(x, count, scale, bf16(out.data),
                                                                               out.plane);
  check_launch("conversion");
}

}  // namespace lq::cuda
