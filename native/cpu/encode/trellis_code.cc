#include "encode/trellis_code.h"

#include <algorithm>
#include <cmath>

#include "encode/kernels.h"

namespace lq::cpu {

TrellisCode::TrellisCode(const EncodeOption& option) : states_(option.states) {
  const size_t count = size_t{1} << states_;
  const size_t lanes = static_cast<size_t>(encode_kernels().lanes);
  for (int32_t which = 0; which < option.step; ++which) {
    Step& step = steps_[which];
    step.bits = step_bits(option, which);
    if (which == 1 && step.bits == steps_[0].bits) break;
    const std::vector<float> values = trellis_values(states_, step.bits);
    step.values.resize(count);
    for (uint32_t s = 0; s < count; ++s) step.values[s] = values[reverse_bits(s, states_)];
    step.interleaved.resize(count);
    const size_t copies = std::min(lanes, size_t{1} << step.bits), groups = lanes / copies;
    for (size_t at = 0; at < count; ++at) {
      const size_t lane = at % lanes;
      step.interleaved[at] = step.values[at - lane + lane % groups * copies + lane / groups];
    }
    for (const float v : values) largest_ = std::max(largest_, std::abs(v));
  }
}

}  // namespace lq::cpu
