// Many options of one matrix. They share what depends on the matrix alone: its fp32 form, its block absmaxes for each
// block size, its factorisation at each rank. Options that differ in the type of the group maxima alone form a family:
// the iteration is run from the start with fp32 maxima, and a 16-bit type, which only rounds them, goes on from its
// best iterate. A family's run does not depend on which of its members were asked for.
//
// Small matrices run one family a thread; large ones run one option at a time with its rows over the threads, so that
// memory stays at one working matrix.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "decompose.h"
#include "lq.h"
#include "status.h"
#include "threads.h"

namespace lq::cpu {
namespace {

// Working matrices of all threads together, when families run side by side.
constexpr int64_t kSideBySideBytes = 96LL << 20;

// Callers may pass one book many times.
bool same_book(const CodeBook& a, const CodeBook& b) {
  return a.bits == b.bits && std::memcmp(a.levels, b.levels, sizeof(float) << a.bits) == 0;
}

struct Family {
  SweepOption lead;  // with fp32 maxima
  const BookTable* table;
  std::vector<int64_t> members;
};

class Sweep {
 public:
  Sweep(const LqProblem& problem, const SweepOption* options, int64_t count, SweepCost* out, const Control& control)
      : matrix_(problem, control), options_(options), count_(count), out_(out) {}

  Status run() {
    const bool side_by_side = matrix_.count * 4 * (threads() + 1) <= kSideBySideBytes;
    if (side_by_side) matrix_.weight.hold();
    const Status status = prepare();
    if (failed(status)) return status;
    std::vector<std::unique_ptr<LqRun>> runs(static_cast<size_t>(side_by_side ? threads() : 1));
    const auto body = [&](int64_t b, int64_t e, int32_t slot) {
      std::unique_ptr<LqRun>& run = runs[static_cast<size_t>(slot)];
      if (run == nullptr) run = std::make_unique<LqRun>(matrix_);
      for (int64_t i = b; i < e && !matrix_.stopped(); ++i) finish(*run, families_[static_cast<size_t>(i)]);
    };
    const int64_t n = static_cast<int64_t>(families_.size());
    if (side_by_side) {
      parallel_slots(0, n, 1, body);
    } else {
      body(0, n, 0);
    }
    return matrix_.stopped() ? cancelled() : failure_;
  }

 private:
  Status prepare() {
    std::map<std::tuple<const BookTable*, int32_t, int32_t, int32_t, int32_t>, size_t> known;
    for (int64_t i = 0; i < count_; ++i) {
      const SweepOption& o = options_[i];
      const BookTable* table = table_of(*o.book);
      const auto [at, added] =
          known.try_emplace({table, o.config.b1, o.config.block, o.config.group, o.rank}, families_.size());
      if (added) {
        families_.push_back({o, table, {}});
        families_.back().lead.config.b2 = ScaleDtype::FP32;
      }
      families_[at->second].members.push_back(i);
      if (absmax_.find(o.config.block) == absmax_.end()) matrix_.weight_absmax(o.config.block, absmax_[o.config.block]);
      if (starts_.find(o.rank) == starts_.end()) {
        Factors& start = starts_[o.rank];
        if (o.rank == 0) continue;
        const Status status = factorize_rows(matrix_.weight, matrix_.problem, o.rank, &start, matrix_.control);
        if (failed(status)) return status;
      }
    }
    return ok();
  }

  const BookTable* table_of(const CodeBook& book) {
    for (const auto& [known, table] : tables_) {
      if (same_book(*known, book)) return table.get();
    }
    tables_.emplace_back(&book, std::make_unique<BookTable>(make_table(book)));
    return tables_.back().second.get();
  }

  void finish(LqRun& run, const Family& family) {
    const bool low_rank = family.lead.rank > 0;
    SweepCost lead{};
    Factors base;
    if (low_rank) {
      const Status status = run.run(family.lead, *family.table, starts_.at(family.lead.rank), nullptr, &lead);
      if (failed(status)) return fail(status);
      base = run.take_best();
    }
    for (const int64_t i : family.members) {
      const SweepOption& o = options_[i];
      SweepCost cost = lead;
      if (!low_rank || o.config.b2 != ScaleDtype::FP32) {
        const Status status = run.run(o, *family.table, base, nullptr, &cost);
        if (failed(status)) return fail(status);
        if (low_rank) {  // counted from the start of the lead
          cost.best_iteration += lead.best_iteration - 1;
          cost.iterations += lead.best_iteration - 1;
        }
      }
      cost.cost_quantized = run.quantized(o, *family.table, absmax_.at(o.config.block)).weighted;
      out_[i] = cost;
    }
    std::lock_guard<std::mutex> lock(mutex_);
    done_ += static_cast<int64_t>(family.members.size());
    if (!matrix_.stopped()) report(matrix_.control, static_cast<double>(done_), static_cast<double>(count_));
  }

  void fail(const Status& status) {
    std::lock_guard<std::mutex> lock(mutex_);
    failure_ = status;
  }

  LqMatrix matrix_;
  const SweepOption* options_;
  const int64_t count_;
  SweepCost* out_;
  std::vector<std::pair<const CodeBook*, std::unique_ptr<BookTable>>> tables_;
  std::map<int32_t, std::vector<float>> absmax_;
  std::map<int32_t, Factors> starts_;
  std::vector<Family> families_;
  std::mutex mutex_;
  int64_t done_ = 0;
  Status failure_ = ok();
};

}  // namespace

Status sweep(const LqProblem& problem, const SweepOption* options, int64_t count, SweepCost* out,
             const Control& control) {
  Status status = check_problem(problem);
  for (int64_t i = 0; i < count && !failed(status); ++i) {
    status = check_config(options[i].config, options[i].book);
    if (!failed(status) && options[i].rank < 0) status = error(StatusCode::invalid_argument, -1, "negative rank");
  }
  if (failed(status)) return status;
  return Sweep(problem, options, count, out, control).run();
}

}  // namespace lq::cpu
