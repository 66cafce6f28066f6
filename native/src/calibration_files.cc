#include "calibration_files.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace lq {
namespace {

constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));

[[noreturn]] void never_asked(const char* what, const char* name, int32_t layer, int32_t expert,
                              const ByteRange& range) {
  const std::string of = expert == kNoExpert ? "" : " of expert " + std::to_string(expert);
  throw_error(StatusCode::invalid_argument,
              std::string("no ") + what + " of that size for " + name + of + " of layer " + std::to_string(layer),
              range.path);
}

// Scales the lower triangle of values [n, n] and mirrors it, in tiles that stay in the cache both ways.
void finish_moment(int64_t n, float scale, float* values) {
  constexpr int64_t kTile = 64;
  for (int64_t row = 0; row < n; row += kTile) {
    for (int64_t col = 0; col <= row; col += kTile) {
      for (int64_t i = row; i < std::min(row + kTile, n); ++i) {
        for (int64_t j = col; j < std::min(col + kTile, i + 1); ++j) {
          values[i * n + j] *= scale;
          values[j * n + i] = values[i * n + j];
        }
      }
    }
  }
}

}  // namespace

float* CalibrationFiles::map(Target* target, int64_t count) {
  if (target->file) return target->file->floats();
  if (target->range.bytes != count * kFloatBytes) return nullptr;
  try {
    target->file = std::make_unique<MappedFile>(target->range);
  } catch (const TaskFailure& error) {
    // The caller may be another library: the failure waits here.
    failure_ = error.outcome;
    return nullptr;
  }
  std::memset(target->file->floats(), 0, static_cast<size_t>(target->range.bytes));
  return target->file->floats();
}

CalibrationSink CalibrationFiles::sink() {
  CalibrationSink sink{this};
  sink.squares = [](void* user, int32_t layer, WeightKind kind, int32_t expert, int64_t rows, int64_t cols) -> float* {
    auto* self = static_cast<CalibrationFiles*>(user);
    self->columns_[{layer, kind, expert}] = cols;
    const auto found = self->squares_.find({layer, kind, expert});
    return found == self->squares_.end() ? nullptr : self->map(&found->second, rows * cols);
  };
  sink.row_squares = [](void* user, int32_t layer, WeightKind kind, int32_t expert, int64_t rows) -> double* {
    auto* self = static_cast<CalibrationFiles*>(user);
    const auto found = self->row_squares_.find({layer, kind, expert});
    if (found == self->row_squares_.end() || found->second.range.bytes != rows * kFloatBytes) return nullptr;
    found->second.sums.resize(static_cast<size_t>(rows));
    return found->second.sums.data();
  };
  sink.second_moment = [](void* user, int32_t layer, BlockInput input, int32_t expert, int64_t n) -> float* {
    auto* self = static_cast<CalibrationFiles*>(user);
    const auto found = self->moments_.find({layer, input, expert});
    return found == self->moments_.end() ? nullptr : self->map(&found->second, n * n);
  };
  return sink;
}

Control CalibrationFiles::watch(const Control& outer) {
  outer_ = &outer;
  return {this,
          [](void* user) {
            const auto* self = static_cast<const CalibrationFiles*>(user);
            return self->failure_.status.code != StatusCode::ok || self->outer_->cancelled(self->outer_->user);
          },
          [](void* user, double done, double total) {
            const Control& outer = *static_cast<const CalibrationFiles*>(user)->outer_;
            outer.progress(outer.user, done, total);
          }};
}

void CalibrationFiles::finish(const Status& status, int64_t samples, int64_t context) {
  if (failure_.status.code != StatusCode::ok) throw TaskFailure{failure_};
  if (status.code != StatusCode::ok) return;
  const float by_sample = 1.0f / static_cast<float>(samples);
  for (const auto& [place, target] : squares_) {
    if (!target.file) {
      never_asked("squared gradient", kKindNames[static_cast<size_t>(place.kind)], place.layer, place.expert,
                  target.range);
    }
    float* values = target.file->floats();
    std::transform(values, values + target.range.bytes / kFloatBytes, values, [&](float x) { return x * by_sample; });
  }
  for (const auto& [place, target] : row_squares_) {
    if (target.sums.empty()) {
      never_asked("squared gradient", kKindNames[static_cast<size_t>(place.kind)], place.layer, place.expert,
                  target.range);
    }
    const double scale = 1.0 / (static_cast<double>(samples) * static_cast<double>(columns_.at(place)));
    std::vector<float> means(target.sums.size());
    std::transform(target.sums.begin(), target.sums.end(), means.begin(),
                   [&](double x) { return static_cast<float>(x * scale); });
    write_bytes(target.range, means.data());
  }
  const float by_token = 1.0f / (static_cast<float>(samples) * static_cast<float>(context));
  for (const auto& [place, target] : moments_) {
    if (!target.file) {
      never_asked("second moment", kInputNames[static_cast<size_t>(place.input)], place.layer, place.expert,
                  target.range);
    }
    float* values = target.file->floats();
    const ByteRange& diagonal = diagonals_.at(place);
    const int64_t n = diagonal.bytes / kFloatBytes;
    if (n * n * kFloatBytes != target.range.bytes) {
      never_asked("diagonal", kInputNames[static_cast<size_t>(place.input)], place.layer, place.expert, diagonal);
    }
    finish_moment(n, by_token, values);
    std::vector<float> squares(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) squares[i] = values[i * (n + 1)];
    write_bytes(diagonal, squares.data());
  }
  squares_.clear();
  row_squares_.clear();
  moments_.clear();
}

}  // namespace lq
