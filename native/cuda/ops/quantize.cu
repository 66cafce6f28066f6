#include "linalg/dense.h"
#include "ops/quantize.h"
#include "quant/book.h"
#include "quant/pack.h"
#include "quant/scales.cuh"
#include "quant/scales.h"
#include "runtime/upload.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 16;  // threads that share a block of weights

__global__ void __launch_bounds__(kThreads)
    block_absmax_kernel(const float* x, int64_t count, int block, int64_t blocks, float* absmax) {
  const int64_t b = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kLanes;
  float largest = 0.0f;
  if (b < blocks) {
    const int64_t end = min((b + 1) * block, count);
    for (int64_t i = b * block + threadIdx.x % kLanes; i < end; i += kLanes) largest = fmaxf(largest, fabsf(x[i]));
  }
  for (int step = kLanes / 2; step > 0; step /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
  }
  if (b < blocks && threadIdx.x % kLanes == 0) absmax[b] = largest;
}

__global__ void __launch_bounds__(kThreads) codes_kernel(const float* x, const float* scales, int64_t count, int block,
                                                         const DeviceBook* source, uint8_t* codes) {
  __shared__ DeviceBook book;
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(DeviceBook) / sizeof(int)); i += kThreads) {
    reinterpret_cast<int*>(&book)[i] = reinterpret_cast<const int*>(source)[i];
  }
  __syncthreads();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const float scale = scales[i / block];
  codes[i] = static_cast<uint8_t>(nearest_code(book, scale > 0.0f ? __fdiv_rn(x[i], scale) : 0.0f));
}

__global__ void add_kernel(float* out, const float* term, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) out[i] += term[i];
}

}  // namespace

void quantize(const Stream& stream, const MatrixView& m, QuantizedView* q, const Watch& watch) {
  check_matrix(m);
  check_config(q->config, q->book);
  const int64_t count = m.rows * m.cols;
  if (q->count != count) fail(StatusCode::invalid_argument, "the packed tensor has another size");
  const DeviceBuffer<float> x = upload_float(stream, m, m.rows, m.cols);
  watch.poll();
  const QuantConfig& config = q->config;
  const int64_t blocks = block_count(config, count), groups = group_count(config, count);
  DeviceBuffer<float> scales(stream, blocks), group_maxima(stream, groups);
  DeviceBuffer<uint8_t> scale_codes(stream, blocks), codes(stream, count);
  DeviceBuffer<uint32_t> minimum(stream, 1);
  DeviceBuffer<ScaleSlot> slot(stream, 1);
  DeviceBuffer<DeviceBook> book(stream, 1);
  constexpr uint32_t kInfinity = 0x7f800000u;
  const ScaleSlot host_slot{scales.get(),
                            minimum.get(),
                            scale_codes.get(),
                            group_maxima.get(),
                            blocks,
                            config.b1,
                            config.group,
                            config.b2,
                            0,
                            1,
                            nullptr};
  const DeviceBook host_book = make_device_book(*q->book);
  minimum.upload(&kInfinity, 1);
  slot.upload(&host_slot, 1);
  book.upload(&host_book, 1);
  const auto absmax_grid = static_cast<unsigned>(ceil_div(blocks * kLanes, kThreads));
  block_absmax_kernel<<<absmax_grid, kThreads, 0, stream.get()>>>(x.get(), count, config.block, blocks, scales.get());
  check_launch("block absmax");
  LiveSlots live{};
  live.count = 1;
  launch_scales(stream, slot.get(), live, blocks, groups, true);
  codes_kernel<<<static_cast<unsigned>(ceil_div(count, kThreads)), kThreads, 0, stream.get()>>>(
      x.get(), scales.get(), count, config.block, book.get(), codes.get());
  check_launch("codes");
  pack_quantized(stream, codes.get(), scale_codes.get(), group_maxima.get(), minimum.get(), q);
}

void dequantize(const Stream& stream, const QuantizedView& q, float* out, const Watch& watch) {
  watch.poll();
  DeviceBuffer<float> weights(stream, q.count);
  unpack_quantized(stream, q, weights.get());
  weights.download(out, q.count);
}

void reconstruct(const Stream& stream, const QuantizedView& q, const float* l1, const float* l2, int64_t rows,
                 int64_t cols, int32_t rank, float* out, const Watch& watch) {
  if (rows * cols != q.count) fail(StatusCode::invalid_argument, "the packed tensor has another size");
  if (rank > 0 && (l1 == nullptr || l2 == nullptr)) {
    fail(StatusCode::invalid_argument, "rank %d without factors", rank);
  }
  watch.poll();
  DeviceBuffer<float> weights(stream, q.count);
  unpack_quantized(stream, q, weights.get());
  if (rank > 0) {
    DeviceBuffer<float> left(stream, rows * rank), right(stream, rank * cols), product(stream, rows * cols);
    left.upload(l1, left.size());
    right.upload(l2, right.size());
    multiply(stream, {left.get(), rows, rank, rank}, {right.get(), rank, cols, cols}, product.get());
    add_kernel<<<static_cast<unsigned>(ceil_div(q.count, kThreads)), kThreads, 0, stream.get()>>>(
        weights.get(), product.get(), q.count);
    check_launch("adding the low-rank part");
  }
  weights.download(out, q.count);
}

}  // namespace lq::cuda
