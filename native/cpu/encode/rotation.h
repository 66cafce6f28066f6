// The transform of the inputs: R = blockdiag(Hadamard_b / sqrt(b)) diag(signs), so that y = w R' and H' = R H R'.
#pragma once

#include <cstdint>
#include <vector>

#include "lq/encode.h"

namespace lq::cpu {

class Rotation {
 public:
  Rotation(int64_t cols, uint64_t seed);

  int64_t block() const { return block_; }
  // A row of w to a row of y, in place.
  void forward(float* row) const;
  // A row of y to a row of w, in place, exactly as lq/encode.h orders it.
  void inverse(float* row) const;
  // H to R H R', in place; a [cols, cols].
  void both_sides(double* a) const;

 private:
  int64_t cols_, block_;
  float scale_;
  std::vector<float> signs_;
};

}  // namespace lq::cpu
