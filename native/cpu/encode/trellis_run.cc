// Trellis codes with feedback by blocks of 16 columns (LDLQ, arXiv 2307.13304; QTIP, arXiv 2406.11235), and row scales
// fitted to the codes at the end.
#include <algorithm>
#include <cmath>

#include "blas.h"
#include "encode/fields.h"
#include "encode/kernels.h"
#include "encode/run.h"
#include "encode/tile_coder.h"
#include "encode/tile_feedback.h"

namespace lq::cpu {
namespace {

class TrellisRun final : public EncodeRun {
 public:
  TrellisRun(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& out, float* error)
      : EncodeRun(matrix),
        space_(matrix.space(out.option.transform)),
        target_(target),
        out_(out),
        error_(error),
        code_(out.option),
        row_scales_(static_cast<size_t>(matrix.rows)),
        starts_(static_cast<size_t>(tiles_along(matrix.rows) * tiles_along(matrix.cols))) {}

  void panel(int64_t p) override {
    if (matrix_.stopped()) return;
    const int64_t cols = matrix_.cols, row = p * kPanelRows, count = std::min(kPanelRows, matrix_.rows - row);
    const size_t size = static_cast<size_t>(count * cols);
    Panel panel{row, count, target_.target + row * cols, std::vector<float>(size), std::vector<float>(size), {}};
    scale(panel);
    encode(panel);
    refit(panel);
  }

  void finish() override {
    uint8_t* scales = out_.parts[static_cast<size_t>(EncodedPart::row_scales)];
    uint8_t* starts = out_.parts[static_cast<size_t>(EncodedPart::starts)];
    if (scales == nullptr) return;
    for (int64_t i = 0; i < matrix_.rows; ++i) store_f16(scales, i, row_scales_[static_cast<size_t>(i)]);
    std::memcpy(out_.parts[static_cast<size_t>(EncodedPart::multiplier)], &matrix_.multiplier, 4);
    if (starts == nullptr) return;
    const int32_t bits = static_cast<int32_t>(start_bits(out_.option));
    std::fill_n(starts, part_bytes(out_.option, matrix_.rows, matrix_.cols, EncodedPart::starts), uint8_t{0});
    for (size_t i = 0; i < starts_.size(); ++i) store_field(starts, static_cast<int64_t>(i), bits, starts_[i]);
  }

 private:
  struct Panel {
    int64_t row, count;
    const float* target;               // [count, cols]
    std::vector<float> error, values;  // [count, cols]; values in units of the row scales
    float scales[kPanelRows];
  };

  // Root mean square of the target and its margin, in the type it is stored in.
  void scale(Panel& panel) const {
    for (int64_t i = 0; i < panel.count; ++i) {
      const float* y = panel.target + i * matrix_.cols;
      const double mean = encode_kernels().dot(y, y, matrix_.cols) / static_cast<double>(matrix_.cols);
      panel.scales[i] = from_f16(to_f16(static_cast<float>(scale_margin(out_.option) * std::sqrt(mean))));
    }
  }

  void encode(Panel& panel) {
    const float* n =
        out_.option.rounding == Rounding::nearest || space_.by_tile.empty() ? nullptr : space_.by_tile.data();
    TileCoder coder(out_.option, code_);
    encode_tiles(matrix_, n, panel.count, panel.target, panel.error.data(),
                 [&](int64_t i, int64_t col, int64_t width, const float* target, int64_t ld) {
                   tile(panel, coder, i, col, width, target, ld);
                 });
  }

  void tile(Panel& panel, TileCoder& coder, int64_t i, int64_t col, int64_t width, const float* target, int64_t ld) {
    const int64_t cols = matrix_.cols, height = std::min(kTileSide, panel.count - i);
    float sequence[kTileSide * kTileSide], values[kTileSide * kTileSide];
    for (int64_t r = 0; r < height; ++r) {
      const float s = panel.scales[i + r], inverse = s > 0 ? 1 / s : 0;
      for (int64_t c = 0; c < width; ++c) sequence[r * width + c] = target[r * ld + c] * inverse;
    }
    coder.encode(sequence, height * width, values);
    for (int64_t r = 0; r < height; ++r) {
      const int64_t at = (i + r) * cols + col;
      for (int64_t c = 0; c < width; ++c) {
        const size_t k = static_cast<size_t>(at + c);
        panel.values[k] = values[r * width + c];
        panel.error[k] = panel.target[k] - panel.values[k] * panel.scales[i + r];
      }
    }
    const int64_t row_tile = (panel.row + i) / kTileSide, col_tile = col / kTileSide;
    starts_[static_cast<size_t>(row_tile * tiles_along(cols) + col_tile)] = coder.start();
    uint8_t* codes = out_.parts[static_cast<size_t>(EncodedPart::codes)];
    if (codes != nullptr) {
      coder.write_codes(codes + tile_offset(out_.option, matrix_.rows, cols, row_tile, col_tile) / 8);
    }
  }

  // Row scales s = (y H v') / (v H v') for the values v that were found, and the errors under them.
  void refit(Panel& panel) {
    const int64_t cols = matrix_.cols, at = panel.row * cols;
    const EncodeKernels& k = encode_kernels();
    const bool has_h = !space_.h.empty();
    const float* f =
        !has_h && matrix_.problem.metric.kind == MetricKind::fisher ? matrix_.problem.metric.fisher + at : nullptr;
    std::vector<float> vh;  // v h, then the errors times h
    if (has_h) {
      vh.resize(panel.values.size());
      sgemm(false, false, panel.count, cols, cols, 1, panel.values.data(), cols, space_.h.data(), cols, 0, vh.data(),
            cols);
    }
    std::vector<float> weighted(f != nullptr ? static_cast<size_t>(cols) : 0);
    for (int64_t i = 0; i < panel.count; ++i) {
      const float *y = panel.target + i * cols, *v = panel.values.data() + i * cols;
      const float* against = has_h ? vh.data() + i * cols : v;
      if (f != nullptr) {
        for (int64_t j = 0; j < cols; ++j) weighted[static_cast<size_t>(j)] = f[i * cols + j] * v[j];
        against = weighted.data();
      }
      const double vv = k.dot(v, against, cols), yv = k.dot(y, against, cols);
      // Where no error of the row costs anything the scale of its target stays.
      float s = panel.scales[i];
      if (s > 0 && vv > 0) s = from_f16(to_f16(static_cast<float>(std::clamp(yv / vv, 0.0, 65504.0))));
      row_scales_[static_cast<size_t>(panel.row + i)] = s;
      float* e = panel.error.data() + i * cols;
      for (int64_t j = 0; j < cols; ++j) e[j] = y[j] - s * v[j];
      if (has_h) {
        float* eh = vh.data() + i * cols;
        const float* yh = target_.target_h + at + i * cols;
        for (int64_t j = 0; j < cols; ++j) eh[j] = yh[j] - s * eh[j];
      }
    }
    if (error_ != nullptr) std::copy(panel.error.begin(), panel.error.end(), error_ + at);
    matrix_.add_cost(space_, panel.row, panel.count, panel.error.data(), has_h ? vh.data() : nullptr,
                     &costs_[static_cast<size_t>(panel.row / kPanelRows)]);
  }

  const EncodeSpace& space_;
  const EncodeTarget target_;
  const EncodedView out_;
  float* const error_;
  const TrellisCode code_;
  std::vector<float> row_scales_;  // as stored
  std::vector<uint32_t> starts_;
};

}  // namespace

std::unique_ptr<EncodeRun> make_trellis_run(const EncodeMatrix& matrix, const EncodeTarget& target,
                                            const EncodedView& out, float* error) {
  return std::make_unique<TrellisRun>(matrix, target, out, error);
}

}  // namespace lq::cpu
