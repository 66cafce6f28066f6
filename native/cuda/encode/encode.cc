#include "encode/encode.h"

#include <algorithm>

#include "encode/rows.h"
#include "encode/runs.h"
#include "encode/viterbi.h"
#include "runtime/upload.h"

namespace lq::cuda {
namespace {

// Beyond, the small eigenvalue problem of a low-rank part, which the host solves, takes longer than the CPU's whole
// way.
constexpr int32_t kMostRank = 256;

bool trellis_here(const EncodeOption& o) {
  return o.scales == ScaleKind::row && o.transform != Transform::scaled && o.rounding != Rounding::descent &&
         (o.step == 1 || o.step == 2) && o.bits >= o.step && o.bits <= 6 * o.step && o.states >= 10 && o.states <= 16 &&
         o.states - (o.bits + o.step - 1) / o.step >= 6;
}

bool scalar_here(const EncodeOption& o) {
  const bool fitted = o.grid == GridKind::fitted, plain = o.grid != GridKind::integer || o.symmetric;
  if (o.grid == GridKind::gguf || o.grid == GridKind::zero || o.scales == ScaleKind::block) return false;
  if (o.bits < 2 || o.bits > (fitted || o.grid == GridKind::fp4 ? 4 : 8)) return false;
  if (o.grid == GridKind::fp4 && o.bits != 4) return false;
  if (o.grid == GridKind::nf && (o.book == nullptr || o.book->bits != o.bits)) return false;
  const bool zeros_fit = o.scales == ScaleKind::group || o.scales == ScaleKind::row;
  if (o.transform == Transform::scaled && (o.grid != GridKind::integer || !zeros_fit || o.rank > 0)) return false;
  if (o.scales == ScaleKind::searched && fitted) return false;
  return (!has_groups(o) || o.group > 0) && (plain || zeros_fit);
}

bool zero_here(const EncodeOption& o) {
  return o.scales == ScaleKind::block && o.transform == Transform::none && o.rank > 0;
}

Wanted wanted_by(const EncodeOption& o) {
  const bool feedback = o.rounding != Rounding::nearest, trellis = o.grid == GridKind::trellis;
  return {true, feedback && trellis, feedback && !trellis, o.rank > 0};
}

constexpr Transform kTransforms[] = {Transform::none, Transform::hadamard, Transform::scaled};

// What the options of a transform want together.
Wanted wanted_of(const EncodeOption* options, int64_t count, Transform transform) {
  Wanted wanted;
  for (int64_t i = 0; i < count; ++i) {
    if (options[i].transform != transform) continue;
    const Wanted one = wanted_by(options[i]);
    wanted = {true, wanted.by_tile || one.by_tile, wanted.by_column || one.by_column, wanted.factor || one.factor};
  }
  return wanted;
}

// Bytes of device memory of a call, at most.
int64_t need(const EncodeProblem& problem, const EncodeOption* options, int64_t count) {
  const MetricKind metric = problem.metric.kind;
  // The weight; values, errors, a copy of these and one times h, and a stretch of columns with codes.
  int64_t matrices = metric == MetricKind::fisher ? 7 : 6, of_a_square = 0;
  bool low_rank = false;
  int32_t states = 0;
  for (const Transform transform : kTransforms) {
    const Wanted wanted = wanted_of(options, count, transform);
    if (!wanted.space) continue;
    matrices += 2;  // the target, and times h
    low_rank |= wanted.factor;
    if (metric == MetricKind::plain || (metric == MetricKind::fisher && transform != Transform::hadamard)) continue;
    of_a_square += 4 + (wanted.by_tile ? 4 : 0) + (wanted.by_column ? 4 : 0) + (wanted.factor ? 8 : 0);
  }
  for (int64_t i = 0; i < count; ++i) {
    if (options[i].grid == GridKind::trellis) states = std::max(states, options[i].states);
  }
  // In turn: h in fp64 while it is factored; a correction's three squares beside the second moment.
  if (metric != MetricKind::plain) of_a_square += problem.cross != nullptr ? 36 : 24;
  if (low_rank) matrices += 5;  // what is left, the target, that times h, errors, and weighted for its factors
  const int64_t n = problem.weight.rows * problem.weight.cols, square = problem.weight.cols * problem.weight.cols;
  return matrices * 4 * n + of_a_square * square + (64 << 20) + roomy_scratch(states);
}

}  // namespace

bool encodes(const EncodeProblem& problem, const EncodeOption& o) {
  if (o.rank < 0 || o.rank > kMostRank) return false;
  if (problem.cross != nullptr && problem.metric.kind != MetricKind::kfac) return false;
  if (o.grid == GridKind::zero) return zero_here(o);
  return o.grid == GridKind::trellis ? trellis_here(o) : scalar_here(o);
}

void encode_costs(const Stream& stream, MemoryBudget& budget, const EncodeProblem& problem, const EncodeOption* options,
                  int64_t count, bool predict, EncodeCost* out, EncodeCost* norm, const Watch& watch) {
  check_matrix(problem.weight);
  for (int64_t i = 0; i < count; ++i) {
    if (!encodes(problem, options[i])) fail(StatusCode::unsupported, "this device does not encode this option");
  }
  const int64_t bytes = need(problem, options, count);
  const MemoryBudget::Share memory = budget.take(bytes, bytes, watch);
  Problem p(stream, problem, watch);
  for (const Transform transform : kTransforms) {
    const Wanted wanted = wanted_of(options, count, transform);
    if (wanted.space) p.prepare(transform, wanted);
  }
  if (count == 0) p.prepare(Transform::none, {});
  *norm = p.norm();
  for (int64_t i = 0; i < count; ++i) {
    const bool predictable = options[i].rank == 0 && problem.metric.kind != MetricKind::fisher;
    if (predict && predictable && options[i].grid == GridKind::trellis) {
      const Space& space = p.space(options[i].transform);
      DeviceBuffer<double> dots(stream, p.rows);
      row_dots(stream, space.y.get(), space.y.get(), p.rows, p.cols, dots.get());
      out[i] = predict_trellis(p, options[i], p.weighted_sum(dots));
    } else {
      out[i] = run_option(p, options[i], nullptr, nullptr, nullptr);
    }
    watch.progress(static_cast<double>(i + 1), static_cast<double>(count));
  }
}

void encode(const Stream& stream, MemoryBudget& budget, const EncodeProblem& problem, EncodedView* out, float* l1,
            float* l2, EncodeCost* cost, const Watch& watch) {
  check_matrix(problem.weight);
  if (!encodes(problem, out->option)) fail(StatusCode::unsupported, "this device does not encode this option");
  if (problem.weight.rows != out->rows || problem.weight.cols != out->cols) {
    fail(StatusCode::invalid_argument, "the encoded matrix has another shape than the weight");
  }
  if (out->option.rank > 0 && (l1 == nullptr || l2 == nullptr)) {
    fail(StatusCode::invalid_argument, "rank %d has no room for its factors", out->option.rank);
  }
  out->seed = problem.seed;
  const int64_t bytes = need(problem, &out->option, 1);
  const MemoryBudget::Share memory = budget.take(bytes, bytes, watch);
  Problem p(stream, problem, watch);
  p.prepare(out->option.transform, wanted_by(out->option));
  *cost = run_option(p, out->option, out, l1, l2);
}

}  // namespace lq::cuda
