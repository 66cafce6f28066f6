// Reading packed fields on the device.
#pragma once

#include <cstdint>

namespace lq::cuda {

// Bits [bit, bit + 32) of an array that has a word beyond the last it uses.
__device__ inline uint32_t word_at(const uint32_t* words, int64_t bit) {
  const uint32_t* from = words + bit / 32;
  return __funnelshift_r(from[0], from[1], static_cast<uint32_t>(bit % 32));
}

}  // namespace lq::cuda
