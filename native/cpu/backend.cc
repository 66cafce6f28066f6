// The CPU as a backend: a thin list of the ops in this folder.
#include "lq/backend.h"

#include <unistd.h>

#include <cstdio>
#include <exception>
#include <new>

#include "blas.h"
#include "decompose.h"
#include "encode/encode.h"
#include "kernels/kernels.h"
#include "lm/model.h"
#include "packed_product.h"
#include "quantize.h"
#include "singular_values.h"
#include "statistics.h"
#include "status.h"
#include "threads.h"

namespace lq {
namespace {

using namespace cpu;

// No exception crosses the interface.
template <typename Fn>
Status guarded(const Fn& fn) {
  try {
    return fn();
  } catch (const std::bad_alloc&) {
    return error(StatusCode::out_of_memory, -1, "not enough memory");
  } catch (const std::exception& e) {
    return error(StatusCode::internal, -1, "%s", e.what());
  }
}

// Reads a matrix that is already in memory.
auto in_memory(const MatrixView& m) {
  return [base = static_cast<const char*>(m.data)](int64_t offset, int64_t, void*, Status*) -> const void* {
    return base + offset;
  };
}

class CpuBackend final : public Backend {
 public:
  void info(DeviceInfo* out) override {
    std::snprintf(out->name, sizeof out->name, "CPU (%s, %d thread%s)", kernels().name, threads(),
                  threads() == 1 ? "" : "s");
    std::snprintf(out->detail, sizeof out->detail, "%s", blas_description());
    const int64_t page = sysconf(_SC_PAGESIZE);
    out->memory_total = page * sysconf(_SC_PHYS_PAGES);
    out->memory_free = page * sysconf(_SC_AVPHYS_PAGES);
    // Every op uses all threads by itself, and memory is promised by the matrix.
    out->lanes = 1;
  }

  Status statistics(const MatrixView& m, const StatisticsRequest& request, Statistics* out,
                    const Control& control) override {
    const auto read = in_memory(m);
    return guarded([&] { return cpu::statistics({m.dtype, m.rows, m.cols, read}, request, out, control); });
  }
  Status preview(const MatrixView& m, const PreviewRequest& request, const Control& control) override {
    const auto read = in_memory(m);
    return guarded([&] { return cpu::preview({m.dtype, m.rows, m.cols, read}, request, control); });
  }
  Status singular_values(const MatrixView& m, int32_t count, uint64_t seed, double* out,
                         const Control& control) override {
    return guarded([&] { return cpu::singular_values(m, count, seed, out, control); });
  }
  Status quantize(const MatrixView& m, QuantizedView* q, const Control& control) override {
    return guarded([&] { return cpu::quantize(m, q, control); });
  }
  Status dequantize(const QuantizedView& q, float* out, const Control& control) override {
    return guarded([&] { return cpu::dequantize(q, out, control); });
  }
  Status factorize(const LqProblem& problem, int32_t rank, float* l1, float* l2, const Control& control) override {
    return guarded([&] { return cpu::factorize(problem, rank, l1, l2, control); });
  }
  Status decompose(const LqProblem& problem, const SweepOption& option, LqResult* out,
                   const Control& control) override {
    return guarded([&] { return cpu::decompose(problem, option, out, control); });
  }
  Status sweep(const LqProblem& problem, const SweepOption* options, int64_t count, SweepCost* out,
               const Control& control) override {
    return guarded([&] { return cpu::sweep(problem, options, count, out, control); });
  }
  Status reconstruct(const QuantizedView& q, const float* l1, const float* l2, int64_t rows, int64_t cols, int32_t rank,
                     float* out, const Control& control) override {
    return guarded([&] { return cpu::reconstruct(q, l1, l2, rows, cols, rank, out, control); });
  }
  Status packed_product(const EncodedView& w, const float* l1, const float* l2, const float* x, int64_t tokens,
                        float* out, const Control& control) override {
    return guarded([&] { return cpu::packed_product(w, l1, l2, x, tokens, out, control); });
  }
  bool encodes(const EncodeProblem&, const EncodeOption&) override { return true; }
  Status encode_costs(const EncodeProblem& problem, const EncodeOption* options, int64_t count, bool predict,
                      EncodeCost* out, EncodeCost* norm, const Control& control) override {
    return guarded([&] { return cpu::encode_costs(problem, options, count, predict, out, norm, control); });
  }
  Status encode(const EncodeProblem& problem, EncodedView* out, float* l1, float* l2, EncodeCost* cost,
                const Control& control) override {
    return guarded([&] { return cpu::encode(problem, out, l1, l2, cost, control); });
  }
  Status decode(const EncodedView& e, const float* l1, const float* l2, float* out, const Control& control) override {
    return guarded([&] { return cpu::decode(e, l1, l2, out, control); });
  }
  Status encoded_cost(const EncodeProblem& problem, const EncodedView& e, const float* l1, const float* l2,
                      EncodeCost* cost, const Control& control) override {
    return guarded([&] { return cpu::encoded_cost(problem, e, l1, l2, cost, control); });
  }
  Status create_language_model(const LanguageModelConfig& config, const WeightProvider& provider,
                               LanguageModel** out) override {
    return guarded([&] { return lm::create_language_model(config, provider, out); });
  }
};

}  // namespace

Backend* create_cpu_backend(int32_t threads) {
  set_threads(threads);
  return new CpuBackend();
}

}  // namespace lq
