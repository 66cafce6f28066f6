// Values of trellis codes on the device: lq/encode.h.
#pragma once

#include <map>
#include <memory>
#include <tuple>

#include "lq/encode.h"
#include "runtime/memory.h"

namespace lq::cuda {

struct TrellisTable {
  // By state, for the steps t of which t % V is 0, then for those of which it is 1.
  DeviceBuffer<float> values;      // [V][2^L], exact
  DeviceBuffer<uint16_t> rounded;  // the same in bf16
};

// The tables of the codes in use on a stream.
class TrellisTables {
 public:
  std::shared_ptr<const TrellisTable> of(const Stream& stream, const EncodeOption& option);

 private:
  std::map<std::tuple<int32_t, int32_t, int32_t>, std::shared_ptr<const TrellisTable>> tables_;
};

}  // namespace lq::cuda
