// Rows of an encoded matrix put together, a few at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "encode/grid.h"
#include "encode/rotation.h"
#include "lq/encode.h"

namespace lq::cpu {

class RowDecoder {
 public:
  // The view and the factors, which may be null at rank 0, have passed check() and outlive this.
  RowDecoder(const EncodedView& e, const float* l1, const float* l2);
  // invalid_argument: a missing part or factor; and what is wrong with the option.
  static Status check(const EncodedView& e, const float* l1, const float* l2);

  // Ranges of rows begin at multiples of this.
  int64_t step() const;
  // out [end - begin, cols] = rows [begin, end) of the weight, bit by bit as lq/encode.h orders its operations. May be
  // called from several threads at once.
  void rows(int64_t begin, int64_t end, float* out) const;

 private:
  const EncodedView e_;
  const float *l1_, *l2_;
  std::vector<float> values_[2];  // of a trellis code
  Grid grid_{};
  std::vector<float> block_scales_, group_scales_;
  float multiplier_ = 1;
  Rotation rotation_;
};

}  // namespace lq::cpu
