// The exported backend: a thin list of the ops in this folder, one device an object.
#include "lq/backend.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <vector>

#include "encode/encode.h"
#include "lm/cublas.h"
#include "lm/language_model.h"
#include "lq/engine.h"
#include "ops/factorize.h"
#include "ops/packed_product.h"
#include "ops/quantize.h"
#include "ops/statistics.h"
#include "runtime/budget.h"
#include "runtime/lanes.h"

namespace lq::cuda {
namespace {

// Calls at once. Two hide what one matrix waits for behind the other; small matrices fill a device by fours.
constexpr int kLanes = 4;

void check_problem(const LqProblem& problem) {
  check_matrix(problem.weight);
  if (problem.max_iterations < 1) fail(StatusCode::invalid_argument, "%d iterations", problem.max_iterations);
}

void check_option(const SweepOption& option) {
  check_config(option.config, option.book);
  if (option.rank < 0) fail(StatusCode::invalid_argument, "negative rank");
}

class CudaBackend final : public Backend {
 public:
  // The device is the current one.
  explicit CudaBackend(int device) : device_(device) {
    // Freed memory stays with the pool up to an eighth of the device, so that matrix after matrix of a model is not
    // allocated anew, and a resting program leaves most of the device to others.
    cudaMemPool_t pool = nullptr;
    size_t free = 0, total = 0;
    check(cudaDeviceGetDefaultMemPool(&pool, device), "asking for the memory pool");
    check(cudaMemGetInfo(&free, &total), "asking for the device's memory");
    uint64_t keep = total / 8;
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "setting up the memory pool");
  }

  void info(DeviceInfo* out) override {
    *out = DeviceInfo{};
    cudaDeviceProp properties{};
    int driver = 0, runtime = 0;
    size_t free = 0, total = 0;
    if (cudaSetDevice(device_) != cudaSuccess || cudaGetDeviceProperties(&properties, device_) != cudaSuccess) return;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    cudaMemGetInfo(&free, &total);
    std::snprintf(out->name, sizeof out->name, "%.127s", properties.name);
    std::snprintf(out->detail, sizeof out->detail,
                  "compute capability %d.%d, driver for CUDA %d.%d, runtime %d.%d, cuBLAS for language models: %s",
                  properties.major, properties.minor, driver / 1000, driver % 1000 / 10, runtime / 1000,
                  runtime % 1000 / 10, Cublas::description().c_str());
    out->memory_total = static_cast<int64_t>(total);
    // With what the pool holds without using it.
    guarded([&] { out->memory_free = available_device_bytes(); });
    out->lanes = kLanes;
  }

  Status statistics(const MatrixView& m, const StatisticsRequest& request, Statistics* out,
                    const Control& control) override {
    return on_device([&](const Stream& stream) { cuda::statistics(stream, m, request, out, Watch(control)); });
  }
  Status preview(const MatrixView& m, const PreviewRequest& request, const Control& control) override {
    return on_device([&](const Stream& stream) { cuda::preview(stream, m, request, Watch(control)); });
  }
  Status singular_values(const MatrixView& m, int32_t count, uint64_t seed, double* out,
                         const Control& control) override {
    return on_device([&](const Stream& stream) { cuda::singular_values(stream, m, count, seed, out, Watch(control)); });
  }
  Status quantize(const MatrixView& m, QuantizedView* q, const Control& control) override {
    return on_device([&](const Stream& stream) { cuda::quantize(stream, m, q, Watch(control)); });
  }
  Status dequantize(const QuantizedView& q, float* out, const Control& control) override {
    return on_device([&](const Stream& stream) { cuda::dequantize(stream, q, out, Watch(control)); });
  }
  Status factorize(const LqProblem& problem, int32_t rank, float* l1, float* l2, const Control& control) override {
    return on_device([&](const Stream& stream) { cuda::factorize(stream, problem, rank, l1, l2, Watch(control)); });
  }
  Status decompose(const LqProblem& problem, const SweepOption& option, LqResult* out,
                   const Control& control) override {
    return on_device([&](const Stream& stream) {
      check_problem(problem);
      check_option(option);
      if (out->quantized.count != problem.weight.rows * problem.weight.cols) {
        fail(StatusCode::invalid_argument, "the packed tensor has another size");
      }
      const Watch watch(control);
      const std::vector<SweepOption> options{option};
      const MemoryNeed need = Engine::need(problem, options);
      const MemoryBudget::Share memory = budget_.take(need.least, need.wanted, watch);
      const DeviceProblem matrix(stream, problem);
      Engine(stream, matrix, problem, options, memory.bytes()).decompose(out, watch);
    });
  }
  Status sweep(const LqProblem& problem, const SweepOption* options, int64_t count, SweepCost* out,
               const Control& control) override {
    return on_device([&](const Stream& stream) {
      check_problem(problem);
      struct Batch {
        std::vector<int64_t> places;
        std::vector<SweepOption> options;
      };
      std::map<int32_t, Batch> by_rank;
      for (int64_t i = 0; i < count; ++i) {
        check_option(options[i]);
        Batch& batch = by_rank[options[i].rank];
        batch.places.push_back(i);
        batch.options.push_back(options[i]);
      }
      const Watch watch(control);
      MemoryNeed need{};
      for (const auto& [rank, batch] : by_rank) {
        const MemoryNeed of_batch = Engine::need(problem, batch.options);
        need = {std::max(need.least, of_batch.least), std::max(need.wanted, of_batch.wanted)};
      }
      const MemoryBudget::Share memory = budget_.take(need.least, need.wanted, watch);
      const DeviceProblem matrix(stream, problem);
      int64_t before = 0;
      for (const auto& [rank, batch] : by_rank) {
        std::vector<SweepCost> costs;
        Engine(stream, matrix, problem, batch.options, memory.bytes()).sweep(&costs, watch, [&](int done) {
          watch.progress(static_cast<double>(before + done), static_cast<double>(count));
        });
        for (size_t k = 0; k < batch.places.size(); ++k) out[batch.places[k]] = costs[k];
        before += static_cast<int64_t>(batch.places.size());
      }
    });
  }
  Status reconstruct(const QuantizedView& q, const float* l1, const float* l2, int64_t rows, int64_t cols, int32_t rank,
                     float* out, const Control& control) override {
    return on_device(
        [&](const Stream& stream) { cuda::reconstruct(stream, q, l1, l2, rows, cols, rank, out, Watch(control)); });
  }
  Status packed_product(const EncodedView& w, const float* l1, const float* l2, const float* x, int64_t tokens,
                        float* out, const Control& control) override {
    return on_device(
        [&](const Stream& stream) { cuda::packed_product(stream, w, l1, l2, x, tokens, out, Watch(control)); });
  }
  bool encodes(const EncodeProblem& problem, const EncodeOption& option) override {
    return cuda::encodes(problem, option);
  }
  Status encode_costs(const EncodeProblem& problem, const EncodeOption* options, int64_t count, bool predict,
                      EncodeCost* out, EncodeCost* norm, const Control& control) override {
    return on_device([&](const Stream& stream) {
      cuda::encode_costs(stream, budget_, problem, options, count, predict, out, norm, Watch(control));
    });
  }
  Status encode(const EncodeProblem& problem, EncodedView* out, float* l1, float* l2, EncodeCost* cost,
                const Control& control) override {
    return on_device(
        [&](const Stream& stream) { cuda::encode(stream, budget_, problem, out, l1, l2, cost, Watch(control)); });
  }
  Status decode(const EncodedView& e, const float* l1, const float* l2, float* out, const Control& control) override {
    return on_device([&](const Stream& stream) { cuda::decode(stream, e, l1, l2, out, Watch(control)); });
  }
  Status encoded_cost(const EncodeProblem&, const EncodedView&, const float*, const float*, EncodeCost*,
                      const Control&) override {
    return guarded([] { fail(StatusCode::unsupported, "stored encodings are measured by the device cpu"); });
  }
  Status create_language_model(const LanguageModelConfig& config, const WeightProvider& provider,
                               LanguageModel** out) override {
    return on_device([&](const Stream&) { *out = cuda::create_language_model(config, provider); });
  }

 private:
  // Each of the addon's worker threads must select the device for itself.
  template <typename Work>
  Status on_device(Work&& work) {
    return guarded([&] {
      check(cudaSetDevice(device_), "selecting the device");
      const Lanes::Lease lane(lanes_);
      work(lane.stream());
    });
  }

  const int device_;
  Lanes lanes_{kLanes};
  MemoryBudget budget_;
};

}  // namespace
}  // namespace lq::cuda

extern "C" {

// See lq/backend.h. A library built for another interface, a missing driver or device, and a device older than compute
// capability 8.0 are refused with a status that says so.
__attribute__((visibility("default"))) lq::Backend* lq_create_backend(int32_t abi, int32_t device, lq::Status* status) {
  lq::Backend* backend = nullptr;
  *status = lq::cuda::guarded([&] {
    using namespace lq;
    using namespace lq::cuda;
    if (abi != kBackendAbi) {
      fail(StatusCode::unsupported, "the CUDA library has interface %d and %d was asked for", kBackendAbi, abi);
    }
    int count = 0, major = 0, minor = 0;
    check(cudaGetDeviceCount(&count), "looking for CUDA devices");
    if (device < 0 || device >= count)
      fail(StatusCode::invalid_argument, "no CUDA device %d (there are %d)", device, count);
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "asking for the device");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "asking for the device");
    if (major < 8) fail(StatusCode::unsupported, "compute capability %d.%d is below 8.0", major, minor);
    check(cudaSetDevice(device), "selecting the device");
    backend = new CudaBackend(device);
  });
  return backend;
}

__attribute__((visibility("default"))) void lq_destroy_backend(lq::Backend* backend) { delete backend; }
}
