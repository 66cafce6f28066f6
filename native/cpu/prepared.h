// A matrix cut into panels of rows, and what every op needs to walk over them.
#pragma once

#include <vector>

#include "convert.h"
#include "kernels/kernels.h"
#include "lq/types.h"

namespace lq::cpu {

// Rows of the stored matrix as fp32: in place when stored so, else converted panel by panel.
class FloatRows {
 public:
  explicit FloatRows(const MatrixView& m) : view_(m) {}
  // Converts everything now, for a matrix that is walked over many times. Memory: rows * cols * 4 bytes.
  void hold();
  // Rows [begin, end); the pointer is into the matrix or into scratch.
  const float* rows(int64_t begin, int64_t end, std::vector<float>& scratch) const;
  int64_t count() const { return view_.rows * view_.cols; }
  const MatrixView& view() const { return view_; }

 private:
  MatrixView view_;
  std::vector<float> held_;
};

// Panels of rows that hold a whole number of blocks, so that no block straddles two, sized for the cache.
struct Panels {
  int64_t rows;        // of the matrix
  int64_t panel_rows;  // of a panel but the last
  int64_t count;
};
Panels panels_of(int64_t rows, int64_t cols, int32_t block);

// The flat index of the first NaN or Inf, or -1.
int64_t first_non_finite(const MatrixView& m);
// The flat index of the first value beyond +-limit, or NaN; or -1.
int64_t first_beyond(const MatrixView& m, float limit);

// Refuses impossible configurations: bits, block and group sizes.
Status check_config(const QuantConfig& config, const CodeBook* book);
Status check_matrix(const MatrixView& m);

}  // namespace lq::cpu
