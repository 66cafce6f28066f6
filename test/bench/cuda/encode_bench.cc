// Times the encoder of a CUDA library on matrices, and on blocks of models: lq_encode_bench LIBRARY [BLOCKS].
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "lq/backend.h"

namespace {

using namespace lq;

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A matrix of normal weights, and inputs of different sizes that resemble their neighbours; `cross` is what a tenth of
// an encoded prefix's error would leave.
struct Matrix {
  Matrix(int64_t rows, int64_t cols) : rows(rows), cols(cols) {
    std::mt19937 generator(1);
    std::normal_distribution<float> normal(0, 0.02f);
    weight.resize(static_cast<size_t>(rows * cols));
    for (float& w : weight) w = normal(generator);
    row_weight.assign(static_cast<size_t>(rows), 1e-3f);
    moment.resize(static_cast<size_t>(cols * cols));
    std::vector<float> size(static_cast<size_t>(cols)), near(60);
    for (float& s : size) s = std::exp(normal(generator) * 30);
    for (size_t d = 0; d < near.size(); ++d) near[d] = std::pow(0.8f, static_cast<float>(d));
    for (int64_t i = 0; i < cols; ++i) {
      for (int64_t j = std::max<int64_t>(0, i - 59); j < std::min(cols, i + 60); ++j) {
        moment[static_cast<size_t>(i * cols + j)] =
            size[static_cast<size_t>(i)] * size[static_cast<size_t>(j)] * near[static_cast<size_t>(std::abs(i - j))];
      }
    }
    cross = moment;
    for (float& c : cross) c *= 0.1f * (1 + normal(generator));
    problem.weight = {weight.data(), Dtype::F32, rows, cols};
    problem.metric = {MetricKind::kfac, nullptr, row_weight.data(), moment.data(), 0.01};
    problem.seed = 1;
  }
  Matrix(const Matrix&) = delete;
  int64_t rows, cols;
  std::vector<float> weight, row_weight, moment, cross;
  EncodeProblem problem{};
};

constexpr int32_t kRates[][2] = {{1, 1}, {3, 2}, {2, 1}, {5, 2}, {3, 1}, {7, 2}, {4, 1}};

// The default set: the trellis rates, then integers of 5, 6 and 8 bits.
std::vector<EncodeOption> frontier() {
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
  for (const int32_t bits : {5, 6, 8}) {
    EncodeOption o{};
    o.grid = GridKind::integer;
    o.bits = bits;
    o.step = 1;
    o.scales = ScaleKind::group;
    o.group = 128;
    o.rounding = Rounding::feedback;
    options.push_back(o);
  }
  return options;
}

void report(const Status& status) {
  if (status.code != StatusCode::ok) std::printf("failed: %s\n", status.message);
}

// Option by option on one matrix.
void measure(Backend& backend, int64_t rows, int64_t cols) {
  const Matrix matrix(rows, cols);
  const std::vector<EncodeOption> options = frontier();
  const Control control{};
  std::vector<EncodeCost> costs(options.size()), predicted(options.size());
  EncodeCost norm{};
  const auto run = [&](const EncodeOption* which, int64_t count, bool predict, EncodeCost* out) {
    const double start = seconds();
    report(backend.encode_costs(matrix.problem, which, count, predict, out, &norm, control));
    return seconds() - start;
  };
  constexpr auto kTrellises = static_cast<int64_t>(std::size(kRates));
  run(options.data(), 1, true, predicted.data());
  const double prediction = run(options.data(), kTrellises, true, predicted.data()),
               none = run(options.data(), 0, true, nullptr);
  std::printf("%lld x %lld: all rates predicted %.3f s (without factors %.3f s)\n", static_cast<long long>(rows),
              static_cast<long long>(cols), prediction, none);
  for (size_t i = 0; i < options.size(); ++i) {
    const double time = run(&options[i], 1, false, &costs[i]);
    std::printf("  %s %d/%d: %.3f s, cost %.5f of the norm", options[i].grid == GridKind::trellis ? "trellis" : "int",
                options[i].bits, options[i].step, time, costs[i].cost / norm.cost);
    if (i < static_cast<size_t>(kTrellises)) {
      std::printf(", predicted / measured %.3f", predicted[i].cost / costs[i].cost);
    }
    std::printf("\n");
  }
}

struct Shape {
  int64_t rows, cols;
  int count;  // a block
};

// Blocks of a model over the device's lanes, as the pipeline does it: every option of the default set measured or
// predicted, then a plan of 2 bits encoded towards corrected targets.
void measure_model(Backend& backend, const char* name, const std::vector<Shape>& shapes, int blocks) {
  std::vector<std::unique_ptr<Matrix>> matrices;
  std::vector<const Matrix*> work;
  for (const Shape& s : shapes) matrices.push_back(std::make_unique<Matrix>(s.rows, s.cols));
  double weights = 0;
  for (int b = 0; b < blocks; ++b) {
    for (size_t i = 0; i < shapes.size(); ++i) {
      for (int k = 0; k < shapes[i].count; ++k) work.push_back(matrices[i].get());
      weights += static_cast<double>(shapes[i].rows * shapes[i].cols * shapes[i].count);
    }
  }
  DeviceInfo info{};
  backend.info(&info);
  const std::vector<EncodeOption> options = frontier();
  const auto over_lanes = [&](const auto& one) {
    std::atomic<size_t> next = 0;
    std::vector<std::thread> lanes;
    const double start = seconds();
    for (int32_t lane = 0; lane < info.lanes; ++lane) {
      lanes.emplace_back([&] {
        for (size_t i; (i = next++) < work.size();) one(*work[i], i);
      });
    }
    for (std::thread& lane : lanes) lane.join();
    return seconds() - start;
  };
  const double sweep = over_lanes([&](const Matrix& m, size_t) {
    std::vector<EncodeCost> costs(options.size());
    EncodeCost norm{};
    report(backend.encode_costs(m.problem, options.data(), static_cast<int64_t>(options.size()), true, costs.data(),
                                &norm, {}));
  });
  const double plan = over_lanes([&](const Matrix& m, size_t i) {
    const EncodeOption& option = options[1 + i % 3];
    std::vector<std::vector<uint8_t>> parts(kPartCount);
    EncodedView view{option, m.rows, m.cols, 1, {}};
    for (int32_t p = 0; p < kPartCount; ++p) {
      const int64_t bytes = part_bytes(option, m.rows, m.cols, static_cast<EncodedPart>(p));
      if (bytes == 0) continue;
      parts[static_cast<size_t>(p)].resize(static_cast<size_t>(bytes));
      view.parts[p] = parts[static_cast<size_t>(p)].data();
    }
    EncodeProblem corrected = m.problem;
    corrected.cross = m.cross.data();
    corrected.alpha = 0.5;
    EncodeCost cost{};
    report(backend.encode(corrected, &view, nullptr, nullptr, &cost, {}));
  });
  std::printf("%s, %d blocks, %.0f M weights: the default set %.1f s, a plan with correction %.1f s\n", name, blocks,
              weights / 1e6, sweep, plan);
}

}  // namespace

int main(int argc, char** argv) {
  void* library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : nullptr;
  const auto create =
      library != nullptr ? reinterpret_cast<CreateBackendFn>(dlsym(library, "lq_create_backend")) : nullptr;
  Status status{};
  Backend* backend = create != nullptr ? create(kBackendAbi, 0, &status) : nullptr;
  if (backend == nullptr) {
    std::fprintf(stderr, "usage: lq_encode_bench LIBRARY [BLOCKS], a CUDA library that starts here: %s\n",
                 status.message);
    return 2;
  }
  DeviceInfo info{};
  backend->info(&info);
  std::printf("%s\n", info.name);
  const int blocks = argc > 2 ? std::atoi(argv[2]) : 32;
  measure(*backend, 576, 576);
  measure(*backend, 4096, 4096);
  measure(*backend, 4096, 11008);
  measure_model(*backend, "SmolLM2-135M's shape", {{576, 576, 2}, {192, 576, 2}, {1536, 576, 2}, {576, 1536, 1}},
                std::min(blocks, 30));
  measure_model(*backend, "LLaMA-2-7B's shape", {{4096, 4096, 4}, {11008, 4096, 2}, {4096, 11008, 1}}, blocks);
  return 0;
}
