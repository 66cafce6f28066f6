#include "prepared.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>

#include "status.h"
#include "threads.h"

namespace lq::cpu {
namespace {

constexpr int64_t kPanelFloats = 64 * 1024;  // 256 KiB, a share of the second-level cache

}  // namespace

void FloatRows::hold() {
  if (view_.dtype == Dtype::F32 || !held_.empty()) return;
  held_.resize(static_cast<size_t>(count()));
  parallel_for(0, count(), 1 << 18,
               [&](int64_t b, int64_t e) { to_float(view_.data, view_.dtype, b, e - b, held_.data() + b); });
}

const float* FloatRows::rows(int64_t begin, int64_t end, std::vector<float>& scratch) const {
  const int64_t at = begin * view_.cols, n = (end - begin) * view_.cols;
  if (view_.dtype == Dtype::F32) return static_cast<const float*>(view_.data) + at;
  if (!held_.empty()) return held_.data() + at;
  if (static_cast<int64_t>(scratch.size()) < n) scratch.resize(static_cast<size_t>(n));
  to_float(view_.data, view_.dtype, at, n, scratch.data());
  return scratch.data();
}

Panels panels_of(int64_t rows, int64_t cols, int32_t block) {
  const int64_t unit = block / std::gcd<int64_t>(cols, block);
  const int64_t wanted = std::max<int64_t>(1, kPanelFloats / std::max<int64_t>(cols, 1));
  const int64_t panel = std::min(rows, round_up(wanted, unit));
  return {rows, panel, panel == 0 ? 0 : (rows + panel - 1) / panel};
}

int64_t first_non_finite(const MatrixView& m) { return first_beyond(m, std::numeric_limits<float>::max()); }

int64_t first_beyond(const MatrixView& m, float limit) {
  const int64_t n = m.rows * m.cols;
  std::atomic<int64_t> first{n};
  constexpr int64_t kPiece = 1 << 16;
  const auto within = [limit](float x) { return std::fabs(x) <= limit; };  // false for NaN
  parallel_for(0, n, kPiece, [&](int64_t b, int64_t e) {
    if (b >= first.load(std::memory_order_relaxed)) return;
    std::vector<float> scratch;
    const FloatRows flat(MatrixView{m.data, m.dtype, n, 1});
    const float* x = flat.rows(b, e, scratch);
    float magnitude;
    kernels().block_absmax(x, e - b, static_cast<int32_t>(e - b), &magnitude);
    if (within(magnitude)) return;
    for (int64_t i = b; i < e; ++i) {
      if (within(x[i - b])) continue;
      int64_t seen = first.load(std::memory_order_relaxed);
      while (i < seen && !first.compare_exchange_weak(seen, i)) {
      }
      return;
    }
  });
  return first.load() == n ? -1 : first.load();
}

Status check_config(const QuantConfig& c, const CodeBook* book) {
  const auto bits_ok = [](int32_t b) { return b == 2 || b == 3 || b == 4 || b == 8; };
  if (!bits_ok(c.b0) || !bits_ok(c.b1)) {
    return error(StatusCode::invalid_argument, -1, "code and scale bits must be 2, 3, 4 or 8, not %d and %d", c.b0,
                 c.b1);
  }
  if (c.block < 1 || c.group < 1 || c.block > (1 << 20) || c.group > (1 << 20)) {
    return error(StatusCode::invalid_argument, -1, "block and group sizes must be in [1, 2^20], not %d and %d", c.block,
                 c.group);
  }
  if (book == nullptr || book->bits != c.b0) {
    return error(StatusCode::invalid_argument, -1, "the code book must have %d bits", c.b0);
  }
  for (int32_t i = 0; i < (1 << c.b0); ++i) {
    if (!std::isfinite(book->levels[i]) || (i > 0 && book->levels[i] < book->levels[i - 1])) {
      return error(StatusCode::invalid_argument, -1, "code book levels must be finite and ascending");
    }
  }
  return ok();
}

Status check_matrix(const MatrixView& m) {
  if (m.rows < 1 || m.cols < 1) return error(StatusCode::invalid_argument, -1, "the matrix is empty");
  if (m.data == nullptr) return error(StatusCode::invalid_argument, -1, "the matrix has no data");
  return ok();
}

}  // namespace lq::cpu
