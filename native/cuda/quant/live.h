// Which slots a launch works on, passed by value: the first grid dimension interleaves them, so that what they share
// (the weights) is read by neighbours in time and found in the cache.
#pragma once

#include <cstdint>

namespace lq::cuda {

constexpr int kMaxSlots = 128;

struct LiveSlots {
  int32_t count;
  uint8_t slot[kMaxSlots];
};

}  // namespace lq::cuda
