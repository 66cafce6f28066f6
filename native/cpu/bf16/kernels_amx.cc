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

}  // namespace

// Two blocks by two halves of the panel at a time: tiles 0 to 3 are sums, 4 and 5 rows, 6 and 7 columns.
void multiply(const Terms& a, const Terms& panel, int64_t rows, int64_t columns, int64_t depth, bool accumulate,
              float* c, int64_t ldc) {
  static constexpr TileConfig kConfig;
  constexpr int64_t kTile = kRows * kDepth, kHalf = kColumns / 2;
  const int64_t steps = steps_of(depth);
  _tile_loadconfig(&kConfig);
  for (int64_t row = 0; row < rows; row += 2 * kRows) {
    const int64_t upper = row / kRows * steps * kTile, lower = upper + steps * kTile;
    const int64_t height = std::min(2 * kRows, rows - row);
    float* to = c + row * ldc;
    const bool whole = height == 2 * kRows && columns == kColumns;
    const auto stride = static_cast<int>(ldc * static_cast<int64_t>(sizeof(float)));
    if (whole && accumulate) {
      _tile_loadd(0, to, stride);
      _tile_loadd(1, to + kHalf, stride);
      _tile_loadd(2, to + kRows * ldc, stride);
      _tile_loadd(3, to + kRows * ldc + kHalf, stride);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    for (int64_t s = 0; s < steps; ++s) {
      const auto add = [&](const uint16_t* term) __attribute__((always_inline)) {
        _tile_loadd(4, term + upper + s * kTile, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, term + lower + s * kTile, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      };
      _tile_loadd(6, panel.main + 2 * s * kTile, 64);
      _tile_loadd(7, panel.main + (2 * s + 1) * kTile, 64);
      add(a.main);
      add(a.rest);
      if (panel.rest == nullptr) continue;
      _tile_loadd(6, panel.rest + 2 * s * kTile, 64);
      _tile_loadd(7, panel.rest + (2 * s + 1) * kTile, 64);
      add(a.main);
    }
    if (whole) {
      _tile_stored(0, to, stride);
      _tile_stored(1, to + kHalf, stride);
      _tile_stored(2, to + kRows * ldc, stride);
      _tile_stored(3, to + kRows * ldc + kHalf, stride);
      continue;
    }
    alignas(64) float sums[2 * kRows * kColumns];
    constexpr int kSumsStride = kColumns * sizeof(float);
    _tile_stored(0, sums, kSumsStride);
    _tile_stored(1, sums + kHalf, kSumsStride);
    _tile_stored(2, sums + kRows * kColumns, kSumsStride);
    _tile_stored(3, sums + kRows * kColumns + kHalf, kSumsStride);
    for (int64_t i = 0; i < height; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        const float sum = sums[i * kColumns + j];
        to[i * ldc + j] = accumulate ? to[i * ldc + j] + sum : sum;
      }
    }
  }
  _tile_release();
}

}  // namespace lq::cpu::bf16::amx
