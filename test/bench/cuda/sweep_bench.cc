// Checks the CUDA backend's decomposition on the host in fp64, then times it. Prints one JSON object.
//   lq_cuda_bench LIBRARY [--check | --race | --scarce | --quick | --profile]
#include <dlfcn.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "lq/backend.h"
#include "matrices.h"

namespace {

using namespace lq;
using namespace lq::bench;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}

void require(const Status& status, const char* what) {
  if (status.code != StatusCode::ok) stop(std::string(what) + ": " + status.message);
}

const Control kNoControl{};

LqProblem problem_of(const std::vector<uint16_t>& weights, int64_t rows, int64_t cols, int iterations, int patience) {
  LqProblem problem{};
  problem.weight = {weights.data(), Dtype::BF16, rows, cols};
  problem.max_iterations = iterations;
  problem.patience = patience;
  problem.oversampling = 10;
  problem.power_iterations = 2;
  problem.seed = 1;
  return problem;
}

// Relative difference between the cost a decomposition reports and the error of what it returned, summed in fp64. What
// is under 1e-9 of the weights' square norm is fp32 rounding and not counted.
double check_decomposition(Backend* backend, const std::vector<uint16_t>& weights, int64_t rows, int64_t cols,
                           const SweepOption& option, int iterations) {
  const int64_t count = rows * cols;
  std::vector<uint8_t> codes(static_cast<size_t>(code_bytes(option.config, count)), 0xff);
  std::vector<uint8_t> scales(static_cast<size_t>(scale_bytes(option.config, count)), 0xff);
  std::vector<uint8_t> groups(static_cast<size_t>(group_bytes(option.config, count)), 0xff);
  std::vector<float> l1(static_cast<size_t>(rows * option.rank)), l2(static_cast<size_t>(option.rank * cols));
  std::vector<float> dense(static_cast<size_t>(count), NAN);
  std::vector<double> trace(100, NAN);
  LqResult result{};
  result.quantized = {option.config, option.book, count, codes.data(), scales.data(), groups.data(), 0.0f};
  result.l1 = l1.data();
  result.l2 = l2.data();
  result.trace = trace.data();
  const LqProblem problem = problem_of(weights, rows, cols, iterations, 1);
  require(backend->decompose(problem, option, &result, kNoControl), "decompose");
  require(
      backend->reconstruct(result.quantized, l1.data(), l2.data(), rows, cols, option.rank, dense.data(), kNoControl),
      "reconstruct");
  double error = 0.0, norm = 0.0;
  for (int64_t i = 0; i < count; ++i) {
    const double weight = from_bf16(weights[static_cast<size_t>(i)]);
    const double difference = weight - dense[static_cast<size_t>(i)];
    error += difference * difference;
    norm += weight * weight;
  }
  SweepCost swept{};
  require(backend->sweep(problem, &option, 1, &swept, kNoControl), "sweep");
  std::fprintf(
      stderr, "  %lldx%lld b0=%d block=%d rank=%d: cost %.6g, recomputed %.6g, swept %.6g, alone %.6g, iterations %d\n",
      static_cast<long long>(rows), static_cast<long long>(cols), option.config.b0, option.config.block, option.rank,
      result.cost.cost, error, swept.cost, result.cost.cost_quantized, result.cost.iterations);
  const double scale = error + 1e-5 * norm;
  return std::max(std::fabs(result.cost.cost - error), std::fabs(result.cost.cost - swept.cost)) / scale;
}

double time_sweep(Backend* backend, const std::vector<uint16_t>& weights, int64_t rows, int64_t cols,
                  const std::vector<SweepOption>& options, int iterations, int patience,
                  std::vector<SweepCost>* costs) {
  costs->assign(options.size(), SweepCost{});
  const LqProblem problem = problem_of(weights, rows, cols, iterations, patience);
  const auto start = Clock::now();
  require(backend->sweep(problem, options.data(), static_cast<int64_t>(options.size()), costs->data(), kNoControl),
          "sweep");
  return seconds_since(start);
}

// Seconds an iteration of one option takes when `options` run together: the difference of two runs of fixed length.
double iteration_seconds(Backend* backend, const std::vector<uint16_t>& weights, int64_t rows, int64_t cols,
                         const std::vector<SweepOption>& options, int base) {
  constexpr int kNever = 1000;
  std::vector<SweepCost> costs;
  double best = 1e30;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const double less = time_sweep(backend, weights, rows, cols, options, base, kNever, &costs);
    const double more = time_sweep(backend, weights, rows, cols, options, 3 * base, kNever, &costs);
    best = std::min(best, (more - less) / (2 * base) / static_cast<double>(options.size()));
  }
  return best;
}

double total_iterations(const std::vector<SweepCost>& costs) {
  double sum = 0.0;
  for (const SweepCost& cost : costs) sum += cost.iterations;
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) stop("usage: lq_cuda_bench LIBRARY [--check | --race | --scarce | --quick | --profile]");
  const std::string mode = argc > 2 ? argv[2] : "";
  const bool quick = mode == "--quick";
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) stop(dlerror());
  const auto create = reinterpret_cast<CreateBackendFn>(dlsym(library, "lq_create_backend"));
  Status status{};
  Backend* backend = create(kBackendAbi, 0, &status);
  if (backend == nullptr) stop(status.message);
  DeviceInfo info{};
  backend->info(&info);
  std::fprintf(stderr, "%s (%s)\n", info.name, info.detail);

  const CodeBook books[] = {normal_float(2), normal_float(3), normal_float(4)};
  const auto option = [&](int b0, int block, int rank) {
    return SweepOption{{b0, 4, ScaleDtype::FP32, block, 64}, &books[b0 - 2], rank};
  };
  const std::vector<SweepOption> all = paper_grid(books, 64);
  std::vector<SweepOption> leaders;
  for (const SweepOption& one : all) {
    if (one.config.b2 == ScaleDtype::FP32) leaders.push_back(one);
  }
  if (mode == "--profile") {
    // Three iterations of the paper's grid, for a profiler to look at.
    std::vector<SweepCost> costs;
    time_sweep(backend, layer_weights(4096, 4096, 5), 4096, 4096, leaders, 3, 1000, &costs);
    return 0;
  }
  if (mode == "--scarce") {
    // One sweep, its costs or what kept it from them: the same with much memory and with little (scarce.py).
    const std::vector<uint16_t> weights = layer_weights(4096, 4096, 5);
    std::vector<SweepCost> costs(leaders.size());
    status = backend->sweep(problem_of(weights, 4096, 4096, 10, 3), leaders.data(),
                            static_cast<int64_t>(leaders.size()), costs.data(), kNoControl);
    if (status.code != StatusCode::ok) {
      std::printf("status %d: %s\n", static_cast<int>(status.code), status.message);
      return 0;
    }
    for (const SweepCost& cost : costs) std::printf("%.17g\n", cost.cost);
    return 0;
  }
  double worst = 0.0;
  // A race detector slows a kernel a thousandfold and sees all there is to see in two iterations of a few tiles, large
  // enough to take few steps of subspace iteration.
  const bool race = mode == "--race";
  std::vector<std::pair<int64_t, int64_t>> checked{{130, 264}};
  if (!race) checked.insert(checked.end(), {{256, 688}, {33, 47}, {1000, 1}, {1, 1000}, {1024, 2048}});
  for (const auto& [rows, cols] : checked) {
    const std::vector<uint16_t> weights = layer_weights(rows, cols, 3);
    for (const auto& chosen : {option(2, 16, 8), option(3, 32, 64), option(4, 64, 64), option(4, 64, 0)}) {
      worst = std::max(worst, check_decomposition(backend, weights, rows, cols, chosen, race ? 2 : 100));
    }
  }
  std::fprintf(stderr, "largest relative difference of a cost: %.3g\n", worst);
  if (!(worst < 1e-4)) stop("the decomposition's cost is not the error of what it returned");
  if (race || mode == "--check") return 0;

  std::printf("{\"device\": \"%s\", \"check\": %.3g, \"step\": [", info.name, worst);
  std::map<std::pair<int64_t, int64_t>, std::vector<uint16_t>> inputs;
  const char* separator = "";
  std::vector<std::pair<int64_t, int64_t>> shapes{{4096, 4096}, {11008, 4096}};
  if (!quick) shapes.insert(shapes.end(), {{8192, 8192}, {28672, 8192}});
  for (const auto& [rows, cols] : shapes) {
    const std::vector<uint16_t>& weights = inputs[{rows, cols}] = layer_weights(rows, cols, 5);
    const double alone = iteration_seconds(backend, weights, rows, cols, {option(3, 64, 64)}, 10);
    const bool large = rows * cols > (int64_t{1} << 26);
    const double together = large ? 0.0 : iteration_seconds(backend, weights, rows, cols, leaders, 2);
    std::fprintf(stderr, "%lldx%lld: an iteration alone %.1f us, of %zu options together %.1f us each\n",
                 static_cast<long long>(rows), static_cast<long long>(cols), alone * 1e6, leaders.size(),
                 together * 1e6);
    std::printf("%s{\"rows\": %lld, \"cols\": %lld, \"alone_us\": %.2f, \"together_us\": %.2f}", separator,
                static_cast<long long>(rows), static_cast<long long>(cols), alone * 1e6, together * 1e6);
    separator = ", ";
  }
  std::printf("], \"sweep\": [");
  separator = "";
  for (const int patience : {1, 3}) {
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{4096, 4096}, {11008, 4096}}) {
      std::vector<SweepCost> costs;
      const double seconds = time_sweep(backend, inputs[{rows, cols}], rows, cols, all, 100, patience, &costs);
      std::fprintf(stderr, "%lldx%lld: %zu options to the stop (patience %d) in %.3f s, %.0f iterations\n",
                   static_cast<long long>(rows), static_cast<long long>(cols), all.size(), patience, seconds,
                   total_iterations(costs));
      std::printf("%s{\"rows\": %lld, \"cols\": %lld, \"patience\": %d, \"seconds\": %.4f, \"iterations\": %.0f}",
                  separator, static_cast<long long>(rows), static_cast<long long>(cols), patience, seconds,
                  total_iterations(costs));
      separator = ", ";
      if (rows != cols) continue;
      // Chained options against the same ones run on their own.
      double most = 0.0;
      for (size_t i = 0; i < all.size(); i += 27) {
        SweepCost own{};
        require(
            backend->sweep(problem_of(inputs[{rows, cols}], rows, cols, 100, patience), &all[i], 1, &own, kNoControl),
            "sweep");
        std::fprintf(stderr,
                     "  b0=%d b1=%d b2=%d block=%d group=%d: together %.6g (%d, %d), alone %.6g (%d), quantised %.6g\n",
                     all[i].config.b0, all[i].config.b1, static_cast<int>(all[i].config.b2), all[i].config.block,
                     all[i].config.group, costs[i].cost, costs[i].iterations, costs[i + 18].iterations, own.cost,
                     own.iterations, own.cost_quantized);
        most = std::max(most, std::fabs(costs[i].cost / own.cost - 1.0));
      }
      std::fprintf(stderr, "  largest difference between together and alone: %.3g\n", most);
    }
  }
  std::printf("]}\n");
  reinterpret_cast<DestroyBackendFn>(dlsym(library, "lq_destroy_backend"))(backend);
  return 0;
}
