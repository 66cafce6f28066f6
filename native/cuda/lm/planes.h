// How activations lie in device memory. What feeds a product is planes (lm/product.h): bf16, or bf16 and what it cannot
// hold. What a product leaves is a "value" array: fp32 when activations have two planes, bf16 when they have one. The
// residual stream is fp32. Rows are dense at their padded width (lm/shape.h).
#pragma once

#include "lm/product.h"

namespace lq::cuda {

// A device array in planes that a stage writes.
struct Planes {
  uint16_t* data;
  int64_t plane;  // elements from one plane to the next
  int count;

  Operand operand(int64_t stride) const { return {data, stride, plane, count}; }
};

}  // namespace lq::cuda
