// Matrix products of bf16 operands with sums in fp32, on processors that have instructions for them.
//
// Operands are fp32 and packed here as sums of bf16 terms: the number rounded, what that left rounded, and so on, 8
// bits of mantissa each. A product of `terms` terms is the sum of the products of terms i and j with i + j < terms; the
// others are below its rounding. Two terms leave a relative error of 2^-16 of each term of a sum, three none: they are
// all 24 bits of fp32, and what is left is fp32's own rounding. An operand that needs fewer terms, as weights stored in
// bf16 need one, costs fewer products.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "threads.h"

namespace lq::cpu::bf16 {

// The instructions products run on: AVX512-BF16's dot products, or AMX's tiles.
enum class Instructions : int32_t { none = 0, avx512, amx };
// The best that this processor has and that the operating system lets this process use; asked once.
Instructions available();

constexpr int32_t kMostTerms = 3;

// Rows of a block of the first operand, columns of a panel of the second, depth of a step.
constexpr int64_t kRows = 32, kColumns = 32, kDepth = 32;
constexpr int64_t steps_of(int64_t depth) { return (depth + kDepth - 1) / kDepth; }
// 16-bit elements of a block with its terms, and of a term of a panel, of that depth.
constexpr int64_t block_elements(int64_t depth, int32_t terms) { return steps_of(depth) * kRows * kDepth * terms; }
constexpr int64_t panel_elements(int64_t depth) { return steps_of(depth) * kColumns * kDepth; }

// A matrix in memory: element (i, j) is data[i * ld + j], or data[j * ld + i] when transposed.
struct View {
  const float* data;
  int64_t ld;
  bool transposed;
  const float* at(int64_t i, int64_t j) const { return transposed ? data + j * ld + i : data + i * ld + j; }
};

// scale times a [rows, depth] as blocks of kRows rows, filled up with zeros: [block][step][term][row][kDepth], blocks
// `stride` elements apart.
void pack_rows(const View& a, float scale, int64_t rows, int64_t depth, int32_t terms, int64_t stride, uint16_t* out);

// A panel's terms, [step][half][pair of depths][16][2] each, `stride` elements apart.
struct Panel {
  const uint16_t* data;
  int64_t stride;
  int32_t terms;
};
// Columns [0, columns) of b [depth, columns], at most kColumns, as a panel of one term where all are bf16 numbers, else
// of `terms`. Returns how many; the others are left alone.
int32_t pack_panel(const View& b, int64_t columns, int64_t depth, int32_t terms, int64_t stride, uint16_t* out);

// Rows packed by pack_rows, or steps [from, from + n) of each block when data is moved by as many and `stride` kept.
struct Rows {
  const uint16_t* data;
  int64_t stride;  // elements of a block
  int32_t terms;
};
// c [rows, columns] (+)= a b for panels of as many columns. A block of rows meets all of them before the next. What
// lies `ahead` elements behind each panel's beginning is fetched meanwhile; 0: nothing.
void multiply(Instructions with, const Rows& a, const Panel* panels, int64_t ahead, int64_t rows, int64_t columns,
              int64_t depth, bool accumulate, float* c, int64_t ldc);

// Part of an operand's rows, columns or depth.
struct Span {
  int64_t from, count;
};

// Memory of packed operands.
class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { std::free(data_); }
  // At least so many elements; their values are lost when there were less. Throws std::bad_alloc.
  uint16_t* get(int64_t elements);

 private:
  uint16_t* data_ = nullptr;
  int64_t elements_ = 0;
};

// The second operand of several products, packed when it is first needed, panel by panel, by whichever thread comes.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  PackedMatrix(const View& b, int64_t depth, int64_t columns, int32_t terms) { assign(b, depth, columns, terms); }
  // Becomes another one, in the same memory when it is enough.
  void assign(const View& b, int64_t depth, int64_t columns, int32_t terms);
  int64_t panels() const { return panels_; }
  int64_t depth() const { return depth_; }
  int64_t columns() const { return columns_; }
  int32_t terms() const { return terms_; }
  // Panel i, from depth `from` on, a multiple of kDepth.
  Panel panel(int64_t i, int64_t from);
  // Packs panels [first, first + count) that no thread has begun to pack: several threads share them.
  void prepare(int64_t first, int64_t count);

 private:
  // How many terms a panel has, when it is packed.
  static constexpr int8_t kEmpty = 0, kBusy = -1;
  // The state of panel i: how many terms it has, or kBusy while another thread packs it.
  int8_t begun(int64_t i);
  View b_{};
  int64_t depth_ = 0, columns_ = 0, panels_ = 0, most_panels_ = 0;
  int32_t terms_ = 0;
  Memory memory_;
  uint16_t* data_ = nullptr;
  std::unique_ptr<std::atomic<int8_t>[]> states_;
};

// c [m, n] (+)= scale a b, one thread; b is packed on the way.
void product(Instructions with, int32_t terms, float scale, const View& a, const View& b, int64_t m, int64_t n,
             int64_t depth, bool accumulate, float* c, int64_t ldc);
// The same with part of b, which is packed already, or now, from depths and columns on that are multiples of kDepth and
// kColumns; a [m, depth.count]. Calls poll() between pieces, which may throw.
void product(Instructions with, float scale, const View& a, PackedMatrix* b, Span depth, Span columns, int64_t m,
             bool accumulate, float* c, int64_t ldc, FunctionRef<void()> poll);
// The same with both packed, in as many terms.
void product(Instructions with, const Rows& a, PackedMatrix* b, Span depth, Span columns, int64_t m, bool accumulate,
             float* c, int64_t ldc, FunctionRef<void()> poll);

// Compiled for each instruction set; not to be called where it is missing.
namespace avx512 {
void pack_rows(const View& a, float scale, int64_t rows, int64_t depth, int32_t terms, int64_t stride, uint16_t* out);
int32_t pack_panel(const View& b, int64_t columns, int64_t depth, int32_t terms, int64_t stride, uint16_t* out);
void multiply(const Rows& a, const Panel* panels, int64_t rows, int64_t columns, int64_t depth, bool accumulate,
              float* c, int64_t ldc);
}  // namespace avx512
namespace amx {
void multiply(const Rows& a, const Panel* panels, int64_t ahead, int64_t rows, int64_t columns, int64_t depth,
              bool accumulate, float* c, int64_t ldc);
}  // namespace amx

}  // namespace lq::cpu::bf16
