#include <algorithm>
#include <cmath>

#include "linalg/dense.h"
#include "lq/problem.h"
#include "ops/factorize.h"
#include "runtime/upload.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;

// in [rows, cols] times row[i] col[j].
__global__ void scale_kernel(float* matrix, int64_t rows, int64_t cols, const float* row, const float* col) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < rows * cols) matrix[i] *= row[i / cols] * col[i % cols];
}

}  // namespace

void factorize(const Stream& stream, const LqProblem& problem, int32_t rank, float* l1, float* l2, const Watch& watch) {
  const MatrixView& m = problem.weight;
  check_matrix(m);
  if (rank < 1) fail(StatusCode::invalid_argument, "the rank must be at least 1, not %d", rank);
  const NormalizedScale row = normalized_scale(problem.row_scale, m.rows, "row");
  const NormalizedScale col = normalized_scale(problem.col_scale, m.cols, "column");
  const DeviceBuffer<float> matrix = upload_float(stream, m, m.rows, m.cols);
  watch.poll();
  DeviceBuffer<float> row_scale(stream, m.rows), col_scale(stream, m.cols);
  row_scale.upload(row.values.data(), m.rows);
  col_scale.upload(col.values.data(), m.cols);
  scale_kernel<<<static_cast<unsigned>(ceil_div(m.rows * m.cols, kThreads)), kThreads, 0, stream.get()>>>(
      matrix.get(), m.rows, m.cols, row_scale.get(), col_scale.get());
  check_launch("two-sided scaling");
  const LowRank low = truncated_svd(stream, {matrix.get(), m.rows, m.cols, m.cols}, rank, problem.oversampling,
                                    problem.power_iterations, problem.seed);
  std::vector<float> u(static_cast<size_t>(m.rows * low.rank)), z(static_cast<size_t>(m.cols * low.rank));
  low.u.download(u.data(), static_cast<int64_t>(u.size()));
  low.z.download(z.data(), static_cast<int64_t>(z.size()));
  std::fill_n(l1, m.rows * rank, 0.0f);
  std::fill_n(l2, rank * m.cols, 0.0f);
  // The singular values here are those of the normalised problem.
  const double balance = std::sqrt(static_cast<double>(col.largest) / row.largest);
  for (int64_t k = 0; k < low.rank; ++k) {
    const double root = std::sqrt(low.singular[static_cast<size_t>(k)]);
    if (!(root > 0.0)) continue;
    const double share = root * balance;
    for (int64_t i = 0; i < m.rows; ++i) {
      l1[i * rank + k] =
          static_cast<float>(u[static_cast<size_t>(i * low.rank + k)] * share / row.values[static_cast<size_t>(i)]);
    }
    for (int64_t j = 0; j < m.cols; ++j) {
      l2[k * m.cols + j] =
          static_cast<float>(z[static_cast<size_t>(j * low.rank + k)] / share / col.values[static_cast<size_t>(j)]);
    }
  }
}

void singular_values(const Stream& stream, const MatrixView& m, int32_t count, uint64_t seed, double* out,
                     const Watch& watch) {
  check_matrix(m);
  if (count < 1) fail(StatusCode::invalid_argument, "the number of singular values must be at least 1");
  const DeviceBuffer<float> matrix = upload_float(stream, m, m.rows, m.cols);
  const auto have = static_cast<int>(std::min<int64_t>(count, std::min(m.rows, m.cols)));
  const std::vector<double> values =
      largest_singular_values(stream, {matrix.get(), m.rows, m.cols, m.cols}, have, seed, watch);
  std::fill_n(out, count, 0.0);
  std::copy(values.begin(), values.end(), out);
}

}  // namespace lq::cuda
