// The transform of the inputs: with M = blockdiag(Hadamard_b / sqrt(b)) diag(factors), w = y M, and what y M costs
// under H y costs under H' = M H M'.
#pragma once

#include <cstdint>
#include <vector>

#include "lq/encode.h"

namespace lq::cpu {

class Rotation {
 public:
  // Factors are signs drawn from the seed, blocks the largest power of two that divides the columns and is at most 512.
  Rotation(int64_t cols, uint64_t seed);
  // Any factors, one a column; a column of factor 0 is 0. `block` divides their number.
  Rotation(std::vector<float> factors, int64_t block);

  int64_t block() const { return block_; }
  // Whether it keeps sums of squares.
  bool is_orthonormal() const { return is_orthonormal_; }
  // A row of w to a row of y, in place.
  void forward(float* row) const;
  // A row of y to a row of w, in place, exactly as lq/encode.h orders it.
  void inverse(float* row) const;
  // H to M H M', in place; a [cols, cols].
  void both_sides(double* a) const;

 private:
  int64_t cols_, block_;
  bool is_orthonormal_;
  float scale_;
  std::vector<float> factors_, into_;  // into_: scale_ over the factors
};

// The sign of column j that a seed draws, as lq/encode.h has it.
float drawn_sign(uint64_t seed, int64_t j);

}  // namespace lq::cpu
