#include "encode/encode.h"

#include "encode/rows.h"
#include "encode/runs.h"
#include "runtime/upload.h"

namespace lq::cuda {
namespace {

bool trellis_here(const EncodeOption& o) {
  return o.scales == ScaleKind::row && !o.tail_biting && o.rounding != Rounding::descent &&
         (o.step == 1 || o.step == 2) && o.bits >= o.step && o.bits <= 6 * o.step && o.states >= 10 && o.states <= 12 &&
         o.states - (o.bits + o.step - 1) / o.step >= 6;
}

bool scalar_here(const EncodeOption& o) {
  const bool fitted = o.grid == GridKind::fitted;
  const bool known = o.scales == ScaleKind::two_level || o.scales == ScaleKind::group || o.scales == ScaleKind::row;
  if (o.grid == GridKind::gguf || o.transform == Transform::scaled || !known || o.rounding == Rounding::descent) {
    return false;
  }
  if (o.bits < 2 || o.bits > (fitted || o.grid == GridKind::fp4 ? 4 : 8)) return false;
  if (o.grid == GridKind::fp4 && o.bits != 4) return false;
  if (o.grid == GridKind::nf && (o.book == nullptr || o.book->bits != o.bits)) return false;
  if (o.scales == ScaleKind::group) return o.group > 0;
  return o.scales == ScaleKind::row || o.grid != GridKind::integer || o.symmetric;
}

Wanted wanted_by(const EncodeOption& o) {
  const bool feedback = o.rounding != Rounding::nearest, trellis = o.grid == GridKind::trellis;
  return {true, feedback && trellis, feedback && !trellis};
}

EncodeCost run(const Problem& problem, const EncodeOption& option, const EncodedView* out) {
  return option.grid == GridKind::trellis ? run_trellis(problem, option, out) : run_scalar(problem, option, out);
}

// Device memory of a call: the matrix eight times over, the second moment in both precisions and its factors. A
// correction is done with before the rest begins: the matrix in both precisions, and three squares in fp64.
int64_t need(const EncodeProblem& problem) {
  const int64_t n = problem.weight.rows * problem.weight.cols, square = problem.weight.cols * problem.weight.cols;
  return 8 * 4 * n + (problem.metric.kind == MetricKind::kfac ? 40 * square : 0) + (64 << 20);
}

}  // namespace

bool encodes(const EncodeProblem& problem, const EncodeOption& o) {
  if (problem.metric.kind == MetricKind::fisher || o.rank != 0) return false;
  if (problem.cross != nullptr && problem.metric.kind != MetricKind::kfac) return false;
  return o.grid == GridKind::trellis ? trellis_here(o) : scalar_here(o);
}

void encode_costs(const Stream& stream, MemoryBudget& budget, const EncodeProblem& problem, const EncodeOption* options,
                  int64_t count, bool predict, EncodeCost* out, EncodeCost* norm, const Watch& watch) {
  check_matrix(problem.weight);
  for (int64_t i = 0; i < count; ++i) {
    if (!encodes(problem, options[i])) fail(StatusCode::unsupported, "this device does not encode this option");
  }
  const int64_t bytes = need(problem);
  const MemoryBudget::Share memory = budget.take(bytes, bytes, watch);
  Problem p(stream, problem, watch);
  for (const Transform transform : {Transform::none, Transform::hadamard}) {
    Wanted wanted;
    for (int64_t i = 0; i < count; ++i) {
      if (options[i].transform != transform) continue;
      const Wanted one = wanted_by(options[i]);
      wanted = {true, wanted.by_tile || one.by_tile, wanted.by_column || one.by_column};
    }
    if (wanted.space) p.prepare(transform, wanted);
  }
  if (count == 0) p.prepare(Transform::none, {});
  *norm = p.norm();
  for (int64_t i = 0; i < count; ++i) {
    if (predict && options[i].grid == GridKind::trellis) {
      const Space& space = p.space(options[i].transform);
      DeviceBuffer<double> dots(stream, p.rows);
      row_dots(stream, space.y.get(), space.y.get(), p.rows, p.cols, dots.get());
      out[i] = predict_trellis(p, options[i], p.weighted_sum(dots));
    } else {
      out[i] = run(p, options[i], nullptr);
    }
    watch.progress(static_cast<double>(i + 1), static_cast<double>(count));
  }
}

void encode(const Stream& stream, MemoryBudget& budget, const EncodeProblem& problem, EncodedView* out,
            EncodeCost* cost, const Watch& watch) {
  check_matrix(problem.weight);
  if (!encodes(problem, out->option)) fail(StatusCode::unsupported, "this device does not encode this option");
  if (problem.weight.rows != out->rows || problem.weight.cols != out->cols) {
    fail(StatusCode::invalid_argument, "the encoded matrix has another shape than the weight");
  }
  out->seed = problem.seed;
  const int64_t bytes = need(problem);
  const MemoryBudget::Share memory = budget.take(bytes, bytes, watch);
  Problem p(stream, problem, watch);
  p.prepare(out->option.transform, wanted_by(out->option));
  *cost = run(p, out->option, out);
}

}  // namespace lq::cuda
