// Two-level NormalFloat codes made dense, for products of many tokens.
#pragma once

#include "lm/shape.h"
#include "lq/types.h"
#include "runtime/memory.h"

namespace lq::cuda {

// Q as in QuantizedView, in device memory; every array can be read in whole words, one beyond its last byte.
struct TwoLevelCodes {
  const uint8_t* codes;
  const uint32_t* scales;
  const uint32_t* groups;
  const float* levels;  // [2^b0]
  QuantConfig config;
  float offset;
};

// out [padded_rows, padded_cols] = Q in planes, one after the other.
void expand_two_level(const Stream& stream, const TwoLevelCodes& codes, const Placement& placement, int planes,
                      uint16_t* out);

}  // namespace lq::cuda
