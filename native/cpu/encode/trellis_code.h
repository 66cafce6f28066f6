// A trellis code's values in the order the encoder wants.
#pragma once

#include <cstdint>
#include <vector>

#include "encode/trellis_values.h"
#include "lq/encode.h"

namespace lq::cpu {

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
  // Root mean square of a target in units of the values that is encoded best: 1 over it is what a target of 1 is
  // divided by. 1 for our own code, whose row scales have a margin of their own.
  float unit() const { return unit_; }
  // The largest magnitude among the values.
  float largest() const { return largest_; }

 private:
  int32_t states_;
  float largest_ = 0, unit_ = 1;
  Step steps_[2];
};

}  // namespace lq::cpu
