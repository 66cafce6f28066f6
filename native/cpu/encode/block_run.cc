// The block types of GGUF as a grid of the encoder.
#include <algorithm>

#include "blas.h"
#include "encode/run.h"
#include "gguf/encode.h"

namespace lq::cpu {
namespace {

// Sweeps of coordinate descent after the feedback; later ones change next to nothing.
constexpr int32_t kSweeps = 3;

class BlockRun : public EncodeRun {
 public:
  BlockRun(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& out, float* error)
      : EncodeRun(matrix), target_(target), out_(out), error_(error) {
    const EncodeSpace& space = matrix.space(Transform::none);
    const bool feedback = !space.by_column.empty();
    if (feedback) {
      weight_ = space.column_weight;
    } else {
      weight_.assign(static_cast<size_t>(matrix.cols), 1.0f);
      // Columns that matter more under an elementwise weight, for the choice of scales.
      if (const float* fisher = matrix.problem.metric.fisher; fisher != nullptr) {
        std::fill(weight_.begin(), weight_.end(), 1e-30f);
        for (int64_t i = 0; i < matrix.rows; ++i) {
          for (int64_t j = 0; j < matrix.cols; ++j) weight_[static_cast<size_t>(j)] += fisher[i * matrix.cols + j];
        }
      } else if (!space.h.empty()) {
        for (int64_t j = 0; j < matrix.cols; ++j) {
          weight_[static_cast<size_t>(j)] = space.h[static_cast<size_t>(j * matrix.cols + j)];
        }
      }
    }
    const bool descent = out.option.rounding == Rounding::descent && !space.h.empty();
    metric_ = {matrix.cols, feedback ? space.by_column.data() : nullptr, weight_.data(),
               descent ? space.h.data() : nullptr};
  }

  void panel(int64_t p) override {
    const int64_t first = p * kPanelRows, cols = matrix_.cols, rows = std::min(kPanelRows, matrix_.rows - first);
    const int64_t row_bytes = cols / out_.option.block_weights * out_.option.block_bytes;
    if (matrix_.stopped()) return;
    std::vector<uint8_t> bytes(static_cast<size_t>(rows * row_bytes));
    std::vector<float> e(static_cast<size_t>(rows * cols));
    const float* target = target_.target + first * cols;
    gguf::encode_panel(static_cast<gguf::BlockType>(out_.option.block_type), metric_, target, rows, kSweeps,
                       bytes.data(), e.data());
    if (uint8_t* codes = out_.parts[0]; codes != nullptr) {
      std::copy(bytes.begin(), bytes.end(), codes + first * row_bytes);
    }
    for (size_t i = 0; i < e.size(); ++i) e[i] = target[i] - e[i];
    if (error_ != nullptr) std::copy(e.begin(), e.end(), error_ + first * cols);
    const EncodeSpace& space = matrix_.space(Transform::none);
    std::vector<float> eh;
    if (!space.h.empty()) {
      eh.resize(e.size());
      sgemm(false, false, rows, cols, cols, 1, e.data(), cols, space.h.data(), cols, 0, eh.data(), cols);
    }
    matrix_.add_cost(space, first, rows, e.data(), eh.data(), &costs_[static_cast<size_t>(p)]);
  }

 private:
  const EncodeTarget target_;
  const EncodedView out_;
  float* const error_;
  std::vector<float> weight_;
  gguf::BlockMetric metric_{};
};

}  // namespace

std::unique_ptr<EncodeRun> make_block_run(const EncodeMatrix& matrix, const EncodeTarget& target,
                                          const EncodedView& out, float* error) {
  return std::make_unique<BlockRun>(matrix, target, out, error);
}

}  // namespace lq::cpu
