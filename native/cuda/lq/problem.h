// One matrix on the device: what the options of an LQ problem share.
#pragma once

#include "linalg/dense.h"
#include "lq/workspace.h"
#include "runtime/upload.h"

namespace lq::cuda {

class DeviceProblem {
 public:
  // Uploads the weights (bf16 where that is exact, else fp32), Fisher and scales. Throws not_finite, invalid_argument.
  DeviceProblem(const Stream& stream, const LqProblem& problem);

  // Sets the fields of a workspace that describe the matrix.
  void describe(Workspace* ws) const;

  // The first factorisation, that of W itself, which every option starts from: fp16 factors in the workspace's layout.
  struct Factors {
    DeviceBuffer<__half> u, z;
    int rank;  // what the matrix has of the rank asked for
  };
  Factors factorize(const LqProblem& problem, int rank, int padded_rank) const;

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  // 1 / D of row i and column j of the factors, 1 without scales.
  float row_inverse(int64_t i) const { return host_row_inverse_.empty() ? 1.0f : host_row_inverse_[i]; }
  float col_inverse(int64_t j) const { return host_col_inverse_.empty() ? 1.0f : host_col_inverse_[j]; }
  float z_scale() const { return z_scale_; }
  // What the left factor is multiplied and the right one divided by so that D_row L1 and L2 D_col are of equal lengths.
  float balance() const { return balance_; }

 private:
  const Stream& stream_;
  int64_t rows_, cols_, padded_rows_, padded_cols_;
  bool bf16_;
  DeviceBuffer<float> weight_;
  DeviceBuffer<uint16_t> weight_bf16_;
  DeviceBuffer<float> fisher_, row_scale_, col_scale_, row_inverse_, col_inverse_;
  std::vector<float> host_row_inverse_, host_col_inverse_;
  float residual_scale_ = 1.0f, z_scale_ = 1.0f, balance_ = 1.0f;
};

// Scales divided by their largest (what is factorised then changes by a constant alone), ones for null.
struct NormalizedScale {
  std::vector<float> values;
  float largest;
};
// Throws invalid_argument for a scale that is not positive and finite.
NormalizedScale normalized_scale(const float* scale, int64_t count, const char* name);

}  // namespace lq::cuda
