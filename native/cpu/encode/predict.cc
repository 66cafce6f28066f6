#include "encode/predict.h"

#include <algorithm>
#include <cmath>

#include "encode/kernels.h"
#include "encode/tile_coder.h"
#include "threads.h"

namespace lq::cpu {
namespace {

// With fewer bits feedback moves targets out of an integer's range.
constexpr int32_t kLeastBits = 4;

// A trellis code's error is white: with the factors of H = N D N' it costs its variance times the traces of D, row by
// row (the feedback takes care of N), and the feedback's own share of the targets is coded with the rest.
EncodeCost predict_trellis(const EncodeMatrix& matrix, const EncodeOption& option) {
  const EncodeSpace& space = matrix.space(option.transform);
  const double trace = space.by_tile.empty() || option.rounding == Rounding::nearest ? static_cast<double>(matrix.cols)
                                                                                     : space.tile_trace;
  const double error = gaussian_error(option);
  double sum = 0;
  for (int64_t i = 0; i < matrix.rows; ++i) {
    const float* y = space.target.data() + i * matrix.cols;
    sum += matrix.row_weights[static_cast<size_t>(i)] * encode_kernels().dot(y, y, matrix.cols);
  }
  const double unit = static_cast<double>(matrix.multiplier) * static_cast<double>(matrix.multiplier);
  const double raised = 1 + (option.rounding == Rounding::nearest ? 0 : error * space.feedback_variance);
  return {unit * matrix.metric_scale * error * raised * sum * trace / static_cast<double>(matrix.cols), 0, false};
}

// The same of EXL3 codes: errors are alike in the rows of a block of outputs, which count by the squares of their
// scales.
EncodeCost predict_exl3(const EncodeMatrix& matrix, const EncodeOption& option) {
  const EncodeSpace& space = matrix.space(option.transform);
  const bool nearest = option.rounding == Rounding::nearest;
  const double trace = space.by_tile.empty() || nearest ? static_cast<double>(matrix.cols) : space.tile_trace;
  const double error = gaussian_error(option);
  double sum = 0;
  for (int64_t at = 0; at < matrix.rows; at += kTwoSidedBlock) {
    double root = 0;
    for (int64_t i = at; i < at + kTwoSidedBlock; ++i) {
      const float* y = space.target.data() + i * matrix.cols;
      root += std::sqrt(matrix.row_weights[static_cast<size_t>(i)] * encode_kernels().dot(y, y, matrix.cols));
    }
    sum += root * root / static_cast<double>(kTwoSidedBlock);
  }
  const double unit = static_cast<double>(matrix.multiplier) * static_cast<double>(matrix.multiplier);
  const double raised = 1 + (nearest ? 0 : error * space.feedback_variance);
  return {unit * matrix.metric_scale * error * raised * sum * trace / static_cast<double>(matrix.cols), 0, false};
}

// What a column's error costs: D of its own block with feedback, which takes care of the other columns, else H's
// diagonal.
std::vector<double> column_costs(const EncodeMatrix& matrix, const EncodeOption& option) {
  const EncodeSpace& space = matrix.space(option.transform);
  std::vector<double> costs(static_cast<size_t>(matrix.cols), 1.0);
  if (space.h.empty()) return costs;
  for (int64_t j = 0; j < matrix.cols; ++j) {
    costs[static_cast<size_t>(j)] = option.rounding == Rounding::nearest
                                        ? static_cast<double>(space.h[static_cast<size_t>(j * matrix.cols + j)])
                                        : static_cast<double>(space.column_weight[static_cast<size_t>(j)]);
  }
  return costs;
}

// The squared error of a group's nearest codes, each weighed with what its column costs.
double rounding_error(const float* y, const double* costs, int64_t n, const EncodeOption& option) {
  float low = 0, high = 0;
  for (int64_t j = 0; j < n; ++j) {
    low = std::min(low, y[j]);
    high = std::max(high, y[j]);
  }
  const float steps = static_cast<float>((1 << option.bits) - 1);
  const float step = option.symmetric ? 2 * std::max(-low, high) / steps : (high - low) / steps;
  if (!(step > 0)) return 0;
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) {
    const double e = static_cast<double>(y[j] - std::nearbyint(y[j] / step) * step);
    sum += costs[j] * e * e;
  }
  return sum;
}

// What feedback moves the targets by changes which code a weight gets, and hardly how far it is from it.
EncodeCost predict_integers(const EncodeMatrix& matrix, const EncodeOption& option) {
  const EncodeSpace& space = matrix.space(option.transform);
  const int64_t cols = matrix.cols, width = option.scales == ScaleKind::group ? option.group : cols;
  const std::vector<double> costs = column_costs(matrix, option);
  std::vector<double> parts(static_cast<size_t>(matrix.panels()));
  parallel_for(0, matrix.rows, kPanelRows, [&](int64_t b, int64_t e) {
    double sum = 0;
    for (int64_t i = b; i < e; ++i) {
      const float* y = space.target.data() + i * cols;
      double row = 0;
      for (int64_t at = 0; at < cols; at += width) {
        row += rounding_error(y + at, costs.data() + at, std::min(width, cols - at), option);
      }
      sum += matrix.row_weights[static_cast<size_t>(i)] * row;
    }
    parts[static_cast<size_t>(b / kPanelRows)] = sum;
  });
  double sum = 0;
  for (const double part : parts) sum += part;
  const double unit = static_cast<double>(matrix.multiplier) * static_cast<double>(matrix.multiplier);
  return {unit * matrix.metric_scale * sum, 0, false};
}

}  // namespace

bool is_predictable(const EncodeProblem& problem, const EncodeOption& option) {
  if (option.rank > 0 || problem.metric.kind == MetricKind::fisher || option.rounding == Rounding::descent)
    return false;
  if (option.grid == GridKind::trellis || option.grid == GridKind::exl3) return true;
  return option.grid == GridKind::integer && option.bits >= kLeastBits && option.scales != ScaleKind::two_level;
}

EncodeCost predict_cost(const EncodeMatrix& matrix, const EncodeOption& option) {
  if (option.grid == GridKind::exl3) return predict_exl3(matrix, option);
  return option.grid == GridKind::trellis ? predict_trellis(matrix, option) : predict_integers(matrix, option);
}

}  // namespace lq::cpu
