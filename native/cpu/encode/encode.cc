#include "encode/encode.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

#include "blas.h"
#include "encode/kernels.h"
#include "encode/matrix.h"
#include "encode/option.h"
#include "encode/run.h"
#include "encode/tile_coder.h"
#include "status.h"
#include "threads.h"

namespace lq::cpu {
namespace {

Status check_finite(const EncodeCost& cost) {
  if (std::isfinite(cost.cost) && std::isfinite(cost.squared_error)) return ok();
  return error(StatusCode::unsupported, -1,
               "the error overflows double precision; scale the weights or the metric down");
}

EncodeTarget target_of(const EncodeSpace& space) {
  return {space.target.data(), space.target_h.empty() ? nullptr : space.target_h.data()};
}

// A trellis code's error is white: with the factors of H = N D N' it costs its variance times the traces of D, row by
// row (the feedback takes care of N).
EncodeCost predict_trellis(const EncodeMatrix& matrix, const EncodeOption& option) {
  const EncodeSpace& space = matrix.space(option.transform);
  const double trace = space.by_tile.empty() || option.rounding == Rounding::nearest ? static_cast<double>(matrix.cols)
                                                                                     : space.tile_trace;
  double sum = 0;
  for (int64_t i = 0; i < matrix.rows; ++i) {
    const float* y = space.target.data() + i * matrix.cols;
    sum += matrix.row_weights[static_cast<size_t>(i)] * encode_kernels().dot(y, y, matrix.cols);
  }
  const double unit = static_cast<double>(matrix.multiplier) * static_cast<double>(matrix.multiplier);
  return {unit * matrix.metric_scale * gaussian_error(option) * sum * trace / static_cast<double>(matrix.cols), 0,
          false};
}

bool is_predictable(const EncodeProblem& problem, const EncodeOption& option) {
  return option.grid == GridKind::trellis && option.rank == 0 && problem.metric.kind != MetricKind::fisher;
}

}  // namespace

EncodeCost EncodeRun::cost() const {
  EncodeCost total{0, 0, true};
  for (const EncodeCost& part : costs_) {
    total.cost += part.cost;
    total.squared_error += part.squared_error;
  }
  return total;
}

std::unique_ptr<EncodeRun> make_run(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& out,
                                    float* error) {
  return out.option.grid == GridKind::trellis ? make_trellis_run(matrix, target, out, error)
                                              : make_scalar_run(matrix, target, out, error);
}

Status encode_costs(const EncodeProblem& problem, const EncodeOption* options, int64_t count, bool predict,
                    EncodeCost* out, EncodeCost* norm, const Control& control) {
  for (int64_t i = 0; i < count; ++i) {
    const Status status = check_option(options[i]);
    if (failed(status)) return status;
  }
  EncodeMatrix matrix(problem, control);
  Status status = matrix.prepare(options, count);
  if (failed(status)) return status;
  *norm = matrix.norm();
  for (int64_t i = 0; i < count; ++i) {
    if (predict && is_predictable(problem, options[i])) {
      out[i] = predict_trellis(matrix, options[i]);
    } else {
      const EncodedView view{options[i], matrix.rows, matrix.cols, problem.seed, {}};
      const std::unique_ptr<EncodeRun> run =
          make_run(matrix, target_of(matrix.space(options[i].transform)), view, nullptr);
      run->begin();
      parallel_for(0, matrix.panels(), 1, [&](int64_t p, int64_t) { run->panel(p); });
      if (matrix.stopped()) return cancelled();
      out[i] = run->cost();
    }
    status = check_finite(out[i]);
    if (failed(status)) return status;
    report(control, static_cast<double>(i + 1), static_cast<double>(count));
  }
  return check_finite(*norm);
}

Status encode(const EncodeProblem& problem, EncodedView* out, float*, float*, EncodeCost* cost,
              const Control& control) {
  Status status = check_option(out->option);
  if (failed(status)) return status;
  out->seed = problem.seed;
  EncodeMatrix matrix(problem, control);
  status = matrix.prepare(&out->option, 1);
  if (failed(status)) return status;
  if (matrix.rows != out->rows || matrix.cols != out->cols) {
    return error(StatusCode::invalid_argument, -1, "the encoded matrix has another shape than the weight");
  }
  const std::unique_ptr<EncodeRun> run =
      make_run(matrix, target_of(matrix.space(out->option.transform)), *out, nullptr);
  run->begin();
  parallel_for(0, matrix.panels(), 1, [&](int64_t p, int64_t) { run->panel(p); });
  if (matrix.stopped()) return cancelled();
  run->finish();
  *cost = run->cost();
  return check_finite(*cost);
}

Status encoded_cost(const EncodeProblem& problem, const EncodedView& e, const float* l1, const float* l2,
                    EncodeCost* cost, const Control& control) {
  EncodeOption plain{};  // the weight's own coordinates, without the factors that feedback needs
  plain.grid = GridKind::nf;
  EncodeMatrix matrix(problem, control);
  Status status = matrix.prepare(&plain, 1);
  if (failed(status)) return status;
  if (matrix.rows != e.rows || matrix.cols != e.cols) {
    return error(StatusCode::invalid_argument, -1, "the encoded matrix has another shape than the weight");
  }
  std::vector<float> weight(matrix.target.size());
  status = decode(e, l1, l2, weight.data(), control);
  if (failed(status)) return status;
  const EncodeSpace& space = matrix.space(Transform::none);
  std::vector<EncodeCost> parts(static_cast<size_t>(matrix.panels()), EncodeCost{0, 0, true});
  parallel_for(0, matrix.rows, kPanelRows, [&](int64_t b, int64_t end) {
    if (matrix.stopped()) return;
    const int64_t cols = matrix.cols;
    float* x = weight.data() + b * cols;
    for (int64_t i = 0; i < (end - b) * cols; ++i) {
      x[i] = matrix.target[static_cast<size_t>(b * cols + i)] - x[i] / matrix.multiplier;
    }
    std::vector<float> eh;
    if (!space.h.empty()) {
      eh.resize(static_cast<size_t>((end - b) * cols));
      sgemm(false, false, end - b, cols, cols, 1, x, cols, space.h.data(), cols, 0, eh.data(), cols);
    }
    matrix.add_cost(space, b, end - b, x, eh.data(), &parts[static_cast<size_t>(b / kPanelRows)]);
  });
  if (matrix.stopped()) return cancelled();
  *cost = {0, 0, true};
  for (const EncodeCost& part : parts) {
    cost->cost += part.cost;
    cost->squared_error += part.squared_error;
  }
  return check_finite(*cost);
}

}  // namespace lq::cpu
