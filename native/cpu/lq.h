// LQ iteration (arXiv 2311.12023, Algorithm 2): L1, L2 = factorise(W - Q); Q = quantise(W - L1 L2); keep the best.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "kernels/kernels.h"
#include "lq/types.h"
#include "prepared.h"
#include "quantizer.h"
#include "thin_svd.h"

namespace lq::cpu {

// What all options of one matrix share. The problem outlives it.
class LqMatrix {
 public:
  LqMatrix(const LqProblem& problem, const Control& control);

  const LqProblem& problem;
  const Control& control;
  FloatRows weight;
  int64_t rows, cols, count;

  // Block absmaxes of values [rows, cols] given panel by panel: those of W itself.
  void weight_absmax(int32_t block, std::vector<float>& out) const;
  bool stopped() const { return is_stopped_ || (is_stopped_ = polled()); }

 private:
  bool polled() const;
  mutable std::atomic<bool> is_stopped_ = false;
};

// Factors of one iterate. `basis` lets the next factorisation start from this one's subspace; null when exact.
struct Factors {
  int64_t rank = 0;
  std::vector<float> l1, l2;
  std::unique_ptr<ThinSvd> basis;
};

// Rank-r factors of the matrix `values` [rows, cols]. False when LAPACK failed or the call was cancelled.
Status factorize_rows(const FloatRows& values, const LqProblem& problem, int64_t rank, Factors* out,
                      const Control& control);

// One option being iterated. Holds one fp32 matrix of scratch, kept from option to option.
class LqRun {
 public:
  explicit LqRun(const LqMatrix& matrix) : matrix_(matrix) { scales_.exponent = matrix.problem.exponent; }

  // Iterates from `start` (factors of W, or of an earlier W - Q) and reports the best iterate. `trace` may be null.
  Status run(const SweepOption& option, const BookTable& table, const Factors& start, double* trace, SweepCost* cost);
  // Weighted error of quantising W alone; `absmax` as from weight_absmax.
  QuantizeError quantized(const SweepOption& option, const BookTable& table, const std::vector<float>& absmax);
  // Factors of the best iterate of the last run.
  const Factors& best() const { return best_; }
  Factors take_best() { return std::move(best_); }
  // Packs quantise(W - best), the Q of that iterate.
  Status store(const SweepOption& option, const BookTable& table, QuantizedView* out);

 private:
  void residual_pass(const SweepOption& option, const Factors* factors);
  QuantizeError quantize_pass(const SweepOption& option, const BookTable& table, bool factorize);

  const LqMatrix& matrix_;
  std::vector<float> buffer_;  // R = W - L1 L2, then E = W - Q
  BlockScales scales_;
  Factors current_, best_;
};

}  // namespace lq::cpu
