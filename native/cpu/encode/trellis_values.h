// The values of a trellis code, as lq/encode.h defines them. Needs nothing of the CPU backend: the CUDA backend
// compiles it too.
#pragma once

#include <cstdint>
#include <vector>

#include "lq/encode.h"

namespace lq::cpu {

// Phi^-1(p) for 0 < p < 1: PPND16 of M. J. Wichura, Algorithm AS 241 (1988).
double inverse_normal(double p);

// value(state) of a step that takes `bits` new bits, for all 2^states states.
std::vector<float> trellis_values(int32_t states, int32_t bits);

// The lowest `bits` bits of x in reverse order.
constexpr uint32_t reverse_bits(uint32_t x, int32_t bits) {
  uint32_t out = 0;
  for (int32_t i = 0; i < bits; ++i) out |= ((x >> i) & 1u) << (bits - 1 - i);
  return out;
}

// Bits that step t of a trellis takes.
constexpr int32_t step_bits(const EncodeOption& o, int64_t t) {
  return static_cast<int32_t>(trellis_end(o, t) - trellis_end(o, t - 1));
}

// Row scales are this many root mean squares of their row before they are refitted: a little room for what feedback
// adds and for tails heavier than a Gaussian's. Found on tiny-books-4m: none at 1 bit, 5 % at 2, 8 % from 3 on.
double scale_margin(const EncodeOption& option);

// Tiles of 256 unit Gaussian numbers, always the same, that errors of codes are measured on.
constexpr int64_t kSampleTiles = 96;
std::vector<float> gaussian_sample();

}  // namespace lq::cpu
