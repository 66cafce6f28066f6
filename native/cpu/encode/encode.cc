#include "encode/encode.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

#include "blas.h"
#include "encode/kernels.h"
#include "encode/low_rank.h"
#include "encode/matrix.h"
#include "encode/option.h"
#include "encode/parts.h"
#include "encode/predict.h"
#include "encode/run.h"
#include "status.h"
#include "threads.h"

namespace lq::cpu {
namespace {

Status check_finite(const EncodeCost& cost) {
  if (std::isfinite(cost.cost) && std::isfinite(cost.squared_error)) return ok();
  return error(StatusCode::unsupported, -1,
               "the error overflows double precision; scale the weights or the metric down");
}

// Alternations of low-rank part and codes; the best is kept, which is one of the first in practice.
constexpr int32_t kAlternations = 3;

Status run_panels(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& view, float* error,
                  EncodeCost* cost) {
  const std::unique_ptr<EncodeRun> run = make_run(matrix, target, view, error);
  run->begin();
  parallel_for(0, run->panels(), 1, [&](int64_t p, int64_t) { run->panel(p); });
  if (matrix.stopped()) return cancelled();
  run->finish();
  if (matrix.stopped()) return cancelled();
  *cost = run->cost();
  return check_finite(*cost);
}

// Low-rank part of what the codes leave, codes of what the low-rank part leaves. l1 and l2 may be null.
Status run_low_rank(const EncodeMatrix& matrix, const EncodedView& out, float* l1, float* l2, EncodeCost* cost) {
  const EncodeSpace& space = matrix.space(out.option.transform);
  const int64_t rows = matrix.rows, cols = matrix.cols;
  const int32_t rank = out.option.rank;
  std::vector<float> rest = space.target, target(rest.size()), target_h(space.target_h.size()), error(rest.size());
  LowRank best;
  Parts parts(out);
  // Without codes there is nothing to alternate with.
  const int32_t rounds = out.option.grid == GridKind::zero ? 1 : kAlternations;
  for (int32_t round = 0; round < rounds; ++round) {
    LowRank factors;
    const Status factored = low_rank_of(matrix, space, rest, rank, &factors);
    if (failed(factored)) return factored;
    parallel_for(0, rows, kPanelRows, [&](int64_t b, int64_t e) {
      if (matrix.stopped()) return;
      float* t = target.data() + b * cols;
      std::copy(space.target.begin() + b * cols, space.target.begin() + e * cols, t);
      sgemm(false, false, e - b, cols, rank, -1, factors.l1.data() + b * rank, rank, factors.l2.data(), cols, 1, t,
            cols);
      if (target_h.empty()) return;
      sgemm(false, false, e - b, cols, cols, 1, t, cols, space.h.data(), cols, 0, target_h.data() + b * cols, cols);
    });
    if (matrix.stopped()) return cancelled();
    EncodeCost found{};
    const Status status = run_panels(matrix, {target.data(), target_h.empty() ? nullptr : target_h.data()}, parts.view,
                                     error.data(), &found);
    if (failed(status)) return status;
    // What the codes leave of the whole: their error and the low-rank part.
    for (size_t i = 0; i < rest.size(); ++i) rest[i] = space.target[i] - target[i] + error[i];
    if (round > 0 && !(found.cost < cost->cost)) continue;
    *cost = found;
    best = std::move(factors);
    parts.copy_to(out);
  }
  if (l1 == nullptr) return ok();
  std::copy(best.l1.begin(), best.l1.end(), l1);
  for (int64_t k = 0; k < rank; ++k) {
    float* row = best.l2.data() + k * cols;
    if (space.rotation != nullptr) space.rotation->inverse(row);
    for (int64_t j = 0; j < cols; ++j) l2[k * cols + j] = row[j] * matrix.multiplier;
  }
  return ok();
}

Status run_option(const EncodeMatrix& matrix, const EncodedView& out, float* l1, float* l2, EncodeCost* cost) {
  if (out.option.rank > 0) return run_low_rank(matrix, out, l1, l2, cost);
  const EncodeSpace& space = matrix.space(out.option.transform);
  return run_panels(matrix, {space.target.data(), space.target_h.empty() ? nullptr : space.target_h.data()}, out,
                    nullptr, cost);
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
  if (out.option.grid == GridKind::gguf) return make_block_run(matrix, target, out, error);
  if (out.option.grid == GridKind::zero) return make_zero_run(matrix, target, out, error);
  if (out.option.grid == GridKind::exl3) return make_exl3_run(matrix, target, out, error);
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
  Status status = matrix.prepare(options, count, predict);
  if (failed(status)) return status;
  *norm = matrix.norm();
  for (int64_t i = 0; i < count; ++i) {
    if (predict && is_predictable(problem, options[i])) {
      out[i] = predict_cost(matrix, options[i]);
    } else {
      const EncodedView view{options[i], matrix.rows, matrix.cols, problem.seed, {}};
      status = run_option(matrix, view, nullptr, nullptr, &out[i]);
      if (failed(status)) return status;
    }
    report(control, static_cast<double>(i + 1), static_cast<double>(count));
  }
  return check_finite(*norm);
}

Status encode(const EncodeProblem& problem, EncodedView* out, float* l1, float* l2, EncodeCost* cost,
              const Control& control) {
  Status status = check_option(out->option);
  if (failed(status)) return status;
  if (out->option.rank > 0 && (l1 == nullptr || l2 == nullptr)) {
    return error(StatusCode::invalid_argument, -1, "rank %d has no room for its factors", out->option.rank);
  }
  out->seed = problem.seed;
  EncodeMatrix matrix(problem, control);
  status = matrix.prepare(&out->option, 1);
  if (failed(status)) return status;
  if (matrix.rows != out->rows || matrix.cols != out->cols) {
    return error(StatusCode::invalid_argument, -1, "the encoded matrix has another shape than the weight");
  }
  return run_option(matrix, *out, l1, l2, cost);
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
