// Low-rank parts of what codes leave: Q + L1 L2 near the target under the metric (LQER, arXiv 2402.02446; EoRA, arXiv
// 2410.21271; FWSVD, arXiv 2207.00112), as the CPU finds them.
#include <algorithm>
#include <cmath>
#include <vector>

#include "encode/linear.h"
#include "encode/parts.h"
#include "encode/rows.h"
#include "encode/runs.h"
#include "linalg/dense.h"

namespace lq::cuda {
namespace {

constexpr int kOversampling = 10, kPowerIterations = 2;  // LQ-LoRA's
// Square roots of weights, none below this share of the largest: a factor divided by one stays finite.
constexpr double kLeast = 1e-3;
// Alternations of low-rank part and codes; the best is kept.
constexpr int kAlternations = 3;

std::vector<float> roots(const std::vector<double>& weights) {
  double largest = 0;
  for (const double w : weights) largest = std::max(largest, std::sqrt(w));
  std::vector<float> out(weights.size(), 1.0f);
  for (size_t i = 0; i < weights.size() && largest > 0; ++i) {
    out[i] = static_cast<float>(std::max(std::sqrt(weights[i]), kLeast * largest) / largest);
  }
  return out;
}

// What rows and columns of an error count, square roots of sizes between 0 and 1. With a factor of h columns are its.
struct Sides {
  explicit Sides(const Problem& p) {
    std::vector<double> rows(p.weights), columns(static_cast<size_t>(p.cols), 1.0);
    if (p.problem.metric.kind == MetricKind::fisher) {
      std::fill(rows.begin(), rows.end(), 0.0);
      std::fill(columns.begin(), columns.end(), 0.0);
      for (int64_t i = 0; i < p.rows; ++i) {
        for (int64_t j = 0; j < p.cols; ++j) {
          const double f = static_cast<double>(p.problem.metric.fisher[i * p.cols + j]);
          rows[static_cast<size_t>(i)] += f;
          columns[static_cast<size_t>(j)] += f;
        }
      }
    }
    by_row = roots(rows);
    by_column = roots(columns);
  }
  std::vector<float> by_row, by_column;
};

struct Factors {
  DeviceBuffer<float> l1, l2;  // [rows, rank], [rank, cols]
};

// The low-rank matrix near `rest` [rows, cols] under the metric, in the coordinates of the space.
Factors low_rank_of(const Problem& p, const Space& space, const Sides& sides, const float* rest, int32_t rank) {
  const Stream& stream = p.stream;
  const int64_t rows = p.rows, cols = p.cols;
  const bool factored = space.factor.get() != nullptr;
  const std::vector<float> ones(static_cast<size_t>(cols), 1.0f);
  const std::vector<float>& of_columns = factored ? ones : sides.by_column;
  DeviceBuffer<float> weighted(stream, rows * cols), by_row(stream, rows), by_column(stream, cols);
  by_row.upload(sides.by_row.data(), rows);
  by_column.upload(of_columns.data(), cols);
  if (factored) {
    DeviceBuffer<float> r(stream, cols * cols);
    round_to_float(stream, space.factor.get(), cols * cols, r.get());
    encode_product(stream, rows, cols, cols, rest, cols, r.get(), cols, 1.0f, false, weighted.get(), cols);
  } else {
    check(cudaMemcpyAsync(weighted.get(), rest, static_cast<size_t>(weighted.bytes()), cudaMemcpyDeviceToDevice,
                          stream.get()),
          "copying on the device");
  }
  scale_sides(stream, weighted.get(), rows, cols, by_row.get(), by_column.get());
  p.watch.poll();
  const LowRank low =
      truncated_svd(stream, {weighted.get(), rows, cols, cols}, rank, kOversampling, kPowerIterations, p.problem.seed);
  std::vector<float> u(static_cast<size_t>(rows * rank)), z(static_cast<size_t>(cols * rank)), l1(u.size());
  low.u.download(u.data(), low.u.size());
  low.z.download(z.data(), low.z.size());
  std::vector<double> l2(z.size());
  for (int64_t k = 0; k < rank; ++k) {
    const double root = std::sqrt(low.singular[static_cast<size_t>(k)]);
    if (!(root > 0)) continue;
    for (int64_t i = 0; i < rows; ++i) {
      const size_t at = static_cast<size_t>(i * rank + k);
      l1[at] = static_cast<float>(static_cast<double>(u[at]) * root / sides.by_row[static_cast<size_t>(i)]);
    }
    for (int64_t j = 0; j < cols; ++j) {
      l2[static_cast<size_t>(k * cols + j)] = static_cast<double>(z[static_cast<size_t>(j * rank + k)]) / root /
                                              static_cast<double>(of_columns[static_cast<size_t>(j)]);
    }
  }
  DeviceBuffer<double> solved(stream, rank * cols);
  solved.upload(l2.data(), solved.size());
  if (factored) solve_upper(stream, space.factor.get(), cols, rank, solved.get());
  Factors out{DeviceBuffer<float>(stream, rows * rank), DeviceBuffer<float>(stream, rank * cols)};
  out.l1.upload(l1.data(), out.l1.size());
  round_to_float(stream, solved.get(), solved.size(), out.l2.get());
  stream.synchronize();  // the host's arrays go before the copies would
  return out;
}

// Codes of a target; without codes all of it is error.
EncodeCost run_codes(const Problem& p, const EncodeOption& option, const EncodeTarget& target, float* error,
                     const EncodedView* out) {
  if (option.grid == GridKind::trellis) return run_trellis(p, option, target, error, out);
  if (option.grid != GridKind::zero) return run_scalar(p, option, target, error, out);
  check(cudaMemcpyAsync(error, target.y, static_cast<size_t>(p.rows * p.cols) * sizeof(float), cudaMemcpyDeviceToDevice,
                        p.stream.get()),
        "copying on the device");
  return p.measure(p.space(option.transform), target.y, target.yh);
}

}  // namespace

EncodeCost run_low_rank(const Problem& p, const EncodeOption& option, const EncodedView* out, float* l1, float* l2) {
  const int64_t rows = p.rows, cols = p.cols, count = rows * cols;
  const int32_t rank = option.rank;
  if (rank > std::min(rows, cols)) {
    fail(StatusCode::invalid_argument, "rank %d is more than the matrix has rows or columns", rank);
  }
  const Stream& stream = p.stream;
  const Space& space = p.space(option.transform);
  const Sides sides(p);
  const DeviceBuffer<float> rest(stream, count), target(stream, count), error(stream, count),
      target_h(stream, space.has_h ? count : 0);
  const auto copy = [&](const float* from, const DeviceBuffer<float>& to) {
    check(cudaMemcpyAsync(to.get(), from, static_cast<size_t>(to.bytes()), cudaMemcpyDeviceToDevice, stream.get()),
          "copying on the device");
  };
  copy(space.y.get(), rest);
  Parts parts(out != nullptr ? *out : EncodedView{option, rows, cols, p.problem.seed, {}});
  Factors best;
  EncodeCost cost{};
  // Without codes there is nothing to alternate with.
  const int rounds = option.grid == GridKind::zero ? 1 : kAlternations;
  for (int round = 0; round < rounds; ++round) {
    Factors factors = low_rank_of(p, space, sides, rest.get(), rank);
    copy(space.y.get(), target);
    encode_product(stream, rows, cols, rank, factors.l1.get(), rank, factors.l2.get(), cols, -1.0f, true, target.get(),
                   cols);
    if (space.has_h) {
      encode_product(stream, rows, cols, cols, target.get(), cols, space.h.get(), cols, 1.0f, false, target_h.get(),
                     cols);
    }
    const EncodeCost found = run_codes(p, option, {target.get(), space.has_h ? target_h.get() : nullptr}, error.get(),
                                       out != nullptr ? &parts.view : nullptr);
    // What the codes leave of the whole: their error and the low-rank part.
    remainder(stream, space.y.get(), target.get(), error.get(), count, rest.get());
    if (round > 0 && !(found.cost < cost.cost)) continue;
    cost = found;
    best = std::move(factors);
    if (out != nullptr) parts.copy_to(*out);
  }
  if (out == nullptr) return cost;
  best.l1.download(l1, best.l1.size());
  if (space.rotation != nullptr) space.rotation->inverse(stream, best.l2.get(), rank);
  scale_by(stream, best.l2.get(), best.l2.size(), p.multiplier);
  best.l2.download(l2, best.l2.size());
  return cost;
}

EncodeCost run_option(const Problem& p, const EncodeOption& option, const EncodedView* out, float* l1, float* l2) {
  if (option.rank > 0) return run_low_rank(p, option, out, l1, l2);
  const EncodeTarget target = p.space(option.transform).target();
  return option.grid == GridKind::trellis ? run_trellis(p, option, target, nullptr, out)
                                          : run_scalar(p, option, target, nullptr, out);
}

}  // namespace lq::cuda
