// Matrix products on tensor cores with fp32 accumulation.
//
// An operand is bf16, or the unevaluated sum of two bf16 planes: the value rounded to bf16 and the rest, 16 bits of
// mantissa. A product of planes takes one, two or three bf16 products (rest times rest is below rounding), so accuracy
// close to fp32 costs at most three times the fast path.
#pragma once

#include <memory>

#include "runtime/memory.h"

namespace lq::cuda {

// Row-major; rows are `stride` elements apart and start on 16 bytes, the second plane `plane` elements after the first.
struct Operand {
  const uint16_t* data;
  int64_t stride;
  int64_t plane;
  int planes;

  Operand from_row(int64_t row) const { return {data + row * stride, stride, plane, planes}; }
  Operand from_column(int64_t column) const { return {data + column, stride, plane, planes}; }
};

// Where a product goes, rows `stride` elements apart: fp32, or bf16, which only products of single planes may fill or
// add to.
struct Target {
  void* data;
  int64_t stride;
  bool bf16;
  bool accumulate;
};

class Cublas;

// Products of one stream. They use cuBLAS when the machine has it and this library's kernels otherwise.
class Products {
 public:
  explicit Products(const Stream& stream);
  ~Products();

  // out [rows, b_rows] = a [rows, inner] b [b_rows, inner]'. rows are arbitrary; other sizes multiples of 8.
  void times_transposed(const Operand& a, const Operand& b, int64_t rows, int64_t b_rows, int64_t inner,
                        const Target& out) const;
  // out [rows, cols] = a [rows, inner] b [inner, cols]; cols and inner multiples of 8.
  void times(const Operand& a, const Operand& b, int64_t rows, int64_t cols, int64_t inner, const Target& out) const;
  // out [a_cols, b_cols] += sum over s of (a_s' b_s)^2 elementwise, where a_s and b_s are rows [s * context,
  // (s + 1) * context) of a and b: the squared weight gradients of `sequences` samples, none of which reaches memory.
  void add_squared_gradients(const Operand& a, const Operand& b, int64_t a_cols, int64_t b_cols, int64_t sequences,
                             int64_t context, float* out) const;
  // The same where the rows of sample s are [begins[s], begins[s + 1]), begins [sequences + 1] on the device; there may
  // be none.
  void add_squared_gradients(const Operand& a, const Operand& b, int64_t a_cols, int64_t b_cols, int64_t sequences,
                             const int32_t* begins, float* out) const;
  // out [a_cols, b_cols] += a' b over `rows` rows of both.
  void add_moments(const Operand& a, const Operand& b, int64_t a_cols, int64_t b_cols, int64_t rows, float* out) const;

 private:
  const Stream& stream_;
  std::unique_ptr<Cublas> cublas_;
};

}  // namespace lq::cuda
