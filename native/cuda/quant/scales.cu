#include <algorithm>

#include "quant/scales.cuh"
#include "quant/scales.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 16;  // threads that share a group
constexpr int kGroupsPerCta = kThreads / kLanes;
constexpr int64_t kMostCtas = 256;    // of a slot
constexpr int kMinimumBlocks = 4096;  // absmax values a CTA of the minimum reads

__global__ void __launch_bounds__(kThreads) minimum_kernel(const ScaleSlot* slots, const LiveSlots live) {
  const ScaleSlot slot = slots[live.slot[blockIdx.x % live.count]];
  if (slot.find_minimum == 0 || (slot.active != nullptr && *slot.active == 0)) return;
  const int64_t first = static_cast<int64_t>(blockIdx.x / live.count) * kMinimumBlocks;
  uint32_t smallest = 0x7f800000u;
  for (int64_t i = first + threadIdx.x; i < min(first + kMinimumBlocks, slot.blocks); i += kThreads) {
    smallest = min(smallest, __float_as_uint(slot.scales[i]));
  }
  smallest = __reduce_min_sync(0xffffffffu, smallest);
  if (threadIdx.x % 32 == 0 && smallest != 0x7f800000u) atomicMin(slot.minimum, smallest);
}

__global__ void __launch_bounds__(kThreads) scales_kernel(const ScaleSlot* slots, const LiveSlots live) {
  const ScaleSlot slot = slots[live.slot[blockIdx.x % live.count]];
  if (slot.active != nullptr && *slot.active == 0) return;
  const int lane = threadIdx.x % kLanes;
  const float offset = __uint_as_float(*slot.minimum);
  const float levels = static_cast<float>((1 << slot.bits) - 1);
  const int64_t groups = (slot.blocks + slot.group - 1) / slot.group;
  const int64_t stride = static_cast<int64_t>(gridDim.x / live.count) * kGroupsPerCta;
  // All lanes of a warp stay in the loop together for the shuffles.
  for (int64_t base = static_cast<int64_t>(blockIdx.x / live.count) * kGroupsPerCta; base < groups; base += stride) {
    const int64_t group = base + threadIdx.x / kLanes;
    const int64_t first = group * slot.group;
    const int64_t end = min(first + slot.group, slot.blocks);
    float largest = 0.0f;
    for (int64_t i = first + lane; i < end; i += kLanes) largest = fmaxf(largest, slot.scales[i]);
    for (int step = kLanes / 2; step > 0; step /= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
    }
    // Subtraction rounds monotonically, so the largest excess is that of the largest absmax.
    const float stored = cast_scale(ldexpf(__fsub_rn(largest, offset), slot.exponent), slot.type);
    const float group_max = ldexpf(stored, -slot.exponent);
    if (slot.groups != nullptr && lane == 0 && group < groups) slot.groups[group] = stored;
    for (int64_t i = first + lane; i < end; i += kLanes) {
      const float code = scale_code(__fsub_rn(slot.scales[i], offset), group_max, levels);
      if (slot.codes != nullptr) slot.codes[i] = static_cast<uint8_t>(code);
      slot.scales[i] = decoded_scale(offset, code, group_max, levels);
    }
  }
}

}  // namespace

void launch_scales(const Stream& stream, const ScaleSlot* slots, const LiveSlots& live, int64_t max_blocks,
                   int64_t max_groups, bool any_minimum) {
  if (any_minimum) {
    const auto grid = static_cast<unsigned>(ceil_div(max_blocks, kMinimumBlocks) * live.count);
    minimum_kernel<<<grid, kThreads, 0, stream.get()>>>(slots, live);
    check_launch("minimum of the block scales");
  }
  const auto grid = static_cast<unsigned>(std::min(ceil_div(max_groups, kGroupsPerCta), kMostCtas) * live.count);
  scales_kernel<<<grid, kThreads, 0, stream.get()>>>(slots, live);
  check_launch("two-level block scales");
}

}  // namespace lq::cuda
