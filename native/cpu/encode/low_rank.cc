#include "encode/low_rank.h"

#include <algorithm>
#include <cmath>

#include "blas.h"
#include "lq.h"
#include "status.h"
#include "threads.h"

namespace lq::cpu {
namespace {

constexpr int32_t kOversampling = 10, kPowerIterations = 2;  // LQ-LoRA's
// Square roots of weights, none below this share of the largest: a factor divided by one stays finite.
constexpr double kLeast = 1e-3;

std::vector<double> roots(std::vector<double> weights) {
  double largest = 0;
  for (double& w : weights) largest = std::max(largest, w = std::sqrt(w));
  if (largest == 0) return std::vector<double>(weights.size(), 1.0);
  for (double& w : weights) w = std::max(w, kLeast * largest) / largest;
  return weights;
}

}  // namespace

Status low_rank_of(const EncodeMatrix& matrix, const EncodeSpace& space, const std::vector<float>& e, int32_t rank,
                   LowRank* out) {
  const int64_t rows = matrix.rows, cols = matrix.cols;
  if (rank > std::min(rows, cols)) {
    return error(StatusCode::invalid_argument, -1, "rank %d is more than the matrix has rows or columns", rank);
  }
  const float* fisher = matrix.problem.metric.kind == MetricKind::fisher ? matrix.problem.metric.fisher : nullptr;
  std::vector<double> by_row = matrix.row_weights, by_column(static_cast<size_t>(cols), fisher != nullptr ? 0.0 : 1.0);
  for (int64_t i = 0; fisher != nullptr && i < rows; ++i) {
    by_row[static_cast<size_t>(i)] = 0;
    for (int64_t j = 0; j < cols; ++j) {
      by_row[static_cast<size_t>(i)] += static_cast<double>(fisher[i * cols + j]);
      by_column[static_cast<size_t>(j)] += static_cast<double>(fisher[i * cols + j]);
    }
  }
  by_row = roots(std::move(by_row));
  by_column = roots(std::move(by_column));

  std::vector<float> weighted(e.size());
  parallel_for(0, rows, kPanelRows, [&](int64_t b, int64_t end) {
    if (matrix.stopped()) return;
    float* m = weighted.data() + b * cols;
    if (space.factor.empty()) {
      std::copy(e.begin() + b * cols, e.begin() + end * cols, m);
    } else {
      sgemm(false, false, end - b, cols, cols, 1, e.data() + b * cols, cols, space.factor.data(), cols, 0, m, cols);
    }
    for (int64_t i = b; i < end; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        const double column = space.factor.empty() ? by_column[static_cast<size_t>(j)] : 1.0;
        m[(i - b) * cols + j] *= static_cast<float>(by_row[static_cast<size_t>(i)] * column);
      }
    }
  });
  if (matrix.stopped()) return cancelled();
  LqProblem problem{};
  problem.weight = {weighted.data(), Dtype::F32, rows, cols};
  problem.max_iterations = problem.patience = 1;
  problem.oversampling = kOversampling;
  problem.power_iterations = kPowerIterations;
  problem.seed = matrix.problem.seed;
  Factors factors;
  const Status status = factorize_rows(FloatRows(problem.weight), problem, rank, &factors, matrix.control);
  if (failed(status)) return status;
  out->l1 = std::move(factors.l1);
  out->l2 = std::move(factors.l2);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t k = 0; k < rank; ++k) {
      out->l1[static_cast<size_t>(i * rank + k)] /= static_cast<float>(by_row[static_cast<size_t>(i)]);
    }
  }
  if (space.factor.empty()) {
    for (int64_t k = 0; k < rank; ++k) {
      for (int64_t j = 0; j < cols; ++j) {
        out->l2[static_cast<size_t>(k * cols + j)] /= static_cast<float>(by_column[static_cast<size_t>(j)]);
      }
    }
    return ok();
  }
  const std::vector<double> r(space.factor.begin(), space.factor.end());
  std::vector<double> l2(out->l2.begin(), out->l2.end());
  solve_upper(rank, cols, r.data(), cols, l2.data(), cols);
  std::copy(l2.begin(), l2.end(), out->l2.begin());
  return ok();
}

}  // namespace lq::cpu
