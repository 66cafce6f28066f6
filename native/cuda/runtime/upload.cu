#include <cuda_bf16.h>

#include <algorithm>

#include "runtime/element.cuh"
#include "runtime/upload.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr unsigned long long kNone = ~0ull;

__device__ inline void store(float* out, float value) { *out = value; }
__device__ inline void store(uint16_t* out, float value) { *out = __bfloat16_as_ushort(__float2bfloat16_rn(value)); }

// Grid-stride over [padded_rows, padded_cols].
template <typename T>
__global__ void __launch_bounds__(kThreads)
    convert_kernel(const void* data, Dtype dtype, int64_t rows, int64_t cols, int64_t padded_rows, int64_t padded_cols,
                   T* out, unsigned long long* first_bad) {
  const int64_t total = padded_rows * padded_cols;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < total;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t row = i / padded_cols, col = i - row * padded_cols;
    float value = 0.0f;
    if (row < rows && col < cols) {
      value = static_cast<float>(load_element(data, dtype, row * cols + col));
      if (!isfinite(value)) atomicMin(first_bad, static_cast<unsigned long long>(row * cols + col));
    }
    store(out + i, value);
  }
}

template <typename T>
DeviceBuffer<T> upload_as(const Stream& stream, const MatrixView& m, int64_t padded_rows, int64_t padded_cols) {
  const DeviceBuffer<uint8_t> raw = upload_bytes(stream, m);
  DeviceBuffer<T> out(stream, padded_rows * padded_cols);
  DeviceBuffer<unsigned long long> first_bad(stream, 1);
  first_bad.upload(&kNone, 1);
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(ceil_div(out.size(), kThreads), 1 << 16));
  convert_kernel<<<blocks, kThreads, 0, stream.get()>>>(raw.get(), m.dtype, m.rows, m.cols, padded_rows, padded_cols,
                                                        out.get(), first_bad.get());
  check_launch("converting weights");
  unsigned long long bad = kNone;
  first_bad.download(&bad, 1);
  if (bad != kNone) {
    throw Failure{make_status(StatusCode::not_finite, static_cast<int64_t>(bad), "NaN or Inf at index %llu", bad)};
  }
  return out;
}

}  // namespace

void check_matrix(const MatrixView& m) {
  if (m.rows < 1 || m.cols < 1) {
    fail(StatusCode::invalid_argument, "a matrix of %lld x %lld", static_cast<long long>(m.rows),
         static_cast<long long>(m.cols));
  }
  if (m.data == nullptr) fail(StatusCode::invalid_argument, "a matrix without data");
}

DeviceBuffer<uint8_t> upload_bytes(const Stream& stream, const MatrixView& m) {
  DeviceBuffer<uint8_t> raw(stream, m.rows * m.cols * (dtype_bits(m.dtype) / 8));
  raw.upload(static_cast<const uint8_t*>(m.data), raw.size());
  return raw;
}

DeviceBuffer<float> upload_float(const Stream& stream, const MatrixView& m, int64_t padded_rows, int64_t padded_cols) {
  return upload_as<float>(stream, m, padded_rows, padded_cols);
}

DeviceBuffer<uint16_t> upload_bf16(const Stream& stream, const MatrixView& m, int64_t padded_rows,
                                   int64_t padded_cols) {
  return upload_as<uint16_t>(stream, m, padded_rows, padded_cols);
}

DeviceBuffer<float> upload_padded(const Stream& stream, const float* source, int64_t rows, int64_t cols,
                                  int64_t padded_rows, int64_t padded_cols) {
  DeviceBuffer<float> out(stream, padded_rows * padded_cols);
  if (padded_rows != rows || padded_cols != cols) out.clear();
  check(cudaMemcpy2DAsync(out.get(), static_cast<size_t>(padded_cols) * sizeof(float), source,
                          static_cast<size_t>(cols) * sizeof(float), static_cast<size_t>(cols) * sizeof(float),
                          static_cast<size_t>(rows), cudaMemcpyHostToDevice, stream.get()),
        "copying to the device");
  return out;
}

}  // namespace lq::cuda
