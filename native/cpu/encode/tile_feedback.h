// Feedback by blocks of kTileSide columns (LDLQ, arXiv 2307.13304), for codes of tiles.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "blas.h"
#include "encode/matrix.h"

namespace lq::cpu {

// Tiles of a panel of rows, columns from the left: tile(row, col, width, target, ld) encodes one from its target, which
// is the panel's moved by what the columns before it are off, and puts what it is off itself into `error`. Both are
// [rows, cols]; n is EncodeSpace::by_tile, or null for no feedback.
template <typename Tile>
void encode_tiles(const EncodeMatrix& matrix, const float* n, int64_t rows, const float* panel, const float* error,
                  Tile&& tile) {
  // Columns whose feedback from the columns before them is one product.
  constexpr int64_t kWide = 128;
  const int64_t cols = matrix.cols;
  std::vector<float> wide(static_cast<size_t>(rows * kWide));
  for (int64_t at = 0; at < cols && !matrix.stopped(); at += kWide) {
    const int64_t width = std::min(kWide, cols - at);
    for (int64_t i = 0; i < rows; ++i) std::copy_n(panel + i * cols + at, width, wide.data() + i * width);
    if (n != nullptr && at > 0) {
      sgemm(false, false, rows, width, at, 1, error, cols, n + at, cols, 1, wide.data(), width);
    }
    for (int64_t o = 0; o < width; o += kTileSide) {
      const int64_t extent = std::min(kTileSide, width - o);
      if (n != nullptr && o > 0) {
        sgemm(false, false, rows, extent, o, 1, error + at, cols, n + at * cols + at + o, cols, 1, wide.data() + o,
              width);
      }
      for (int64_t i = 0; i < rows; i += kTileSide) tile(i, at + o, extent, wide.data() + i * width + o, width);
    }
  }
}

}  // namespace lq::cpu
