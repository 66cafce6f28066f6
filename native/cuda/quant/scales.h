// Two-level block scales: block absmax -> offset (minimum over the tensor), group maxima, integer scales, decoded
// scales. Several tensors (slots) in one launch; every reduction is a minimum or a maximum, so the order does not
// matter.
#pragma once

#include "lq/types.h"
#include "quant/live.h"
#include "runtime/memory.h"

namespace lq::cuda {

// The scale levels of one tensor in device memory.
struct ScaleSlot {
  float* scales;      // [blocks]: absmax in, decoded scale out
  uint32_t* minimum;  // bits of the smallest absmax (non-negative floats order as their bits)
  uint8_t* codes;     // [blocks] integer scales, or null
  float* groups;      // [groups] group maxima as they are stored, or null
  int64_t blocks;
  int32_t bits;           // b1
  int32_t group;          // B1
  ScaleDtype type;        // b2
  int32_t exponent;       // group maxima are stored times 2^exponent
  int32_t find_minimum;   // 0: the kernel that found the absmax found the minimum too
  const int32_t* active;  // device flag, 0: nothing to do; null: always active
};

// Turns absmax into decoded scales for the live slots. `max_blocks` and `max_groups` bound every slot's; `any_minimum`
// says that some slot wants its minimum found.
void launch_scales(const Stream& stream, const ScaleSlot* slots, const LiveSlots& live, int64_t max_blocks,
                   int64_t max_groups, bool any_minimum);

}  // namespace lq::cuda
