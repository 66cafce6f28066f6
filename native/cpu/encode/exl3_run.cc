// EXL3 codes with feedback by blocks of 16 columns (QTIP, arXiv 2406.11235), in the coordinates of both sides' blocks
// of 128. Scales of rows are fitted to the codes at the end, as those of our own trellis are: what is put together of
// the codes is a multiple of a row's scale.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "blas.h"
#include "encode/exl3.h"
#include "encode/fields.h"
#include "encode/kernels.h"
#include "encode/run.h"
#include "encode/tile_coder.h"
#include "encode/tile_feedback.h"
#include "threads.h"

namespace lq::cpu {
namespace {

constexpr int64_t kRows = kTwoSidedBlock;
constexpr double kLargestHalf = 65504;

class Exl3Run final : public EncodeRun {
 public:
  Exl3Run(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& out, float* error)
      : EncodeRun(matrix),
        space_(matrix.space(Transform::two_sided)),
        target_(target),
        out_(out),
        error_(error),
        code_(out.option),
        rotated_(target.target, target.target + matrix.rows * matrix.cols),
        left_(rotated_.size()),
        scales_(static_cast<size_t>(matrix.rows)) {
    costs_.resize(static_cast<size_t>(blocks()));
  }

  void begin() override {
    parallel_for(0, blocks(), 1, [&](int64_t b, int64_t) { rotate(b * kRows); });
  }

  // Once they are mixed, rows need nothing of one another but to share tiles.
  int64_t panels() const override { return matrix_.rows / kTileSide; }

  void panel(int64_t p) override {
    const int64_t cols = matrix_.cols, at = p * kTileSide * cols;
    TileCoder coder(out_.option, code_);
    const bool nearest = out_.option.rounding == Rounding::nearest || space_.by_tile.empty();
    encode_tiles(
        matrix_, nearest ? nullptr : space_.by_tile.data(), kTileSide, rotated_.data() + at, left_.data() + at,
        [&](int64_t, int64_t col, int64_t, const float* target, int64_t ld) { tile(coder, p, col, target, ld); });
  }

  void finish() override {
    parallel_for(0, blocks(), 1, [&](int64_t b, int64_t) {
      if (!matrix_.stopped()) refit(b * kRows);
    });
    uint8_t* rows = out_.parts[static_cast<size_t>(EncodedPart::row_scales)];
    uint8_t* inputs = out_.parts[static_cast<size_t>(EncodedPart::input_scales)];
    if (rows == nullptr) return;
    for (int64_t i = 0; i < matrix_.rows; ++i) store_f16(rows, i, scales_[static_cast<size_t>(i)]);
    for (int64_t j = 0; j < matrix_.cols; ++j) store_f16(inputs, j, space_.input_scales[static_cast<size_t>(j)]);
  }

 private:
  int64_t blocks() const { return matrix_.rows / kRows; }

  // Divides the rows of a block by their scales and mixes them. Errors of the codes are alike in all mixed rows, so
  // that row i's costs its weight times the square of its scale: least in all where that square is the row's size over
  // the root of its weight.
  void rotate(int64_t row) {
    const int64_t cols = matrix_.cols, count = kRows * cols;
    float* block = rotated_.data() + row * cols;
    const EncodeKernels& k = encode_kernels();
    for (int64_t i = 0; i < kRows; ++i) {
      float* x = block + i * cols;
      const double size = std::sqrt(k.dot(x, x, cols) / static_cast<double>(cols));
      const double scale = std::sqrt(size / std::sqrt(weight_of(row + i)));
      scales_[static_cast<size_t>(row + i)] =
          drawn_sign(matrix_.problem.seed, cols + row + i) * static_cast<float>(scale);
      const float inverse = scale > 0 ? 1 / scales_[static_cast<size_t>(row + i)] : 0;
      for (int64_t j = 0; j < cols; ++j) x[j] *= inverse;
    }
    hadamard_down(block, cols);
    const double size = std::sqrt(k.dot(block, block, count) / static_cast<double>(count));
    const double unit = static_cast<double>(code_.unit()) * size;
    const float inverse = unit > 0 ? static_cast<float>(1 / unit) : 0;
    for (int64_t i = 0; i < count; ++i) block[i] *= inverse;
    for (int64_t i = 0; i < kRows; ++i) {
      float& scale = scales_[static_cast<size_t>(row + i)];
      scale = static_cast<float>(static_cast<double>(scale) * unit / static_cast<double>(kRows));
    }
  }

  // Relative to the block's mean. Rows of no weight keep a share of its resolution.
  double weight_of(int64_t row) const {
    constexpr double kLeast = 1e-4;
    const double* block = matrix_.row_weights.data() + row / kRows * kRows;
    const double mean = std::accumulate(block, block + kRows, 0.0) / static_cast<double>(kRows);
    return mean > 0 ? std::max(matrix_.row_weights[static_cast<size_t>(row)] / mean, kLeast) : 1;
  }

  void tile(TileCoder& coder, int64_t row_tile, int64_t col, const float* target, int64_t ld) {
    float sequence[kExl3Tile], values[kExl3Tile];
    for (int64_t t = 0; t < kExl3Tile; ++t) sequence[t] = target[exl3_row(t) * ld + exl3_column(t)];
    coder.encode(sequence, kExl3Tile, values);
    for (int64_t t = 0; t < kExl3Tile; ++t) {
      const int64_t row = row_tile * kTileSide + exl3_row(t);
      const size_t at = static_cast<size_t>(row * matrix_.cols + col + exl3_column(t));
      left_[at] = rotated_[at] - values[t];
    }
    uint8_t* codes = out_.parts[static_cast<size_t>(EncodedPart::codes)];
    if (codes == nullptr) return;
    uint16_t symbols[kExl3Tile];
    for (int64_t t = 0; t < kExl3Tile; ++t) symbols[t] = static_cast<uint16_t>(coder.newest(t));
    const int32_t bits = out_.option.bits;
    exl3_pack(symbols, bits, codes + exl3_tile_offset(bits, matrix_.rows, row_tile, col / kTileSide));
  }

  // Row scales s = (y H v') / (v H v') for the mixed values v of a block, and the errors under them.
  void refit(int64_t row) {
    const int64_t cols = matrix_.cols, at = row * cols;
    const EncodeKernels& k = encode_kernels();
    const bool has_h = !space_.h.empty();
    float* values = rotated_.data() + at;
    for (int64_t i = 0; i < kRows * cols; ++i) values[i] -= left_[static_cast<size_t>(at + i)];
    hadamard_down(values, cols);
    std::vector<float> vh;  // v h, then the errors times h
    if (has_h) {
      vh.resize(static_cast<size_t>(kRows * cols));
      sgemm(false, false, kRows, cols, cols, 1, values, cols, space_.h.data(), cols, 0, vh.data(), cols);
    }
    // v is without the scale of the transform.
    const double unit = space_.row_unit * std::sqrt(static_cast<double>(kRows));
    for (int64_t i = 0; i < kRows; ++i) {
      const float* y = target_.target + at + i * cols;
      float* v = values + i * cols;
      const float* against = has_h ? vh.data() + i * cols : v;
      const double vv = k.dot(v, against, cols), yv = k.dot(y, against, cols);
      float& scale = scales_[static_cast<size_t>(row + i)];
      // Where no error of the row costs anything the scale of its target stays.
      const double found = (vv > 0 ? yv / vv : static_cast<double>(scale)) * unit;
      scale = from_f16(to_f16(static_cast<float>(std::clamp(found, -kLargestHalf, kLargestHalf))));
      const float s = static_cast<float>(static_cast<double>(scale) / unit);
      float* eh = has_h ? vh.data() + i * cols : nullptr;
      const float* yh = has_h ? target_.target_h + at + i * cols : nullptr;
      for (int64_t j = 0; j < cols; ++j) {
        v[j] = y[j] - s * v[j];
        if (has_h) eh[j] = yh[j] - s * eh[j];
      }
    }
    if (error_ != nullptr) std::copy_n(values, kRows * cols, error_ + at);
    matrix_.add_cost(space_, row, kRows, values, has_h ? vh.data() : nullptr,
                     &costs_[static_cast<size_t>(row / kRows)]);
  }

  const EncodeSpace& space_;
  const EncodeTarget target_;
  const EncodedView out_;
  float* const error_;
  const TrellisCode code_;
  std::vector<float> rotated_;  // [rows, cols]: the target of the codes, in their units; then their values, the errors
  std::vector<float> left_;     // [rows, cols]: the target less the values
  std::vector<float> scales_;   // of rows; in the end as stored
};

}  // namespace

std::unique_ptr<EncodeRun> make_exl3_run(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& out,
                                         float* error) {
  return std::make_unique<Exl3Run>(matrix, target, out, error);
}

}  // namespace lq::cpu
