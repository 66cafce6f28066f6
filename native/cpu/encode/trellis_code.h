// The values of a trellis code (lq/encode.h defines them), in the orders encoder and decoder want.
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

// A code ready for the Viterbi search, which turns every state around (the newest bit lowest) so that the states that
// follow one another's bits are neighbours.
class TrellisCode {
 public:
  explicit TrellisCode(const EncodeOption& option);

  struct Step {
    int32_t bits = 0;                // new bits of the step
    std::vector<float> values;       // by reversed state
    std::vector<float> interleaved;  // the same in the order the search reads them, see kernels.inl
  };
  const Step& step(int32_t bits) const { return bits == steps_[0].bits ? steps_[0] : steps_[1]; }
  int32_t states() const { return states_; }
  // The largest magnitude among the values.
  float largest() const { return largest_; }

 private:
  int32_t states_;
  float largest_ = 0;
  Step steps_[2];
};

}  // namespace lq::cpu
