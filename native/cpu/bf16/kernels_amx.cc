// Products by AMX's tiles of 16 rows of 64 bytes.
#include <immintrin.h>

#include <algorithm>

#include "bf16/bf16.h"

namespace lq::cpu::bf16::amx {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

constexpr int64_t kTile = 16 * kDepth, kHalf = kColumns / 2, kHalfRows = kRows / 2;
constexpr int64_t kLine = 64 / sizeof(uint16_t);  // elements of a cache's line

// Adds a block's rows times a panel to tiles 0 to 3, which are the quarters of the result; 4 and 5 are rows, 6 and 7
// columns. Of both operands' terms i and j those with i + j < Terms.
template <int Terms, int PanelTerms>
void add_products(const uint16_t* a, const Panel& panel, int64_t steps) {
  const uint16_t* b = panel.data;
  for (int64_t s = 0; s < steps; ++s, a += Terms * 2 * kTile, b += 2 * kTile) {
#pragma GCC unroll 3
    for (int j = 0; j < PanelTerms; ++j) {
      const uint16_t* columns = b + j * panel.stride;
      _tile_loadd(6, columns, 64);
      _tile_loadd(7, columns + kTile, 64);
#pragma GCC unroll 3
      for (int i = 0; i < Terms - j; ++i) {
        const uint16_t* rows = a + i * 2 * kTile;
        _tile_loadd(4, rows, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, rows + kTile, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
}

template <int Terms>
void add_terms(const uint16_t* a, const Panel& panel, int64_t steps) {
  if (Terms >= 3 && panel.terms >= 3) return add_products<Terms, std::min(Terms, 3)>(a, panel, steps);
  if (Terms >= 2 && panel.terms >= 2) return add_products<Terms, std::min(Terms, 2)>(a, panel, steps);
  add_products<Terms, 1>(a, panel, steps);
}

void add_block(const uint16_t* a, int32_t terms, const Panel& panel, int64_t steps) {
  if (terms == 1) return add_terms<1>(a, panel, steps);
  if (terms == 2) return add_terms<2>(a, panel, steps);
  add_terms<3>(a, panel, steps);
}

}  // namespace

void multiply(const Rows& a, const Panel* panels, int64_t ahead, int64_t rows, int64_t columns, int64_t depth,
              bool accumulate, float* c, int64_t ldc) {
  static constexpr TileConfig kConfig;
  const int64_t steps = steps_of(depth);
  const auto stride = static_cast<int>(ldc * static_cast<int64_t>(sizeof(float)));
  // Lines of a panel fetched ahead for each block of rows.
  const int64_t blocks = (rows + kRows - 1) / kRows, lines = steps * 2 * kTile / kLine;
  const int64_t lines_at_once = ahead == 0 ? 0 : (lines + blocks - 1) / blocks;
  _tile_loadconfig(&kConfig);
  for (int64_t row = 0; row < rows; row += kRows) {
    const uint16_t* block = a.data + row / kRows * a.stride;
    const int64_t height = std::min(kRows, rows - row);
    for (int64_t column = 0; column < columns; column += kColumns) {
      const Panel& panel = panels[column / kColumns];
      const int64_t width = std::min(kColumns, columns - column);
      float* to = c + row * ldc + column;
      const uint16_t* next = panel.data + ahead + row / kRows * lines_at_once * kLine;
      for (int64_t i = 0; i < lines_at_once; ++i) __builtin_prefetch(next + i * kLine, 0, 2);
      const bool whole = height == kRows && width == kColumns;
      if (whole && accumulate) {
        _tile_loadd(0, to, stride);
        _tile_loadd(1, to + kHalf, stride);
        _tile_loadd(2, to + kHalfRows * ldc, stride);
        _tile_loadd(3, to + kHalfRows * ldc + kHalf, stride);
      } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
      }
      add_block(block, a.terms, panel, steps);
      if (whole) {
        _tile_stored(0, to, stride);
        _tile_stored(1, to + kHalf, stride);
        _tile_stored(2, to + kHalfRows * ldc, stride);
        _tile_stored(3, to + kHalfRows * ldc + kHalf, stride);
        continue;
      }
      alignas(64) float sums[kRows * kColumns];
      constexpr int kSumsStride = kColumns * sizeof(float);
      _tile_stored(0, sums, kSumsStride);
      _tile_stored(1, sums + kHalf, kSumsStride);
      _tile_stored(2, sums + kHalfRows * kColumns, kSumsStride);
      _tile_stored(3, sums + kHalfRows * kColumns + kHalf, kSumsStride);
      for (int64_t i = 0; i < height; ++i) {
        for (int64_t j = 0; j < width; ++j) {
          const float sum = sums[i * kColumns + j];
          to[i * ldc + j] = accumulate ? to[i * ldc + j] + sum : sum;
        }
      }
    }
  }
  _tile_release();
}

}  // namespace lq::cpu::bf16::amx
