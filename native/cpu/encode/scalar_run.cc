// Scalar grids: nearest rounding, column-wise feedback (GPTQ, arXiv 2210.17323, in the form of LDLQ, arXiv 2307.13304)
// and cyclic coordinate descent (LNQ of GuidedQuant, arXiv 2505.07004).
#include <algorithm>
#include <cmath>

#include "blas.h"
#include "encode/book.h"
#include "encode/fields.h"
#include "encode/grid.h"
#include "encode/kernels.h"
#include "encode/run.h"
#include "encode/scalar_scales.h"
#include "quantizer.h"
#include "threads.h"

namespace lq::cpu {
namespace {

// Columns that meet the feedback of the columns before them as one product, where no group decides.
constexpr int64_t kWide = 128;
// Columns that are rounded one after the other between products.
constexpr int64_t kChunk = 32;
constexpr int32_t kSweeps = 4;  // of coordinate descent, LNQ's number

class ScalarRun final : public EncodeRun {
 public:
  ScalarRun(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& out, float* error)
      : EncodeRun(matrix),
        space_(matrix.space(out.option.transform)),
        target_(target),
        out_(out),
        option_(out.option),
        error_(error),
        groups_(groups_a_row(out.option, matrix.cols)) {}

  void begin() override {
    if (option_.scales == ScaleKind::two_level) {
      grid_ = option_.grid == GridKind::fitted ? make_grid(levels_of(first_book(option_.bits)))
                                               : make_grid(levels_of(option_));
      two_level_scales();
    } else {
      scales_.resize(static_cast<size_t>(matrix_.rows * groups_));
      zeros_.resize(scales_.size());
    }
    grid_ = option_.grid == GridKind::fitted ? fitted_grid() : make_grid(levels_of(option_));
    if (option_.scales == ScaleKind::searched) column_weights();
  }

  void panel(int64_t p) override {
    if (matrix_.stopped()) return;
    const int64_t cols = matrix_.cols, row = p * kPanelRows, count = std::min(kPanelRows, matrix_.rows - row);
    const size_t size = static_cast<size_t>(count * cols);
    Panel panel{row,
                count,
                target_.target + row * cols,
                std::vector<float>(size),
                std::vector<float>(size),
                std::vector<uint8_t>(size)};
    round(panel);
    std::vector<float> eh(space_.h.empty() ? 0 : size);
    if (!space_.h.empty()) {
      sgemm(false, false, count, cols, cols, 1, panel.error.data(), cols, space_.h.data(), cols, 0, eh.data(), cols);
      if (option_.rounding == Rounding::descent) descend(panel, eh);
    }
    uint8_t* codes = out_.parts[static_cast<size_t>(EncodedPart::codes)];
    if (codes != nullptr) {
      // Panels are multiples of 8 weights, so that no two share a byte.
      pack_fields(panel.codes.data(), count * cols, option_.bits, codes + row * cols * option_.bits / 8);
    }
    if (error_ != nullptr) std::copy(panel.error.begin(), panel.error.end(), error_ + row * cols);
    matrix_.add_cost(space_, row, count, panel.error.data(), eh.data(), &costs_[static_cast<size_t>(p)]);
  }

  void finish() override {
    const auto part = [&](EncodedPart p) { return out_.parts[static_cast<size_t>(p)]; };
    if (part(EncodedPart::codes) == nullptr) return;
    for (size_t j = 0; j < space_.column_scale.size(); ++j) {
      store_f16(part(EncodedPart::input_scales), static_cast<int64_t>(j), space_.column_scale[j]);
    }
    if (option_.grid == GridKind::fitted) {
      for (int32_t i = 0; i < (1 << option_.bits); ++i) {
        const uint16_t bits = to_bf16(grid_.table.levels[i]);
        std::memcpy(part(EncodedPart::book) + 2 * i, &bits, 2);
      }
    }
    if (option_.scales == ScaleKind::two_level) {
      pack_fields(blocks_.k.data(), static_cast<int64_t>(blocks_.k.size()), option_.config.b1,
                  part(EncodedPart::scales));
      store_groups(blocks_.v, option_.config.b2, part(EncodedPart::groups));
      std::memcpy(part(EncodedPart::offset), &blocks_.offset, 4);
      return;
    }
    if (option_.scales == ScaleKind::searched) {
      std::vector<float> stored(scales_);
      for (float& s : stored) s *= matrix_.multiplier;
      store_groups(stored, option_.scale_type, part(EncodedPart::group_scales));
      return;
    }
    uint8_t* scales = part(option_.scales == ScaleKind::group ? EncodedPart::group_scales : EncodedPart::row_scales);
    for (size_t i = 0; i < scales_.size(); ++i) store_f16(scales, static_cast<int64_t>(i), scales_[i]);
    std::memcpy(part(EncodedPart::multiplier), &matrix_.multiplier, 4);
    if (part(EncodedPart::group_zeros) != nullptr) {
      pack_fields(zeros_.data(), static_cast<int64_t>(zeros_.size()), option_.bits, part(EncodedPart::group_zeros));
    }
  }

 private:
  struct Panel {
    int64_t row, count;
    const float* target;         // [count, cols]
    std::vector<float> value;    // as decoded
    std::vector<float> error;    // target - value
    std::vector<uint8_t> codes;  // one a byte
  };

  // A few columns of 16 rows, one row a lane.
  struct Lanes {
    float target[kChunk][kTileSide], original[kChunk][kTileSide];
    float scale[kChunk][kTileSide], inverse[kChunk][kTileSide];
    float value[kChunk][kTileSide], error[kChunk][kTileSide];
    float low[kTileSide], high[kTileSide];
    uint8_t index[kChunk][kTileSide];
  };

  // From the whole target, in the units of the weight; decoded scales in those of the target.
  void two_level_scales() {
    const int64_t n = matrix_.rows * matrix_.cols, block = option_.config.block;
    const float unit = matrix_.multiplier;
    blocks_.resize(option_.config, n, true);
    parallel_for(0, block_count(option_.config, n), 4096, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        float largest = 0;
        for (int64_t j = i * block; j < std::min(n, (i + 1) * block); ++j) {
          largest = std::max(largest, std::abs(target_.target[j]));
        }
        blocks_.absmax[static_cast<size_t>(i)] = largest * unit / grid_.top;
      }
    });
    blocks_.compute(option_.config, blocks_.absmax.data(), true);
    for (float& s : blocks_.decoded) s /= unit;
    for (float& s : blocks_.inverse) s *= unit;
  }

  // The book of least weighted error for the target and the scales it would have without feedback.
  Grid fitted_grid() {
    const int64_t cols = matrix_.cols;
    const Metric& metric = matrix_.problem.metric;
    const bool elementwise = metric.kind == MetricKind::fisher && space_.h.empty();
    BookFit fit(matrix_.panels());
    parallel_for(0, matrix_.panels(), 1, [&](int64_t p, int64_t) {
      std::vector<float> values(static_cast<size_t>(cols)), weights(values.size());
      for (int64_t i = p * kPanelRows; i < std::min(matrix_.rows, (p + 1) * kPanelRows); ++i) {
        const float* y = target_.target + i * cols;
        if (option_.scales != ScaleKind::two_level) {
          for (int64_t g = 0; g < groups_; ++g) group_scale(i, g, y + group_begin(g));
        }
        for (int64_t j = 0; j < cols; ++j) {
          const float s = scale_of(i, j);
          const double f = elementwise        ? static_cast<double>(metric.fisher[i * cols + j])
                           : space_.h.empty() ? 1.0
                                              : static_cast<double>(space_.h[static_cast<size_t>(j * cols + j)]);
          values[static_cast<size_t>(j)] = s > 0 ? y[j] / s : 0;
          weights[static_cast<size_t>(j)] = static_cast<float>(f * matrix_.row_weights[static_cast<size_t>(i)] *
                                                               static_cast<double>(s) * static_cast<double>(s));
        }
        fit.add(p, values.data(), weights.data(), cols);
      }
    });
    return make_grid(levels_of(fit.book(first_book(option_.bits))));
  }

  int64_t group_begin(int64_t g) const { return has_groups(option_) ? g * option_.group : 0; }
  int64_t group_end(int64_t g) const {
    return has_groups(option_) ? std::min(matrix_.cols, (g + 1) * option_.group) : matrix_.cols;
  }

  void group_scale(int64_t row, int64_t g, const float* x) {
    const int64_t n = group_end(g) - group_begin(g);
    const size_t at = static_cast<size_t>(row * groups_ + g);
    const float* weight = weights_.empty() ? nullptr : weights_.data() + group_begin(g);
    const GroupScale found = group_scale_of(option_, grid_, matrix_.multiplier, x, weight, n);
    scales_[at] = found.scale;
    zeros_[at] = found.zero;
  }

  // What an error of a column costs: after feedback its conditional share of the metric.
  void column_weights() {
    if (option_.rounding != Rounding::nearest && !space_.column_weight.empty()) {
      weights_ = space_.column_weight;
      return;
    }
    weights_.assign(static_cast<size_t>(matrix_.cols), 1.0f);
    for (int64_t j = 0; j < matrix_.cols && !space_.h.empty(); ++j) {
      weights_[static_cast<size_t>(j)] = space_.h[static_cast<size_t>(j * matrix_.cols + j)];
    }
  }

  // Scales of a group of columns from where the columns before it, and nothing of its own, have moved its targets:
  // `target` has the feedback of the columns before it on the rest staying as they are, and here they follow.
  void group_scales(const Panel& panel, int64_t at, int64_t width, const std::vector<float>& target, const float* n) {
    const int64_t cols = matrix_.cols;
    std::vector<float> moved(target.begin(), target.begin() + panel.count * width);
    if (n != nullptr && at > 0) {
      for (int64_t i = 0; i < panel.count; ++i) {
        for (int64_t j = 0; j < width; ++j)
          moved[static_cast<size_t>(i * width + j)] -= panel.target[i * cols + at + j];
      }
      solve_unit_upper(panel.count, width, n + at * cols + at, cols, moved.data(), width);
      for (int64_t i = 0; i < panel.count; ++i) {
        for (int64_t j = 0; j < width; ++j)
          moved[static_cast<size_t>(i * width + j)] += panel.target[i * cols + at + j];
      }
    }
    for (int64_t i = 0; i < panel.count; ++i) group_scale(panel.row + i, at / option_.group, moved.data() + i * width);
  }

  float scale_of(int64_t row, int64_t col) const {
    if (option_.scales == ScaleKind::two_level) {
      return blocks_.decoded[static_cast<size_t>((row * matrix_.cols + col) / option_.config.block)];
    }
    return scales_[static_cast<size_t>(row * groups_ + (has_groups(option_) ? col / option_.group : 0))];
  }

  // Every column once, with feedback from those before it when the option has it.
  void round(Panel& panel) {
    const int64_t cols = matrix_.cols;
    const float* n =
        option_.rounding == Rounding::nearest || space_.by_column.empty() ? nullptr : space_.by_column.data();
    if (option_.scales == ScaleKind::row) {
      for (int64_t i = 0; i < panel.count; ++i) group_scale(panel.row + i, 0, panel.target + i * cols);
    }
    const int64_t wide = has_groups(option_) ? option_.group : kWide;
    std::vector<float> target(static_cast<size_t>(panel.count * std::min(wide, cols)));
    for (int64_t at = 0; at < cols && !matrix_.stopped(); at += wide) {
      const int64_t width = std::min(wide, cols - at);
      for (int64_t i = 0; i < panel.count; ++i) {
        std::copy_n(panel.target + i * cols + at, width, target.data() + i * width);
      }
      if (n != nullptr && at > 0) {
        sgemm(false, false, panel.count, width, at, 1, panel.error.data(), cols, n + at, cols, 1, target.data(), width);
      }
      if (has_groups(option_)) group_scales(panel, at, width, target, n);
      for (int64_t o = 0; o < width; o += kChunk) {
        const int64_t extent = std::min(kChunk, width - o);
        if (n != nullptr && o > 0) {
          sgemm(false, false, panel.count, extent, o, 1, panel.error.data() + at, cols, n + at * cols + at + o, cols, 1,
                target.data() + o, width);
        }
        for (int64_t i = 0; i < panel.count; i += kTileSide) {
          round_lanes(panel, i, at + o, extent, target.data() + i * width + o, width,
                      n != nullptr ? n + (at + o) * cols + at + o : nullptr);
        }
      }
    }
  }

  void fill_scales(const Panel& panel, int64_t i, int64_t col, int64_t width, Lanes& lanes) const {
    const int64_t height = std::min(kTileSide, panel.count - i);
    for (int64_t c = 0; c < width; ++c) {
      for (int64_t r = 0; r < kTileSide; ++r) {
        const float s = r < height ? scale_of(panel.row + i + r, col + c) : 0;
        lanes.scale[c][r] = s;
        lanes.inverse[c][r] = s != 0 ? 1 / s : 0;
      }
    }
    for (int64_t r = 0; r < kTileSide; ++r) {
      // A chunk lies within one group.
      const size_t group =
          static_cast<size_t>((panel.row + i + r) * groups_ + (has_groups(option_) ? col / option_.group : 0));
      const float zero = !option_.symmetric && r < height && grid_.integers ? static_cast<float>(zeros_[group]) : 0;
      lanes.low[r] = static_cast<float>(grid_.low) - zero;
      lanes.high[r] = static_cast<float>(grid_.high) - zero;
    }
  }

  RoundArgs arguments(Lanes& lanes, int64_t width, const float* feedback) const {
    return {&lanes.target[0][0], &lanes.original[0][0], feedback,           matrix_.cols,      width,
            &lanes.scale[0][0],  &lanes.inverse[0][0],  grid_.integers,     lanes.low,         lanes.high,
            &grid_.table,        &lanes.value[0][0],    &lanes.error[0][0], &lanes.index[0][0]};
  }

  void store_lanes(Panel& panel, int64_t i, int64_t col, int64_t width, const Lanes& lanes) const {
    const int64_t height = std::min(kTileSide, panel.count - i);
    for (int64_t r = 0; r < height; ++r) {
      const size_t at = static_cast<size_t>((i + r) * matrix_.cols + col);
      for (int64_t c = 0; c < width; ++c) {
        panel.value[at + static_cast<size_t>(c)] = lanes.value[c][r];
        panel.error[at + static_cast<size_t>(c)] = lanes.error[c][r];
        const uint8_t index = lanes.index[c][r];
        panel.codes[at + static_cast<size_t>(c)] = grid_.integers ? index : grid_.codes[index];
      }
    }
  }

  void round_lanes(Panel& panel, int64_t i, int64_t col, int64_t width, const float* target, int64_t ld,
                   const float* feedback) const {
    const int64_t height = std::min(kTileSide, panel.count - i);
    Lanes lanes{};
    for (int64_t c = 0; c < width; ++c) {
      for (int64_t r = 0; r < height; ++r) {
        lanes.target[c][r] = target[r * ld + c];
        lanes.original[c][r] = panel.target[(i + r) * matrix_.cols + col + c];
      }
    }
    fill_scales(panel, i, col, width, lanes);
    encode_kernels().round(arguments(lanes, width, feedback));
    store_lanes(panel, i, col, width, lanes);
  }

  // Every code in turn to the level nearest to what the others leave for it; eh, the errors times h, is kept up to
  // date.
  void descend(Panel& panel, std::vector<float>& eh) {
    const int64_t cols = matrix_.cols;
    std::vector<float> change(static_cast<size_t>(panel.count * kChunk));
    for (int32_t sweep = 0; sweep < kSweeps; ++sweep) {
      bool moved = false;
      for (int64_t at = 0; at < cols && !matrix_.stopped(); at += chunk_width(at)) {
        const int64_t width = chunk_width(at);
        bool here = false;
        for (int64_t i = 0; i < panel.count; i += kTileSide) {
          here |= descend_lanes(panel, i, at, width, eh, change.data() + i * width);
        }
        if (!here) continue;
        moved = true;
        sgemm(false, false, panel.count, cols, width, -1, change.data(), width, space_.h.data() + at * cols, cols, 1,
              eh.data(), cols);
      }
      if (!moved) break;
    }
  }

  // Columns of a chunk that starts at `at`: chunks do not straddle groups.
  int64_t chunk_width(int64_t at) const {
    const int64_t end = has_groups(option_) ? group_end(at / option_.group) : matrix_.cols;
    return std::min(kChunk, end - at);
  }

  // One chunk of 16 rows; `change` [rows, width] receives by how much the values grew.
  bool descend_lanes(Panel& panel, int64_t i, int64_t col, int64_t width, const std::vector<float>& eh,
                     float* change) const {
    const int64_t cols = matrix_.cols, height = std::min(kTileSide, panel.count - i);
    Lanes lanes{};
    for (int64_t c = 0; c < width; ++c) {
      for (int64_t r = 0; r < height; ++r) {
        const size_t at = static_cast<size_t>((i + r) * cols + col + c);
        lanes.target[c][r] = eh[at];
        lanes.original[c][r] = panel.target[at];
        lanes.value[c][r] = panel.value[at];
        lanes.error[c][r] = panel.error[at];
      }
    }
    fill_scales(panel, i, col, width, lanes);
    const bool moved = encode_kernels().descend(arguments(lanes, width, space_.h.data() + col * cols + col));
    for (int64_t r = 0; r < height; ++r) {
      for (int64_t c = 0; c < width; ++c) {
        change[r * width + c] = lanes.value[c][r] - panel.value[static_cast<size_t>((i + r) * cols + col + c)];
      }
    }
    if (moved) store_lanes(panel, i, col, width, lanes);
    return moved;
  }

  const EncodeSpace& space_;
  const EncodeTarget target_;
  const EncodedView out_;
  const EncodeOption option_;
  float* const error_;
  const int64_t groups_;
  Grid grid_;
  BlockScales blocks_;          // two-level
  std::vector<float> scales_;   // group and row, [rows, groups]
  std::vector<uint8_t> zeros_;  // the same
  std::vector<float> weights_;  // searched scales: of columns
};

}  // namespace

std::unique_ptr<EncodeRun> make_scalar_run(const EncodeMatrix& matrix, const EncodeTarget& target,
                                           const EncodedView& out, float* error) {
  return std::make_unique<ScalarRun>(matrix, target, out, error);
}

}  // namespace lq::cpu
