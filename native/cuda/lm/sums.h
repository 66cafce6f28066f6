// What a calibration sums for one block, on the device, and where it goes on the host.
#pragma once

#include <array>
#include <vector>

#include "lm/block.h"

namespace lq::cuda {

// Host arrays that a sink wants added to, in the orders of kMatrices and kInputs; null skips one. Parts of a fused
// matrix have the array of that, each its own rows of it.
struct HostSums {
  std::array<float*, kMatrices.size()> squares{};
  std::array<double*, kMatrices.size()> row_squares{};
  std::array<float*, kInputs.size()> moments{};
  std::vector<HostSums> experts;  // of a routed block

  // Of a block with its experts, or of one expert.
  static HostSums ask(const CalibrationSink& sink, const Shape& shape, const Place& place);
  bool gradient(size_t matrix) const { return squares[matrix] != nullptr || row_squares[matrix] != nullptr; }
  bool any_gradient() const;
  // Of device memory.
  int64_t bytes(const Shape& shape, const Place& place) const;
};

// The same in padded device memory, zero at first.
class DeviceSums {
 public:
  DeviceSums(const Stream& stream, const Shape& shape, const Place& place, const HostSums& wanted);
  BlockAccumulators squares() const;
  // Adds the second moments of the inputs that forward_block left in `state`.
  void add_moments(const BatchContext& batch, const LayerTraits& traits, const BlockState& state) const;
  // Adds to the host's arrays and lets go of device memory.
  void add_to(const Stream& stream, const Shape& shape, const Place& place, const HostSums& host);

 private:
  Accumulators own_squares() const;

  std::array<DeviceBuffer<float>, kMatrices.size()> squares_;
  std::array<DeviceBuffer<float>, kInputs.size()> moments_;
  std::vector<DeviceSums> experts_;
};

}  // namespace lq::cuda
