// Scales of groups and rows of a scalar grid, from the targets that are rounded under them.
#pragma once

#include <cstdint>

#include "encode/grid.h"
#include "lq/encode.h"

namespace lq::cpu {

struct GroupScale {
  float scale;   // in units of the targets, as it will be stored
  uint8_t zero;  // the code of 0, where the option has one
};

// Of n targets x, in units of `multiplier` of the weight's: that of their absmax or range, or, where the option's are
// searched, the one of least error under `weight`, what an error of each costs. `grid` may be unmade while a book is
// fitted, whose levels end at 1.
GroupScale group_scale_of(const EncodeOption& option, const Grid& grid, float multiplier, const float* x,
                          const float* weight, int64_t n);

}  // namespace lq::cpu
