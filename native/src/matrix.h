// A weight in memory, as a backend wants it.
#pragma once

#include <memory>
#include <utility>

#include "weight_source.h"

namespace lq {

class Matrix {
 public:
  // A dense tensor in its stored type, any other weight put together in fp32. Throws TaskFailure that names the file.
  static Matrix load(const WeightSource& source, Backend& backend, const Control& control);
  // The weight in fp32.
  static Matrix load_float(const WeightSource& source, Backend& backend, const Control& control);
  // A dense tensor in its stored type.
  static Matrix load_dense(const DenseSource& source, const Control& control);

  // The square matrix whose diagonal is the one row of an fp32 matrix.
  static Matrix diagonal(const Matrix& row);

  // The matrix times 2^-exponent, so that its largest magnitude is near 1 and no square of it leaves the range of fp32;
  // the matrix itself, and exponent 0, where that holds already or a value is not finite.
  static Matrix near_one(Matrix matrix, int* exponent);

  const MatrixView& view() const { return view_; }

 private:
  Matrix(int64_t bytes, Dtype dtype, int64_t rows, int64_t cols);
  static Matrix turned(const Matrix& stored, const DenseSource& source);

  std::unique_ptr<char[]> data_;
  MatrixView view_;
};

// Rows and columns of a weight.
std::pair<int64_t, int64_t> shape_of(const WeightSource& source);
// Cells of a picture along a side of `extent`: the argument, at most the extent.
int64_t picture_side(const Napi::Value& value, int64_t extent);

}  // namespace lq
