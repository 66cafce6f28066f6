#include "matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "convert.h"
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
  return source.transposed ? turned(m, source) : std::move(m);
}

// What was read as it is stored, as the matrix.
Matrix Matrix::turned(const Matrix& stored, const DenseSource& source) {
  Matrix m(source.rows * source.cols * (dtype_bits(source.dtype) / 8), source.dtype, source.rows, source.cols);
  const auto turn = [&]<typename Element>(Element) {
    transpose(reinterpret_cast<const Element*>(stored.data_.get()), source.cols, source.rows,
              reinterpret_cast<Element*>(m.data_.get()));
  };
  switch (dtype_bits(source.dtype)) {
    case 64:
      turn(uint64_t{});
      break;
    case 32:
      turn(uint32_t{});
      break;
    case 16:
      turn(uint16_t{});
      break;
    default:
      turn(uint8_t{});
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
  if (const auto* gguf = std::get_if<GgufSource>(&source)) {
    Matrix m(gguf->rows * gguf->cols * 4, Dtype::F32, gguf->rows, gguf->cols);
    load_gguf(*gguf, reinterpret_cast<float*>(m.data_.get()), control);
    return m;
  }
  return load_float(source, backend, control);
}

Matrix Matrix::diagonal(const Matrix& row) {
  const int64_t n = row.view_.cols;
  Matrix m(n * n * 4, Dtype::F32, n, n);
  auto* to = reinterpret_cast<float*>(m.data_.get());
  const auto* from = static_cast<const float*>(row.view_.data);
  std::fill_n(to, n * n, 0.0f);
  for (int64_t i = 0; i < n; ++i) to[i * n + i] = from[i];
  return m;
}

Matrix Matrix::near_one(Matrix matrix, int* exponent) {
  constexpr int kOrdinary = 20;
  constexpr int64_t kPiece = 1 << 16;
  const MatrixView& m = matrix.view_;
  const int64_t count = m.rows * m.cols;
  const bool wide = m.dtype == Dtype::F64;
  std::vector<float> narrow(wide ? 0 : static_cast<size_t>(kPiece));
  // Calls fn(i, value) for all elements.
  const auto each = [&](const auto& fn) {
    for (int64_t first = 0; first < count; first += kPiece) {
      const int64_t n = std::min(kPiece, count - first);
      if (!wide) cpu::to_float(m.data, m.dtype, first, n, narrow.data());
      for (int64_t i = 0; i < n; ++i) {
        double value = wide ? 0.0 : static_cast<double>(narrow[static_cast<size_t>(i)]);
        if (wide) std::memcpy(&value, static_cast<const char*>(m.data) + (first + i) * 8, 8);
        fn(first + i, value);
      }
    }
  };
  double absmax = 0;
  bool finite = true;
  each([&](int64_t, double value) {
    absmax = std::max(absmax, std::fabs(value));
    finite = finite && std::isfinite(value);
  });
  *exponent = 0;
  if (!finite || absmax == 0 || std::abs(std::ilogb(absmax)) <= kOrdinary) return matrix;
  *exponent = std::ilogb(absmax);
  Matrix scaled(count * 4, Dtype::F32, m.rows, m.cols);
  auto* out = reinterpret_cast<float*>(scaled.data_.get());
  each([&](int64_t i, double value) { out[i] = static_cast<float>(std::ldexp(value, -*exponent)); });
  return scaled;
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
