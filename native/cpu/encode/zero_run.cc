// No codes: all of the target is error, for a low-rank part to take.
#include <algorithm>

#include "blas.h"
#include "encode/run.h"

namespace lq::cpu {
namespace {

class ZeroRun final : public EncodeRun {
 public:
  ZeroRun(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& out, float* error)
      : EncodeRun(matrix), space_(matrix.space(out.option.transform)), target_(target), error_(error) {}

  void begin() override {}

  void panel(int64_t p) override {
    if (matrix_.stopped()) return;
    const int64_t cols = matrix_.cols, row = p * kPanelRows, count = std::min(kPanelRows, matrix_.rows - row);
    std::vector<float> e(target_.target + row * cols, target_.target + (row + count) * cols);
    std::vector<float> eh(space_.h.empty() ? 0 : e.size());
    if (!space_.h.empty()) {
      sgemm(false, false, count, cols, cols, 1, e.data(), cols, space_.h.data(), cols, 0, eh.data(), cols);
    }
    if (error_ != nullptr) std::copy(e.begin(), e.end(), error_ + row * cols);
    matrix_.add_cost(space_, row, count, e.data(), eh.data(), &costs_[static_cast<size_t>(p)]);
  }

  void finish() override {}

 private:
  const EncodeSpace& space_;
  const EncodeTarget target_;
  float* error_;
};

}  // namespace

std::unique_ptr<EncodeRun> make_zero_run(const EncodeMatrix& matrix, const EncodeTarget& target, const EncodedView& out,
                                         float* error) {
  return std::make_unique<ZeroRun>(matrix, target, out, error);
}

}  // namespace lq::cpu
