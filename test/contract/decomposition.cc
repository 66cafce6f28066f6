// decompose and sweep: what is returned adds up to what is reported, and iterating helps.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <tuple>

#include "reference.h"
#include "suite.h"

namespace lq::contract {
namespace {

struct Buffers {
  Buffers(const QuantConfig& config, const CodeBook& book, int64_t rows, int64_t cols, int32_t rank, int32_t iterations)
      : codes(static_cast<size_t>(code_bytes(config, rows * cols))),
        scales(static_cast<size_t>(scale_bytes(config, rows * cols))),
        groups(static_cast<size_t>(group_bytes(config, rows * cols))),
        l1(static_cast<size_t>(rows * rank)),
        l2(static_cast<size_t>(rank * cols)),
        trace(static_cast<size_t>(iterations), -1.0),
        result{{config, &book, rows * cols, codes.data(), scales.data(), groups.data(), 0},
               l1.data(),
               l2.data(),
               trace.data(),
               {}} {}
  Buffers(const Buffers&) = delete;
  std::vector<uint8_t> codes, scales, groups;
  std::vector<float> l1, l2;
  std::vector<double> trace;
  LqResult result;
};

// A Fisher weight over several decades, and square roots of its row and column means.
struct Weights {
  Weights(int64_t rows, int64_t cols) : fisher(static_cast<size_t>(rows * cols)) {
    const std::vector<float> g = gaussian(rows * cols, 77, 1.0);
    std::vector<double> r(static_cast<size_t>(rows)), c(static_cast<size_t>(cols));
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        const size_t at = static_cast<size_t>(i * cols + j);
        fisher[at] = g[at] * g[at] * static_cast<float>((1 + i % 5) * (1 + j % 3)) * 1e-6f;
        r[static_cast<size_t>(i)] += static_cast<double>(fisher[at]) / static_cast<double>(cols);
        c[static_cast<size_t>(j)] += static_cast<double>(fisher[at]) / static_cast<double>(rows);
      }
    }
    for (const double x : r) row.push_back(static_cast<float>(std::sqrt(x)));
    for (const double x : c) col.push_back(static_cast<float>(std::sqrt(x)));
  }
  std::vector<float> fisher, row, col;
};

constexpr int32_t kIterations = 12;

LqProblem make_problem(const std::vector<float>& w, int64_t rows, int64_t cols, const Weights* weights) {
  return {{w.data(), Dtype::F32, rows, cols},
          weights != nullptr ? weights->fisher.data() : nullptr,
          weights != nullptr ? weights->row.data() : nullptr,
          weights != nullptr ? weights->col.data() : nullptr,
          kIterations,
          2,
          10,
          2,
          7,
          0};
}

// Costs are accumulated in fp32 within short runs: relative to the cost, and for exact fits to the matrix.
constexpr double kCostTolerance = 2e-5;

void check_decompose(Suite& suite, const std::string& what, const std::vector<float>& w, int64_t rows, int64_t cols,
                     int32_t rank, const QuantConfig& config, bool weighted) {
  const std::string name = "decompose " + what + " " + shape_name(rows, cols) + " rank " + std::to_string(rank) +
                           (weighted ? " weighted" : "");
  const CodeBook book = normal_float(config.b0);
  const Weights weights(rows, cols);
  const LqProblem problem = make_problem(w, rows, cols, weighted ? &weights : nullptr);
  Buffers b(config, book, rows, cols, rank, kIterations);
  const Status status = suite.backend.decompose(problem, {config, &book, rank}, &b.result, kNoControl);
  suite.code(name, status, StatusCode::ok);
  if (status.code != StatusCode::ok) return;
  const SweepCost& cost = b.result.cost;

  std::vector<float> q(w.size());
  suite.backend.dequantize(b.result.quantized, q.data(), kNoControl);
  const float* fisher = weighted ? weights.fisher.data() : nullptr;
  const double weighted_error = residual(w.data(), q.data(), b.l1.data(), b.l2.data(), fisher, rows, cols, rank);
  const double squared = residual(w.data(), q.data(), b.l1.data(), b.l2.data(), nullptr, rows, cols, rank);
  const double norm = residual(w.data(), nullptr, nullptr, nullptr, fisher, rows, cols, 0);
  suite.at_most(name + " cost of what is returned", std::abs(weighted_error - cost.cost),
                kCostTolerance * cost.cost + 1e-10 * norm);
  suite.at_most(name + " squared error of what is returned", std::abs(squared - cost.squared_error),
                kCostTolerance * cost.squared_error +
                    1e-10 * residual(w.data(), nullptr, nullptr, nullptr, nullptr, rows, cols, 0));

  const double smallest = *std::min_element(b.trace.begin(), b.trace.begin() + cost.iterations);
  suite.at_most(name + " keeps the best iterate", std::abs(smallest * smallest - cost.cost), 1e-6 * cost.cost);
  suite.check(name + " trace", b.trace[static_cast<size_t>(cost.best_iteration - 1)] == smallest,
              "another iterate is best");

  Buffers alone(config, book, rows, cols, 0, kIterations);
  suite.backend.decompose(problem, {config, &book, 0}, &alone.result, kNoControl);
  suite.at_most(name + " cost of quantisation alone", std::abs(alone.result.cost.cost - cost.cost_quantized),
                kCostTolerance * cost.cost_quantized + 1e-10 * norm);

  // A sweep asks for the same and others; costs agree with each other and do not depend on the company.
  const CodeBook other_book = normal_float(2);
  QuantConfig half = config;
  half.b2 = ScaleDtype::FP16;
  const SweepOption options[] = {{config, &book, rank},
                                 {{2, 2, ScaleDtype::FP16, 32, 16}, &other_book, rank},
                                 {config, &book, 0},
                                 {half, &book, rank}};
  SweepCost together[4]{}, apart{};
  suite.code(name + " sweep", suite.backend.sweep(problem, options, 4, together, kNoControl), StatusCode::ok);
  suite.backend.sweep(problem, options, 1, &apart, kNoControl);
  suite.at_most(name + " sweep alone or together", std::abs(apart.cost - together[0].cost),
                5e-3 * apart.cost + 1e-10 * norm);
  suite.at_most(name + " sweep without low rank", std::abs(together[2].cost - alone.result.cost.cost),
                kCostTolerance * together[2].cost + 1e-10 * norm);
  suite.at_most(name + " sweep quantised cost", std::abs(together[0].cost_quantized - cost.cost_quantized),
                kCostTolerance * cost.cost_quantized + 1e-10 * norm);
  // Sweeps may find a better iterate than one decomposition, hardly a worse one.
  suite.at_most(name + " sweep near decompose", together[0].cost, cost.cost * 1.05 + 1e-10 * norm);
}

// A weight brought near 1 from 2^exponent: what is stored is of the weight itself, in types that may not reach there,
// and the error that is reported is that of what is stored.
void check_exponent(Suite& suite, int32_t exponent, ScaleDtype type) {
  const std::string name =
      "decompose at 2^" + std::to_string(exponent) + " with scales of type " + std::to_string(static_cast<int>(type));
  const int64_t rows = 96, cols = 160;
  const int32_t rank = 8;
  const QuantConfig config{3, 4, type, 64, 16};
  const CodeBook book = normal_float(3);
  const std::vector<float> w = decaying(rows, cols, 1);
  LqProblem problem = make_problem(w, rows, cols, nullptr);
  Buffers plain(config, book, rows, cols, rank, kIterations), b(config, book, rows, cols, rank, kIterations);
  suite.backend.decompose(problem, {config, &book, rank}, &plain.result, kNoControl);
  problem.exponent = exponent;
  suite.code(name, suite.backend.decompose(problem, {config, &book, rank}, &b.result, kNoControl), StatusCode::ok);
  std::vector<float> q(w.size());
  suite.backend.dequantize(b.result.quantized, q.data(), kNoControl);
  for (float& x : q) x = std::ldexp(x, -exponent);
  const double stored = residual(w.data(), q.data(), b.l1.data(), b.l2.data(), nullptr, rows, cols, rank);
  suite.at_most(name + " error of what is stored", std::abs(stored - b.result.cost.squared_error),
                kCostTolerance * stored);
  const SweepOption option{config, &book, rank};
  SweepCost cost{};
  suite.code(name + " sweep", suite.backend.sweep(problem, &option, 1, &cost, kNoControl), StatusCode::ok);
  suite.check(name + " finite", std::isfinite(cost.cost) && cost.cost > 0, std::to_string(cost.cost));
  // Types with the exponents of fp32 hold the same numbers everywhere.
  if (type == ScaleDtype::FP16) return;
  suite.check(name + " same codes", b.codes == plain.codes && b.l1 == plain.l1, "they differ");
  suite.check(name + " same error", b.result.cost.cost == plain.result.cost.cost, "it differs");
}

bool cancel_at_once(void*) { return true; }

// As many sweeps at once as the backend has lanes, of different shapes and ranks, again and again: each result is what
// it is alone, to the last bit.
void check_lanes(Suite& suite) {
  constexpr int kRounds = 8;
  struct Job {
    std::vector<float> weights;
    int64_t rows, cols;
    std::vector<SweepOption> options;
    std::vector<SweepCost> alone;
  };
  const CodeBook book = normal_float(3);
  std::vector<Job> jobs;
  for (const auto& [rows, cols, rank] : {std::tuple<int64_t, int64_t, int32_t>{96, 160, 0},
                                         {256, 384, 8},
                                         {130, 77, 40},
                                         {300, 256, 128},
                                         {64, 688, 16}}) {
    Job job{decaying(rows, cols, static_cast<uint64_t>(rows)), rows, cols, {}, {}};
    for (const int32_t block : {16, 32, 64}) {
      job.options.push_back({{3, 4, ScaleDtype::BF16, block, 16}, &book, rank});
    }
    jobs.push_back(std::move(job));
  }
  const auto sweep = [&](const Job& job) {
    std::vector<SweepCost> costs(job.options.size());
    const Status status =
        suite.backend.sweep(make_problem(job.weights, job.rows, job.cols, nullptr), job.options.data(),
                            static_cast<int64_t>(job.options.size()), costs.data(), kNoControl);
    if (status.code != StatusCode::ok) costs.clear();
    return costs;
  };
  for (Job& job : jobs) job.alone = sweep(job);
  DeviceInfo info{};
  suite.backend.info(&info);
  std::atomic<int> next{0}, wrong{0};
  const int total = kRounds * static_cast<int>(jobs.size());
  std::vector<std::thread> threads;
  for (int32_t lane = 0; lane < info.lanes; ++lane) {
    threads.emplace_back([&] {
      for (int i = next++; i < total; i = next++) {
        const Job& job = jobs[static_cast<size_t>(i) % jobs.size()];
        const std::vector<SweepCost> costs = sweep(job);
        const bool same = !costs.empty() && std::equal(costs.begin(), costs.end(), job.alone.begin(), job.alone.end(),
                                                       [](const SweepCost& a, const SweepCost& b) {
                                                         return a.cost == b.cost && a.iterations == b.iterations;
                                                       });
        if (!same) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  suite.check("sweeps at once", wrong == 0, std::to_string(wrong) + " of " + std::to_string(total) + " differ");
}

}  // namespace

void check_decomposition(Suite& suite) {
  check_lanes(suite);
  const QuantConfig nf3{3, 4, ScaleDtype::BF16, 32, 16};
  for (const bool weighted : {false, true}) {
    check_decompose(suite, "decaying", decaying(96, 160, 1), 96, 160, 8, nf3, weighted);
    check_decompose(suite, "decaying", decaying(70, 688, 2), 70, 688, 4, {4, 8, ScaleDtype::FP32, 64, 256}, weighted);
    check_decompose(suite, "gaussian", gaussian(130 * 77, 3), 130, 77, 6, {2, 3, ScaleDtype::BF16, 16, 16}, weighted);
    check_decompose(suite, "small", decaying(24, 24, 4), 24, 24, 3, nf3, weighted);
    check_decompose(suite, "row", gaussian(500, 5), 1, 500, 1, nf3, weighted);
    check_decompose(suite, "column", gaussian(500, 5), 500, 1, 1, nf3, weighted);
    check_decompose(suite, "zeros", std::vector<float>(80 * 90, 0.0f), 80, 90, 4, nf3, weighted);
    check_decompose(suite, "constant", std::vector<float>(80 * 90, 0.5f), 80, 90, 4, nf3, weighted);
    check_decompose(suite, "rank above the size", gaussian(10 * 64, 6), 10, 64, 16, nf3, weighted);
  }

  const CodeBook book = normal_float(3);
  const std::vector<float> w = decaying(96, 160, 1);
  const LqProblem problem = make_problem(w, 96, 160, nullptr);
  Buffers first(nf3, book, 96, 160, 8, kIterations), again(nf3, book, 96, 160, 8, kIterations);
  suite.backend.decompose(problem, {nf3, &book, 8}, &first.result, kNoControl);
  suite.backend.decompose(problem, {nf3, &book, 8}, &again.result, kNoControl);
  suite.check("decompose is reproducible", first.codes == again.codes && first.l1 == again.l1, "two runs differ");
  suite.check("iterating lowers the error", first.result.cost.cost < first.trace[0] * first.trace[0], "it does not");

  for (const int32_t exponent : {-100, -18, 18, 100}) {
    for (const ScaleDtype type : {ScaleDtype::BF16, ScaleDtype::FP16, ScaleDtype::FP32}) {
      check_exponent(suite, exponent, type);
    }
  }

  const Control control{nullptr, cancel_at_once, nullptr};
  suite.code("decompose is cancelled", suite.backend.decompose(problem, {nf3, &book, 8}, &again.result, control),
             StatusCode::cancelled);
  SweepCost cost{};
  const SweepOption option{nf3, &book, 8};
  suite.code("sweep is cancelled", suite.backend.sweep(problem, &option, 1, &cost, control), StatusCode::cancelled);

  std::vector<float> bad = w;
  bad[1234] = std::nanf("");
  const Status status = suite.backend.sweep(make_problem(bad, 96, 160, nullptr), &option, 1, &cost, kNoControl);
  suite.code("sweep refuses what is not finite", status, StatusCode::not_finite);
  suite.check("sweep names the first index", status.index == 1234, std::to_string(status.index));
}

}  // namespace lq::contract
