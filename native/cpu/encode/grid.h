// Scalar grids: the levels a weight, divided by its scale, is rounded to.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "lq/encode.h"

namespace lq::cpu {

// Levels by ascending value. An integer grid is the integers low .. high, without a table; an asymmetric one moves with
// its group's zero.
struct Grid {
  bool integers = false;
  int32_t low = 0, high = 0;  // of the integers, for zero 0 or, symmetric, as they are
  BookTable table{};
  uint8_t codes[256] = {};  // code of each level of the table
  float level[256] = {};    // of each code; without integers
  float top = 1;            // the absmax of a block in units of its scale
};

// The grid of an option whose book is known: all but `fitted`.
Grid make_grid(const EncodeOption& option);
// A fitted grid of 2^bits levels.
Grid make_fitted_grid(const CodeBook& book);
// Levels a fitted book starts from.
CodeBook first_book(int32_t bits);

// The grid of an encoded matrix, a fitted book from its part.
Grid stored_grid(const EncodedView& e);
// The two-level scales of an encoded matrix as those of a quantised tensor.
QuantizedView two_level_view(const EncodedView& e);
// Values of rows [begin, end) in units of their scales.
void decode_grid(const EncodedView& e, const Grid& grid, int64_t begin, int64_t end, float* out);

}  // namespace lq::cpu
