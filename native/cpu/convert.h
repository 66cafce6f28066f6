// Stored elements to fp32.
#pragma once

#include "lq/types.h"

namespace lq::cpu {

// Converts n elements starting at element `begin`. 64-bit types are rounded to the nearest float; booleans are 0 and 1.
void to_float(const void* data, Dtype dtype, int64_t begin, int64_t n, float* out);

// Nearest, ties to even. NaN and infinities stay; a finite value beyond the type's largest becomes that, not infinity.
uint16_t to_bf16(float x);
uint16_t to_f16(float x);
float from_bf16(uint16_t x);
float from_f16(uint16_t x);

}  // namespace lq::cpu
