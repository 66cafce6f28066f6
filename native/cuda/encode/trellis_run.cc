#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>

#include "encode/fields.h"
#include "encode/linear.h"
#include "encode/rows.h"
#include "encode/runs.h"
#include "encode/trellis_values.h"
#include "encode/viterbi.h"

namespace lq::cuda {
namespace {

// Mean squared error of a code for a unit Gaussian.
double gaussian_error(const Stream& stream, const EncodeOption& option) {
  static std::mutex mutex;
  static std::map<std::tuple<int32_t, int32_t, int32_t, bool>, double> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const std::tuple key{option.bits, option.step, option.states, option.tail_biting};
  if (const auto found = known.find(key); found != known.end()) return found->second;
  const std::vector<float> sample = cpu::gaussian_sample();
  const int64_t rows = static_cast<int64_t>(sample.size()) / kTileSide;
  const DeviceCode code(stream, option);
  DeviceBuffer<float> y(stream, rows * kTileSide), scales(stream, rows), values(stream, y.size()),
      error(stream, y.size());
  DeviceBuffer<uint32_t> starts(stream, tiles_along(rows));
  const std::vector<float> ones(static_cast<size_t>(rows), 1.0f);
  y.upload(sample.data(), y.size());
  scales.upload(ones.data(), rows);
  encode_tiles(stream, code, {rows, kTileSide, y.get(), scales.get(), values.get(), error.get(), nullptr, starts.get()},
               y.get(), kTileSide, 0, 0, nullptr);
  std::vector<float> e(sample.size());
  error.download(e.data(), y.size());
  double squares = 0, errors = 0;
  for (size_t i = 0; i < e.size(); ++i) {
    squares += static_cast<double>(sample[i]) * static_cast<double>(sample[i]);
    errors += static_cast<double>(e[i]) * static_cast<double>(e[i]);
  }
  return known[key] = errors / squares;
}

}  // namespace

EncodeCost run_trellis(const Problem& p, const EncodeOption& option, const EncodeTarget& target, float* error_out,
                       const EncodedView* out) {
  const Space& space = p.space(option.transform);
  const Stream& stream = p.stream;
  const int64_t rows = p.rows, cols = p.cols;
  const DeviceCode code(stream, option);
  DeviceBuffer<float> scales(stream, rows), values(stream, rows * cols), error(stream, rows * cols),
      wide(stream, rows * kWide);
  DeviceBuffer<uint32_t> starts(stream, tiles_along(rows) * tiles_along(cols));
  DeviceBuffer<uint8_t> codes(stream, out != nullptr ? part_bytes(option, rows, cols, EncodedPart::codes) : 0);
  row_scales(stream, target.y, rows, cols, cpu::scale_margin(option), scales.get());
  const TileMatrix matrix{rows, cols, target.y, scales.get(), values.get(), error.get(), codes.get(), starts.get()};
  const float* n = option.rounding == Rounding::nearest ? nullptr : space.by_tile.get();
  for (int64_t at = 0; at < cols; at += kWide) {
    p.watch.poll();
    const int64_t width = std::min(kWide, cols - at);
    p.bring_columns(target.y, at, width, error.get(), n, wide.get(), kWide);
    for (int64_t o = 0; o < width; o += kTileSide) encode_tiles(stream, code, matrix, wide.get(), kWide, at, o, n);
  }
  DeviceBuffer<float> vh(stream, space.has_h ? rows * cols : 0);
  if (space.has_h) {
    encode_product(stream, rows, cols, cols, values.get(), cols, space.h.get(), cols, 1.0f, false, vh.get(), cols);
  }
  DeviceBuffer<double> costs(stream, rows), squares(stream, rows);
  refit_scales(stream, target.y, target.yh, values.get(), vh.get(), p.fisher(), rows, cols, scales.get(), costs.get(),
               squares.get());
  EncodeCost cost = p.cost_of(costs, squares);
  if (error_out != nullptr || p.fisher() != nullptr) {
    float* errors = error_out != nullptr ? error_out : error.get();
    scaled_errors(stream, target.y, values.get(), scales.get(), rows, cols, errors);
    if (p.fisher() != nullptr) cost = p.measure(space, errors, nullptr);
  }
  if (out == nullptr) return cost;
  const auto part = [&](EncodedPart which) { return out->parts[static_cast<size_t>(which)]; };
  codes.download(part(EncodedPart::codes), codes.size());
  std::vector<float> host(static_cast<size_t>(rows));
  scales.download(host.data(), rows);
  for (int64_t i = 0; i < rows; ++i) {
    const uint16_t bits = __half_as_ushort(__float2half_rn(host[static_cast<size_t>(i)]));
    std::memcpy(part(EncodedPart::row_scales) + 2 * i, &bits, 2);
  }
  std::memcpy(part(EncodedPart::multiplier), &p.multiplier, 4);
  std::vector<uint32_t> fields(static_cast<size_t>(starts.size()));
  starts.download(fields.data(), starts.size());
  uint8_t* stored = part(EncodedPart::starts);
  if (stored == nullptr) return cost;
  std::fill_n(stored, part_bytes(option, rows, cols, EncodedPart::starts), uint8_t{0});
  for (size_t i = 0; i < fields.size(); ++i) {
    cpu::store_field(stored, static_cast<int64_t>(i), static_cast<int32_t>(start_bits(option)), fields[i]);
  }
  return cost;
}

EncodeCost predict_trellis(const Problem& p, const EncodeOption& option, double weighted_squares) {
  const Space& space = p.space(option.transform);
  const bool feeds = option.rounding != Rounding::nearest && space.has_h;
  const double error = gaussian_error(p.stream, option);
  const double trace = feeds ? space.trace : static_cast<double>(p.cols);
  const double raised = feeds ? 1 + error * space.variance : 1;
  return {p.unit * p.metric_scale * error * raised * weighted_squares * trace / static_cast<double>(p.cols), 0, false};
}

}  // namespace lq::cuda
