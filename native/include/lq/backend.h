// The interface every backend implements: CPU inside the addon, CUDA in a library loaded when there is a device.
//
// One object is one device. Calls block; the addon runs them on worker threads, as many at a time as the device has
// lanes (DeviceInfo), a language model's alone. Results do not depend on what runs beside them. Host pointers in, host
// pointers out: where the data lives in between is the backend's business.
// Errors are returned, never thrown across the boundary. Every op has a double-precision reference and a tolerance in
// test/contract, which runs the whole set on every backend.
#pragma once

#include "lq/encode.h"
#include "lq/language_model.h"
#include "lq/types.h"

namespace lq {

// Changes whenever a struct or a virtual function here changes; a library with another number is refused by name.
constexpr int32_t kBackendAbi = 6;

struct DeviceInfo {
  char name[128];        // "CPU (avx512, 2 threads)", "NVIDIA H200"
  char detail[256];      // BLAS, driver, compute capability
  int64_t memory_total;  // bytes the device has, 0 when unknown
  int64_t memory_free;
  int32_t lanes;  // calls that may run at once
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual void info(DeviceInfo* out) = 0;

  // Moments, extremes, NaN and Inf, histogram, row and column norms. progress: elements.
  virtual Status statistics(const MatrixView& m, const StatisticsRequest& request, Statistics* out,
                            const Control& control) = 0;
  // Down-sampled picture. progress: elements.
  virtual Status preview(const MatrixView& m, const PreviewRequest& request, const Control& control) = 0;
  // The `count` largest singular values, descending, exact to 1e-4 relative of the largest. The largest magnitude of
  // `m` should be near 1, so that squares stay within fp32: the addon sees to it. progress: arbitrary units.
  virtual Status singular_values(const MatrixView& m, int32_t count, uint64_t seed, double* out,
                                 const Control& control) = 0;

  // Quantises [rows*cols] weights. NaN or Inf is not_finite with its flat index. Fills q's buffers and q->offset.
  virtual Status quantize(const MatrixView& m, QuantizedView* q, const Control& control) = 0;
  // Inverse of the packed form, fp32 out [count].
  virtual Status dequantize(const QuantizedView& q, float* out, const Control& control) = 0;
  // Rank-r factors of D_row^-1 svd_r(D_row E D_col) D_col^-1, E fp32 [rows, cols]; null scales are 1.
  // Uses problem.row_scale, col_scale, oversampling, power_iterations, seed; problem.weight is E.
  virtual Status factorize(const LqProblem& problem, int32_t rank, float* l1, float* l2, const Control& control) = 0;
  // LQ iteration (paper Algorithm 2) under one option, keeping the best iterate.
  virtual Status decompose(const LqProblem& problem, const SweepOption& option, LqResult* out,
                           const Control& control) = 0;
  // The same for many options of one matrix, costs only. progress: options finished. Results do not depend on how many
  // options are asked for together beyond 0.5 %.
  virtual Status sweep(const LqProblem& problem, const SweepOption* options, int64_t count, SweepCost* out,
                       const Control& control) = 0;
  // Q + L1 L2 in fp32, [rows, cols]; l1 may be null when rank is 0.
  virtual Status reconstruct(const QuantizedView& q, const float* l1, const float* l2, int64_t rows, int64_t cols,
                             int32_t rank, float* out, const Control& control) = 0;
  // out [tokens, rows] = x [tokens, cols] W' for a matrix W in its packed form, x and out fp32; W is never held whole
  // by the caller. l1 [rows, rank] and l2 [rank, cols] may be null at rank 0. A backend may round x, x in the
  // coordinates of the transform, values, factors and x L2' to bf16: the error is then that of bf16 operands with fp32
  // sums, 3e-3 of the norm of out for random data. invalid_argument: a missing part, tokens < 1, a rank without
  // factors. unsupported: a block type of GGUF or EXL3's codes, on an accelerator.
  virtual Status packed_product(const EncodedView& w, const float* l1, const float* l2, const float* x, int64_t tokens,
                                float* out, const Control& control) = 0;

  // Whether this device encodes an option of a problem itself; where not, encode_costs and encode are unsupported.
  virtual bool encodes(const EncodeProblem& problem, const EncodeOption& option) = 0;
  // Costs of many options of one matrix (encode.h), which share its transform and the factors of its metric; `norm` is
  // what the whole target costs. With `predict` a cost that can be predicted within a few percent is not measured.
  // unsupported: an option that cannot be done, named, before anything is encoded. not_finite: a weight, with its flat
  // index. progress: options finished. A cost does not depend on what is asked for beside it, nor on threads.
  virtual Status encode_costs(const EncodeProblem& problem, const EncodeOption* options, int64_t count, bool predict,
                              EncodeCost* out, EncodeCost* norm, const Control& control) = 0;
  // Encodes under out->option into out's parts, l1 [rows, rank] and l2 [rank, cols] (null at rank 0). Deterministic for
  // a problem; the cost is the one encode_costs measures. progress: rows of columns encoded.
  virtual Status encode(const EncodeProblem& problem, EncodedView* out, float* l1, float* l2, EncodeCost* cost,
                        const Control& control) = 0;
  // The weight [rows, cols] in fp32, exactly as encode.h defines it. unsupported: a block type of GGUF or EXL3's codes,
  // on an accelerator.
  virtual Status decode(const EncodedView& e, const float* l1, const float* l2, float* out, const Control& control) = 0;
  // What an encoding costs under the problem's metric, against its target. Only the CPU has this.
  virtual Status encoded_cost(const EncodeProblem& problem, const EncodedView& e, const float* l1, const float* l2,
                              EncodeCost* cost, const Control& control) = 0;

  // A transformer on this device. The provider outlives the model. Free with destroy().
  virtual Status create_language_model(const LanguageModelConfig& config, const WeightProvider& provider,
                                       LanguageModel** out) = 0;
};

// Entry point of a backend library: `lq_create_backend`. `device` is the ordinal. Returns null and fills status on
// failure.
using CreateBackendFn = Backend* (*)(int32_t abi, int32_t device, Status* status);
using DestroyBackendFn = void (*)(Backend*);

// The CPU backend, always there. threads <= 0: all hardware threads.
Backend* create_cpu_backend(int32_t threads);

}  // namespace lq
