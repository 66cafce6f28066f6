#include "lm/sums.h"

#include <map>
#include <vector>

namespace lq::cuda {

HostSums HostSums::ask(const CalibrationSink& sink, const Shape& shape, int32_t layer) {
  HostSums out;
  std::map<WeightKind, size_t> first;  // part of each stored matrix
  for (size_t i = 0; i < kMatrices.size(); ++i) {
    if (shape.count(kMatrices[i]) == 0) continue;
    const WeightKind stored = lm::stored_in(shape.config, kMatrices[i]);
    const auto [at, is_first] = first.try_emplace(stored, i);
    if (!is_first) {
      out.squares[i] = out.squares[at->second];
      out.row_squares[i] = out.row_squares[at->second];
      continue;
    }
    const int64_t cols = shape.placement(kMatrices[i]).cols, rows = shape.stored_count(stored) / cols;
    if (sink.squares != nullptr) out.squares[i] = sink.squares(sink.user, layer, stored, kNoExpert, rows, cols);
    if (sink.row_squares != nullptr) out.row_squares[i] = sink.row_squares(sink.user, layer, stored, kNoExpert, rows);
  }
  for (size_t i = 0; i < kInputs.size(); ++i) {
    if (sink.second_moment == nullptr) continue;
    const int64_t n = shape.moment_placement(kInputs[i]).rows;
    out.moments[i] = sink.second_moment(sink.user, layer, kInputs[i], kNoExpert, n);
  }
  return out;
}

bool HostSums::any_gradient() const {
  for (size_t i = 0; i < kMatrices.size(); ++i) {
    if (gradient(i)) return true;
  }
  return false;
}

int64_t HostSums::bytes(const Shape& shape) const {
  int64_t sum = 0;
  for (size_t i = 0; i < kMatrices.size(); ++i) {
    if (gradient(i)) sum += shape.placement(kMatrices[i]).padded_bytes();
  }
  for (size_t i = 0; i < kInputs.size(); ++i) {
    if (moments[i] != nullptr) sum += shape.moment_placement(kInputs[i]).padded_bytes();
  }
  return sum;
}

DeviceSums::DeviceSums(const Stream& stream, const Shape& shape, const HostSums& wanted) {
  const auto place = [&](const Placement& p) {
    DeviceBuffer<float> buffer(stream, p.padded_rows() * p.padded_cols());
    buffer.clear();
    return buffer;
  };
  for (size_t i = 0; i < kMatrices.size(); ++i) {
    if (wanted.gradient(i)) squares_[i] = place(shape.placement(kMatrices[i]));
  }
  for (size_t i = 0; i < kInputs.size(); ++i) {
    if (wanted.moments[i] != nullptr) moments_[i] = place(shape.moment_placement(kInputs[i]));
  }
}

Accumulators DeviceSums::squares() const {
  Accumulators out{};
  for (size_t i = 0; i < kMatrices.size(); ++i) out[i] = squares_[i].get();
  return out;
}

void DeviceSums::add_moments(const BatchContext& b, const BlockState& s) const {
  const Planes* inputs[] = {&s.normed, &s.attended, &s.middle_normed, &s.act};
  for (size_t i = 0; i < kInputs.size(); ++i) {
    if (moments_[i].get() == nullptr) continue;
    const int64_t n = b.shape.moment_placement(kInputs[i]).padded_cols();
    const Operand x = inputs[i]->operand(n);
    b.products.add_moments(x, x, n, n, b.rows(), moments_[i].get());
  }
}

void DeviceSums::add_to(const Stream& stream, const Shape& shape, const HostSums& host) {
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
}

}  // namespace lq::cuda
