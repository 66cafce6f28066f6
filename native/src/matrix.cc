#include "matrix.h"

#include <algorithm>

#include "file.h"
#include "task.h"

namespace lq {

Matrix::Matrix(int64_t bytes, Dtype dtype, int64_t rows, int64_t cols)
    : data_(new char[static_cast<size_t>(bytes)]), view_{data_.get(), dtype, rows, cols} {}

Matrix Matrix::load_dense(const DenseSource& source, const Control& control) {
  const int64_t bytes = source.rows * source.cols * (dtype_bits(source.dtype) / 8);
  const File file(source.path);
  if (file.size() < source.offset + bytes) {
    throw_error(StatusCode::io_error, "the file ends before the tensor does", source.path);
  }
  Matrix m(bytes, source.dtype, source.rows, source.cols);
  constexpr int64_t kPiece = 32 << 20;
  for (int64_t at = 0; at < bytes; at += kPiece) {
    if (control.cancelled != nullptr && control.cancelled(control.user))
      throw_error(StatusCode::cancelled, "cancelled");
    file.read(source.offset + at, std::min(kPiece, bytes - at), m.data_.get() + at);
  }
  return m;
}

Matrix Matrix::load_float(const WeightSource& source, Backend& backend, const Control& control) {
  const auto [rows, cols] = shape_of(source);
  Matrix m(rows * cols * 4, Dtype::F32, rows, cols);
  load_weight(source, backend, reinterpret_cast<float*>(m.data_.get()), control);
  return m;
}

Matrix Matrix::load(const WeightSource& source, Backend& backend, const Control& control) {
  if (const auto* dense = std::get_if<DenseSource>(&source)) return load_dense(*dense, control);
  return load_float(source, backend, control);
}

std::pair<int64_t, int64_t> shape_of(const WeightSource& source) {
  return std::visit([](const auto& s) { return std::pair(s.rows, s.cols); }, source);
}

int64_t picture_side(const Napi::Value& value, int64_t extent) {
  const double side = value.ToNumber();
  if (!(side >= 1 && side <= 16384)) {
    throw Napi::TypeError::New(value.Env(), "the sides of a picture must be between 1 and 16384 cells");
  }
  return std::min(static_cast<int64_t>(side), extent);
}

}  // namespace lq
