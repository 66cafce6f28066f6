// Times the encoder of a CUDA library on matrices of a 7B model: lq_encode_bench LIBRARY.
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "lq/backend.h"

namespace {

using namespace lq;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

void measure(Backend& backend, int64_t rows, int64_t cols) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> weight(static_cast<size_t>(rows * cols)), row_weight(static_cast<size_t>(rows), 1e-3f);
  for (float& w : weight) w = normal(generator);
  // Inputs of different sizes that resemble their neighbours.
  std::vector<float> moment(static_cast<size_t>(cols * cols));
  std::vector<float> size(static_cast<size_t>(cols));
  for (float& s : size) s = std::exp(normal(generator) * 30);
  for (int64_t i = 0; i < cols; ++i) {
    for (int64_t j = std::max<int64_t>(0, i - 60); j < std::min(cols, i + 60); ++j) {
      moment[static_cast<size_t>(i * cols + j)] = size[static_cast<size_t>(i)] * size[static_cast<size_t>(j)] *
                                                  std::pow(0.8f, static_cast<float>(std::abs(i - j)));
    }
  }
  EncodeProblem problem{};
  problem.weight = {weight.data(), Dtype::F32, rows, cols};
  problem.metric = {MetricKind::kfac, nullptr, row_weight.data(), moment.data(), 0.01};
  problem.seed = 1;
  constexpr int32_t kRates[][2] = {{1, 1}, {3, 2}, {2, 1}, {5, 2}, {3, 1}, {7, 2}, {4, 1}};
  std::vector<EncodeOption> options;
  for (const auto& rate : kRates) {
    EncodeOption o{};
    o.transform = Transform::hadamard;
    o.grid = GridKind::trellis;
    o.bits = rate[0];
    o.step = rate[1];
    o.states = 12;
    o.scales = ScaleKind::row;
    o.rounding = Rounding::feedback;
    options.push_back(o);
  }
  const Control control{};
  std::vector<EncodeCost> costs(options.size()), predicted(options.size());
  EncodeCost norm{};
  const auto run = [&](const EncodeOption* which, int64_t count, bool predict, EncodeCost* out) {
    const double start = seconds();
    const Status status = backend.encode_costs(problem, which, count, predict, out, &norm, control);
    if (status.code != StatusCode::ok) std::printf("failed: %s\n", status.message);
    return seconds() - start;
  };
  run(options.data(), 1, true, predicted.data());
  const double prediction = run(options.data(), 7, true, predicted.data()),
               none = run(options.data(), 0, true, nullptr);
  std::printf("%lld x %lld: all predicted %.3f s (without factors %.3f s)\n", static_cast<long long>(rows),
              static_cast<long long>(cols), prediction, none);
  for (size_t i = 0; i < options.size(); ++i) {
    const double time = run(&options[i], 1, false, &costs[i]);
    std::printf("  %d/%d: %.3f s, cost %.5f of the norm, predicted / measured %.3f\n", options[i].bits, options[i].step,
                time, costs[i].cost / norm.cost, predicted[i].cost / costs[i].cost);
  }
}

}  // namespace

int main(int argc, char** argv) {
  void* library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : nullptr;
  const auto create =
      library != nullptr ? reinterpret_cast<CreateBackendFn>(dlsym(library, "lq_create_backend")) : nullptr;
  Status status{};
  Backend* backend = create != nullptr ? create(kBackendAbi, 0, &status) : nullptr;
  if (backend == nullptr) {
    std::fprintf(stderr, "usage: lq_encode_bench LIBRARY, a CUDA library that starts here: %s\n", status.message);
    return 2;
  }
  DeviceInfo info{};
  backend->info(&info);
  std::printf("%s\n", info.name);
  measure(*backend, 576, 576);
  measure(*backend, 4096, 4096);
  measure(*backend, 4096, 11008);
  return 0;
}
