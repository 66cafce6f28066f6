// Scalar grids: the levels a weight, divided by its scale, is rounded to.
#pragma once

#include <cstdint>
#include <vector>

#include "encode/levels.h"
#include "kernels/kernels.h"
#include "lq/encode.h"

namespace lq::cpu {

// Levels with what rounding to them needs.
struct Grid : Levels {
  BookTable table{};
  float level[256] = {};  // of each code; without integers
};

Grid make_grid(const Levels& levels);

// The grid of an encoded matrix, a fitted book from its part.
Grid stored_grid(const EncodedView& e);
// The two-level scales of an encoded matrix as those of a quantised tensor.
QuantizedView two_level_view(const EncodedView& e);
// Values of rows [begin, end) in units of their scales.
void decode_grid(const EncodedView& e, const Grid& grid, int64_t begin, int64_t end, float* out);

}  // namespace lq::cpu
