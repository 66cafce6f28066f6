#include "quant/trellis_tables.h"

#include <bit>
#include <vector>

#include "encode/trellis_values.h"

namespace lq::cuda {
namespace {

// To the nearest, ties to even; values are finite.
uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace

std::shared_ptr<const TrellisTable> TrellisTables::of(const Stream& stream, const EncodeOption& o) {
  std::shared_ptr<const TrellisTable>& known = tables_[{o.bits, o.step, o.states}];
  if (known) return known;
  auto table = std::make_shared<TrellisTable>();
  std::vector<float> values;
  for (int32_t which = 0; which < o.step; ++which) {
    const std::vector<float> own = cpu::trellis_values(o.states, cpu::step_bits(o, which));
    values.insert(values.end(), own.begin(), own.end());
  }
  std::vector<uint16_t> rounded;
  for (const float v : values) rounded.push_back(to_bf16(v));
  const auto count = static_cast<int64_t>(values.size());
  table->values = DeviceBuffer<float>(stream, count);
  table->rounded = DeviceBuffer<uint16_t>(stream, count);
  table->values.upload(values.data(), count);
  table->rounded.upload(rounded.data(), count);
  stream.synchronize();  // the host's arrays go before the copies would
  return known = std::move(table);
}

}  // namespace lq::cuda
