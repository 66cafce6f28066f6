// Many options of one matrix. Options share what depends on the matrix alone: its fp32 form, its block absmaxes for each
// block size, its factorisation at each rank. Small matrices run one option a thread; large ones run one option at a time
// with its rows over the threads, so that memory stays at one working matrix.
#include <algorithm>
#include <map>
#include <memory>
#include <mutex>

#include "decompose.h"
#include "lq.h"
#include "status.h"
#include "threads.h"

namespace lq::cpu {
namespace {

// Working matrices of all threads together, when options run side by side.
constexpr int64_t kSideBySideBytes = 96LL << 20;

}  // namespace

Status sweep(const LqProblem& problem, const SweepOption* options, int64_t count, SweepCost* out,
             const Control& control) {
  Status status = check_problem(problem);
  for (int64_t i = 0; i < count && !failed(status); ++i) {
    status = check_config(options[i].config, options[i].book);
    if (!failed(status) && options[i].rank < 0) status = error(StatusCode::invalid_argument, -1, "negative rank");
  }
  if (failed(status)) return status;

  LqMatrix matrix(problem, control);
  const bool side_by_side = matrix.count * 4 * (threads() + 1) <= kSideBySideBytes;
  if (side_by_side) matrix.weight.hold();
  std::map<const CodeBook*, BookTable> tables;
  std::map<int32_t, std::vector<float>> absmax;
  std::map<int32_t, Factors> starts;
  starts[0];
  for (int64_t i = 0; i < count; ++i) {
    const SweepOption& o = options[i];
    if (tables.find(o.book) == tables.end()) tables.emplace(o.book, make_table(*o.book));
    if (absmax.find(o.config.block) == absmax.end()) matrix.weight_absmax(o.config.block, absmax[o.config.block]);
    if (starts.find(o.rank) == starts.end()) {
      status = factorize_rows(matrix.weight, problem, o.rank, &starts[o.rank], control);
      if (failed(status)) return status;
    }
  }

  std::mutex mutex;
  int64_t done = 0;
  Status failure = ok();
  const auto one = [&](LqRun& run, int64_t i) {
    const SweepOption& o = options[i];
    const BookTable& table = tables.at(o.book);
    const double alone = run.quantized(o, table, absmax.at(o.config.block)).weighted;
    const Status s = run.run(o, table, starts.at(o.rank), nullptr, &out[i]);
    out[i].cost_quantized = alone;
    std::lock_guard<std::mutex> lock(mutex);
    if (failed(s)) {
      failure = s;
    } else {
      report(control, static_cast<double>(++done), static_cast<double>(count));
    }
  };
  std::vector<std::unique_ptr<LqRun>> runs(static_cast<size_t>(side_by_side ? threads() : 1));
  const auto body = [&](int64_t b, int64_t e, int32_t slot) {
    std::unique_ptr<LqRun>& run = runs[static_cast<size_t>(slot)];
    if (run == nullptr) run = std::make_unique<LqRun>(matrix);
    for (int64_t i = b; i < e && !matrix.stopped(); ++i) one(*run, i);
  };
  if (side_by_side) {
    parallel_slots(0, count, 1, body);
  } else {
    body(0, count, 0);
  }
  return matrix.stopped() ? cancelled() : failure;
}

}  // namespace lq::cpu
