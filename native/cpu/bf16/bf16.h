// Matrix products of bf16 operands with sums in fp32, on processors that have instructions for them.
//
// Operands are fp32 and packed here as two bf16 terms, the number rounded and what that left, 16 bits of mantissa: a
// product is three products of terms (the rests' own is below rounding), two where the second operand has no rests as
// weights stored in bf16 have none. What is left of fp32's accuracy is a relative error of 2^-16 of each term.
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

// Rows of a block of the first operand, columns of a panel of the second, depth of a step.
constexpr int64_t kRows = 16, kColumns = 32, kDepth = 32;
constexpr int64_t steps_of(int64_t depth) { return (depth + kDepth - 1) / kDepth; }
// 16-bit elements of a block or panel of that depth.
constexpr int64_t block_elements(int64_t depth) { return steps_of(depth) * kRows * kDepth; }
constexpr int64_t panel_elements(int64_t depth) { return steps_of(depth) * kColumns * kDepth; }

// A matrix in memory: element (i, j) is data[i * ld + j], or data[j * ld + i] when transposed.
struct View {
  const float* data;
  int64_t ld;
  bool transposed;
  const float* at(int64_t i, int64_t j) const { return transposed ? data + j * ld + i : data + i * ld + j; }
};

// scale times a [rows, depth] as blocks of kRows rows: [block][step][row][kDepth], filled up with zeros to a pair of
// blocks; and its rests.
void pack_rows(const View& a, float scale, int64_t rows, int64_t depth, uint16_t* out, uint16_t* rest);
// Columns [0, columns) of b [depth, columns], at most kColumns, as a panel: [step][half][pair of depths][16][2].
// Returns whether it has rests; without any, `rest` is left alone.
bool pack_panel(const View& b, int64_t columns, int64_t depth, uint16_t* out, uint16_t* rest);

// An operand's terms; the rests of a panel may be null.
struct Terms {
  const uint16_t *main, *rest;
};
// c [rows, columns] (+)= a b for one panel.
void multiply(Instructions with, const Terms& a, const Terms& panel, int64_t rows, int64_t columns, int64_t depth,
              bool accumulate, float* c, int64_t ldc);

// The second operand of several products, packed when it is first needed, panel by panel, by whichever thread comes.
class PackedMatrix {
 public:
  PackedMatrix(const View& b, int64_t depth, int64_t columns);
  int64_t panels() const { return panels_; }
  int64_t depth() const { return depth_; }
  // c [rows, columns of the panel] (+)= a times depths [from, from + depth) of panel i; `from` is a multiple of kDepth.
  void multiply_panel(Instructions with, int64_t i, int64_t from, int64_t depth, const Terms& a, int64_t rows,
                      bool accumulate, float* c, int64_t ldc);

 private:
  enum State : uint8_t { empty, busy, exact, with_rest };
  State ready(int64_t i);
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  const View b_;
  const int64_t depth_, columns_, panels_;
  std::unique_ptr<uint16_t, Free> main_, rest_;
  std::unique_ptr<std::atomic<uint8_t>[]> states_;
};

// c [m, n] (+)= scale a b, one thread; b is packed on the way.
void product(Instructions with, float scale, const View& a, const View& b, int64_t m, int64_t n, int64_t depth,
             bool accumulate, float* c, int64_t ldc);
// The same with b packed already, or now: threads begin at different panels, so that they do not wait for each other.
// Calls poll() between panels, which may throw.
void product(Instructions with, const View& a, PackedMatrix* b, int64_t m, bool accumulate, float* c, int64_t ldc,
             FunctionRef<void()> poll);

// Compiled for each instruction set; not to be called where it is missing.
namespace avx512 {
void pack_rows(const View& a, float scale, int64_t rows, int64_t depth, uint16_t* out, uint16_t* rest);
bool pack_panel(const View& b, int64_t columns, int64_t depth, uint16_t* out, uint16_t* rest);
void multiply(const Terms& a, const Terms& panel, int64_t rows, int64_t columns, int64_t depth, bool accumulate,
              float* c, int64_t ldc);
}  // namespace avx512
namespace amx {
void multiply(const Terms& a, const Terms& panel, int64_t rows, int64_t columns, int64_t depth, bool accumulate,
              float* c, int64_t ldc);
}  // namespace amx

}  // namespace lq::cpu::bf16
