#include "encode/trellis_code.h"

#include <algorithm>
#include <cmath>

#include "encode/exl3.h"
#include "encode/kernels.h"

namespace lq::cpu {
namespace {

// By reversed state.
std::vector<float> values_of(const EncodeOption& option, int32_t bits) {
  // EXL3's states have their newest bit lowest as they are.
  if (option.grid == GridKind::exl3) return exl3_values(option.exl3_code);
  const std::vector<float> values = trellis_values(option.states, bits);
  std::vector<float> reversed(values.size());
  for (uint32_t s = 0; s < values.size(); ++s) reversed[s] = values[reverse_bits(s, option.states)];
  return reversed;
}

// What a target of root mean square 1 is divided by. By K, for values of root mean square 1: of least error on a unit
// Gaussian.
float exl3_unit(int32_t bits, const std::vector<float>& values) {
  constexpr double kUnits[] = {0.98, 1.03, 1.06, 1.12, 1.2, 1.25, 1.33, 1.38};
  double squares = 0;
  for (const float v : values) squares += static_cast<double>(v) * static_cast<double>(v);
  return static_cast<float>(kUnits[bits - 1] / std::sqrt(squares / static_cast<double>(values.size())));
}

}  // namespace

TrellisCode::TrellisCode(const EncodeOption& option) : states_(option.states) {
  const size_t count = size_t{1} << states_;
  const size_t lanes = static_cast<size_t>(encode_kernels().lanes);
  for (int32_t which = 0; which < option.step; ++which) {
    Step& step = steps_[which];
    step.bits = step_bits(option, which);
    if (which == 1 && step.bits == steps_[0].bits) break;
    step.values = values_of(option, step.bits);
    step.interleaved.resize(count);
    const size_t copies = std::min(lanes, size_t{1} << step.bits), groups = lanes / copies;
    for (size_t at = 0; at < count; ++at) {
      const size_t lane = at % lanes;
      step.interleaved[at] = step.values[at - lane + lane % groups * copies + lane / groups];
    }
    for (const float v : step.values) largest_ = std::max(largest_, std::abs(v));
  }
  if (option.grid == GridKind::exl3) unit_ = exl3_unit(option.bits, steps_[0].values);
}

}  // namespace lq::cpu
