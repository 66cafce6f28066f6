#include <cuda_bf16.h>

#include <algorithm>
#include <cmath>

#include "lq/problem.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;

__device__ inline float weight_at(const void* weight, bool bf16, int64_t i) {
  return bf16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(weight)[i]) : static_cast<const float*>(weight)[i];
}

// One block a row: D_row W D_col into `scaled` (when given), and the row's absmax and sum of squares.
__global__ void __launch_bounds__(kThreads)
    scaled_rows_kernel(const void* weight, bool bf16, int64_t cols, int64_t stride, const float* row_scale,
                       const float* col_scale, float* scaled, float* absmax, double* squares) {
  __shared__ float largest[kThreads];
  __shared__ double sums[kThreads];
  const int64_t row = blockIdx.x;
  const float of_row = row_scale != nullptr ? row_scale[row] : 1.0f;
  float most = 0.0f;
  double sum = 0.0;
  for (int64_t col = threadIdx.x; col < cols; col += kThreads) {
    float value = weight_at(weight, bf16, row * stride + col) * of_row;
    if (col_scale != nullptr) value *= col_scale[col];
    if (scaled != nullptr) scaled[row * cols + col] = value;
    most = fmaxf(most, fabsf(value));
    sum += static_cast<double>(value) * value;
  }
  largest[threadIdx.x] = most;
  sums[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) {
      largest[threadIdx.x] = fmaxf(largest[threadIdx.x], largest[threadIdx.x + half]);
      sums[threadIdx.x] += sums[threadIdx.x + half];
    }
  }
  if (threadIdx.x == 0) {
    absmax[row] = largest[0];
    squares[row] = sums[0];
  }
}

// out [padded_rows, padded_rank] = scale * in [rows, rank], zero in the padding.
__global__ void __launch_bounds__(kThreads)
    store_factor_kernel(const float* in, int64_t rows, int rank, int64_t padded_rows, int padded_rank, float scale,
                        __half* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= padded_rows * padded_rank) return;
  const int64_t row = i / padded_rank;
  const int col = static_cast<int>(i - row * padded_rank);
  out[i] = __float2half_rn(row < rows && col < rank ? in[row * rank + col] * scale : 0.0f);
}

bool bf16_holds(Dtype dtype) { return dtype == Dtype::BF16 || dtype == Dtype::F8_E4M3 || dtype == Dtype::F8_E5M2; }

// The largest power of two that keeps `value` at or under 2^exponent; 1 for 0.
float power_of_two_under(double value, int exponent) {
  if (!(value > 0.0)) return 1.0f;
  int of_value = 0;
  std::frexp(value, &of_value);
  return static_cast<float>(std::ldexp(1.0, std::clamp(exponent - of_value, -100, 100)));
}

DeviceBuffer<float> upload_vector(const Stream& stream, const std::vector<float>& values, int64_t padded) {
  return upload_padded(stream, values.data(), 1, static_cast<int64_t>(values.size()), 1, padded);
}

}  // namespace

NormalizedScale normalized_scale(const float* scale, int64_t count, const char* name) {
  NormalizedScale out{std::vector<float>(static_cast<size_t>(count), 1.0f), 1.0f};
  if (scale == nullptr) return out;
  out.largest = 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    if (!(scale[i] > 0.0f) || !std::isfinite(scale[i])) {
      fail(StatusCode::invalid_argument, "%s scale %lld is not positive", name, static_cast<long long>(i));
    }
    out.largest = std::max(out.largest, scale[i]);
  }
  for (int64_t i = 0; i < count; ++i) out.values[i] = scale[i] / out.largest;
  return out;
}

DeviceProblem::DeviceProblem(const Stream& stream, const LqProblem& problem)
    : stream_(stream),
      rows_(problem.weight.rows),
      cols_(problem.weight.cols),
      padded_rows_(round_up(problem.weight.rows, kTile)),
      padded_cols_(round_up(problem.weight.cols, kTile)),
      bf16_(bf16_holds(problem.weight.dtype)) {
  check_matrix(problem.weight);
  if (rows_ > INT32_MAX / 2 || cols_ > INT32_MAX / 2) fail(StatusCode::unsupported, "a side of over 2^30");
  if (bf16_) {
    weight_bf16_ = upload_bf16(stream, problem.weight, padded_rows_, padded_cols_);
  } else {
    weight_ = upload_float(stream, problem.weight, padded_rows_, padded_cols_);
  }
  if (problem.fisher != nullptr) {
    fisher_ = upload_padded(stream, problem.fisher, rows_, cols_, padded_rows_, padded_cols_);
  }
  if (problem.row_scale != nullptr || problem.col_scale != nullptr) {
    const NormalizedScale row = normalized_scale(problem.row_scale, rows_, "row");
    const NormalizedScale col = normalized_scale(problem.col_scale, cols_, "column");
    balance_ = std::sqrt(col.largest / row.largest);
    for (const float value : row.values) host_row_inverse_.push_back(1.0f / value);
    for (const float value : col.values) host_col_inverse_.push_back(1.0f / value);
    row_scale_ = upload_vector(stream, row.values, padded_rows_);
    col_scale_ = upload_vector(stream, col.values, padded_cols_);
    row_inverse_ = upload_vector(stream, host_row_inverse_, padded_rows_);
    col_inverse_ = upload_vector(stream, host_col_inverse_, padded_cols_);
  }
  DeviceBuffer<float> absmax(stream, rows_);
  DeviceBuffer<double> squares(stream, rows_);
  const void* const weight = bf16_ ? static_cast<const void*>(weight_bf16_.get()) : weight_.get();
  scaled_rows_kernel<<<static_cast<unsigned>(rows_), kThreads, 0, stream.get()>>>(
      weight, bf16_, cols_, padded_cols_, row_scale_.get(), col_scale_.get(), nullptr, absmax.get(), squares.get());
  check_launch("norm of the weights");
  std::vector<float> row_absmax(static_cast<size_t>(rows_));
  std::vector<double> row_squares(static_cast<size_t>(rows_));
  absmax.download(row_absmax.data(), rows_);
  squares.download(row_squares.data(), rows_);
  double square = 0.0;
  for (const double row : row_squares) square += row;
  // fp16 ends at 2^16: the residual may grow to 16 times the largest weight, the second factor to 4 times the norm.
  residual_scale_ = power_of_two_under(*std::max_element(row_absmax.begin(), row_absmax.end()), 12);
  z_scale_ = power_of_two_under(std::sqrt(square), 14);
}

void DeviceProblem::describe(Workspace* ws) const {
  ws->rows = static_cast<int32_t>(rows_);
  ws->cols = static_cast<int32_t>(cols_);
  ws->padded_rows = static_cast<int32_t>(padded_rows_);
  ws->padded_cols = static_cast<int32_t>(padded_cols_);
  ws->weight = bf16_ ? static_cast<const void*>(weight_bf16_.get()) : weight_.get();
  ws->weight_is_bf16 = bf16_ ? 1 : 0;
  ws->fisher = fisher_.get();
  ws->row_scale = row_scale_.get();
  ws->col_scale = col_scale_.get();
  ws->row_inverse = row_inverse_.get();
  ws->col_inverse = col_inverse_.get();
  ws->residual_scale = residual_scale_;
  ws->product_scale = 1.0f / kFactorScale / z_scale_;
  ws->z_store_scale = z_scale_ / residual_scale_ / kFactorScale;
}

DeviceProblem::Factors DeviceProblem::factorize(const LqProblem& problem, int rank, int padded_rank) const {
  DeviceBuffer<float> scaled(stream_, rows_ * cols_);
  DeviceBuffer<float> absmax(stream_, rows_);
  DeviceBuffer<double> squares(stream_, rows_);
  const void* const weight = bf16_ ? static_cast<const void*>(weight_bf16_.get()) : weight_.get();
  scaled_rows_kernel<<<static_cast<unsigned>(rows_), kThreads, 0, stream_.get()>>>(
      weight, bf16_, cols_, padded_cols_, row_scale_.get(), col_scale_.get(), scaled.get(), absmax.get(),
      squares.get());
  check_launch("scaled weights");
  const LowRank low = truncated_svd(stream_, {scaled.get(), rows_, cols_, cols_}, rank, problem.oversampling,
                                    problem.power_iterations, problem.seed);
  Factors out;
  out.rank = low.rank;
  out.u = DeviceBuffer<__half>(stream_, padded_rows_ * padded_rank);
  out.z = DeviceBuffer<__half>(stream_, padded_cols_ * padded_rank);
  const auto store = [&](const DeviceBuffer<float>& in, int64_t rows, int64_t padded_rows, float scale,
                         __half* target) {
    store_factor_kernel<<<static_cast<unsigned>(ceil_div(padded_rows * padded_rank, kThreads)), kThreads, 0,
                          stream_.get()>>>(in.get(), rows, low.rank, padded_rows, padded_rank, scale, target);
    check_launch("first factors");
  };
  store(low.u, rows_, padded_rows_, kFactorScale, out.u.get());
  store(low.z, cols_, padded_cols_, z_scale_, out.z.get());
  return out;
}

}  // namespace lq::cuda
