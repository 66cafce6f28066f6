#include "lm/sums.h"

#include <algorithm>
#include <map>
#include <vector>

namespace lq::cuda {

namespace {

bool is_mlp(WeightKind kind) { return kind == WeightKind::gate || kind == WeightKind::up || kind == WeightKind::down; }
// An expert has an MLP's matrices and inputs alone.
bool has(const Place& place, WeightKind kind) { return place.expert == kNoExpert || is_mlp(kind); }
bool has(const Place& place, BlockInput input) {
  return place.expert == kNoExpert || input == BlockInput::mlp || input == BlockInput::down;
}

}  // namespace

HostSums HostSums::ask(const CalibrationSink& sink, const Shape& whole, const Place& place) {
  const Shape shape = whole.at(place);
  HostSums out;
  std::map<WeightKind, size_t> first;  // part of each stored matrix
  for (size_t i = 0; i < kMatrices.size(); ++i) {
    if (!has(place, kMatrices[i]) || shape.count(kMatrices[i]) == 0) continue;
    const WeightKind stored = lm::stored_in(shape.config, kMatrices[i]);
    const auto [at, is_first] = first.try_emplace(stored, i);
    if (!is_first) {
      out.squares[i] = out.squares[at->second];
      out.row_squares[i] = out.row_squares[at->second];
      continue;
    }
    const int64_t cols = shape.placement(kMatrices[i]).cols, rows = shape.stored_count(stored) / cols;
    if (sink.squares != nullptr)
      out.squares[i] = sink.squares(sink.user, place.layer, stored, place.expert, rows, cols);
    if (sink.row_squares != nullptr) {
      out.row_squares[i] = sink.row_squares(sink.user, place.layer, stored, place.expert, rows);
    }
  }
  for (size_t i = 0; i < kInputs.size(); ++i) {
    if (sink.second_moment == nullptr || !has(place, kInputs[i])) continue;
    const int64_t n = shape.moment_placement(kInputs[i]).rows;
    if (n > 0) out.moments[i] = sink.second_moment(sink.user, place.layer, kInputs[i], place.expert, n);
  }
  if (place.expert != kNoExpert || !whole.traits(place.layer).routed) return out;
  for (int32_t e = 0; e < whole.config.moe.experts; ++e) out.experts.push_back(ask(sink, whole, {place.layer, e}));
  return out;
}

bool HostSums::any_gradient() const {
  for (size_t i = 0; i < kMatrices.size(); ++i) {
    if (gradient(i)) return true;
  }
  return std::any_of(experts.begin(), experts.end(), [](const HostSums& e) { return e.any_gradient(); });
}

int64_t HostSums::bytes(const Shape& whole, const Place& place) const {
  const Shape shape = whole.at(place);
  int64_t sum = 0;
  for (size_t i = 0; i < kMatrices.size(); ++i) {
    if (gradient(i)) sum += shape.placement(kMatrices[i]).padded_bytes();
  }
  for (size_t i = 0; i < kInputs.size(); ++i) {
    if (moments[i] != nullptr) sum += shape.moment_placement(kInputs[i]).padded_bytes();
  }
  for (size_t e = 0; e < experts.size(); ++e) sum += experts[e].bytes(whole, {place.layer, static_cast<int32_t>(e)});
  return sum;
}

DeviceSums::DeviceSums(const Stream& stream, const Shape& whole, const Place& place, const HostSums& wanted) {
  const Shape shape = whole.at(place);
  const auto room_for = [&](const Placement& p) {
    DeviceBuffer<float> buffer(stream, p.padded_rows() * p.padded_cols());
    buffer.clear();
    return buffer;
  };
  for (size_t i = 0; i < kMatrices.size(); ++i) {
    if (wanted.gradient(i)) squares_[i] = room_for(shape.placement(kMatrices[i]));
  }
  for (size_t i = 0; i < kInputs.size(); ++i) {
    if (wanted.moments[i] != nullptr) moments_[i] = room_for(shape.moment_placement(kInputs[i]));
  }
  for (size_t e = 0; e < wanted.experts.size(); ++e) {
    experts_.push_back(DeviceSums(stream, whole, {place.layer, static_cast<int32_t>(e)}, wanted.experts[e]));
  }
}

Accumulators DeviceSums::own_squares() const {
  Accumulators out{};
  for (size_t i = 0; i < kMatrices.size(); ++i) out[i] = squares_[i].get();
  return out;
}

BlockAccumulators DeviceSums::squares() const {
  BlockAccumulators out;
  out.own = own_squares();
  for (const DeviceSums& expert : experts_) out.experts.push_back(expert.own_squares());
  return out;
}

void DeviceSums::add_moments(const BatchContext& b, const LayerTraits& traits, const BlockState& s) const {
  const Shape shape = b.shape.of(traits);
  const Planes* inputs[] = {&s.normed, &s.attended, &s.middle_normed, &s.act};
  for (size_t i = 0; i < kInputs.size(); ++i) {
    if (moments_[i].get() == nullptr) continue;
    const int64_t n = shape.moment_placement(kInputs[i]).padded_cols();
    const Operand x = inputs[i]->operand(n);
    b.products.add_moments(x, x, n, n, b.rows(), moments_[i].get());
  }
  const Shape of_expert = b.shape.of_expert();
  for (size_t e = 0; e < experts_.size(); ++e) {
    const int64_t first = (*s.experts.begin)[e], count = (*s.experts.begin)[e + 1] - first;
    const auto add = [&](BlockInput input, const Planes& from) {
      float* to = experts_[e].moments_[static_cast<size_t>(input)].get();
      if (to == nullptr || count == 0) return;
      const int64_t n = of_expert.moment_placement(input).padded_cols();
      const Operand x = from.operand(n).from_row(first);
      b.products.add_moments(x, x, n, n, count, to);
    };
    add(BlockInput::mlp, s.experts.x);
    add(BlockInput::down, s.experts.act);
  }
}

void DeviceSums::add_to(const Stream& stream, const Shape& whole, const Place& place, const HostSums& host) {
  const Shape shape = whole.at(place);
  for (size_t i = 0; i < kMatrices.size(); ++i) {
    if (!host.gradient(i)) continue;
    const Placement p = shape.placement(kMatrices[i]);
    const lm::RowRuns to = lm::rows_in(shape.config, kMatrices[i], p.rows);
    if (host.squares[i] != nullptr) add_to_host(stream, squares_[i].get(), p, to, host.squares[i]);
    if (host.row_squares[i] != nullptr) {
      std::vector<float> values(static_cast<size_t>(p.rows * p.cols));
      add_to_host(stream, squares_[i].get(), p, {0, p.rows, p.rows, 1}, values.data());
      for (int64_t row = 0; row < p.rows; ++row) {
        double sum = 0;
        for (int64_t col = 0; col < p.cols; ++col) sum += values[row * p.cols + col];
        host.row_squares[i][to.at(row)] += sum;
      }
    }
    squares_[i] = {};
  }
  for (size_t i = 0; i < kInputs.size(); ++i) {
    if (host.moments[i] == nullptr) continue;
    const Placement p = shape.moment_placement(kInputs[i]);
    add_to_host(stream, moments_[i].get(), p, {0, p.rows, p.rows, 1}, host.moments[i]);
    moments_[i] = {};
  }
  for (size_t e = 0; e < experts_.size(); ++e) {
    experts_[e].add_to(stream, whole, {place.layer, static_cast<int32_t>(e)}, host.experts[e]);
  }
}

}  // namespace lq::cuda
