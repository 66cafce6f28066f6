// What EXL3 codes have of their own, as lq/encode.h defines them: their values, the order of a tile, its stream, and
// the outputs' side of the transform.
#pragma once

#include <cstdint>
#include <vector>

#include "lq/encode.h"

namespace lq::cpu {

constexpr int64_t kExl3Tile = kTileSide * kTileSide;

// value(state) for all 2^16 states.
std::vector<float> exl3_values(Exl3Code code);

// Where weight t of a tile lies.
constexpr int64_t exl3_row(int64_t t) { return t / 32 + 8 * (t % 8 / 4); }
constexpr int64_t exl3_column(int64_t t) { return 2 * (t / 8 % 4) + t % 2 + 8 * (t / 2 % 2); }

constexpr int64_t exl3_tile_bytes(int32_t bits) { return kExl3Tile * bits / 8; }
// Where the tile of row tile i and column tile j begins in part `codes`.
constexpr int64_t exl3_tile_offset(int32_t bits, int64_t rows, int64_t i, int64_t j) {
  return (j * (rows / kTileSide) + i) * exl3_tile_bytes(bits);
}

// A tile's stream from the `bits` new bits of each weight, and the states of its weights from the stream.
void exl3_pack(const uint16_t* symbols, int32_t bits, uint8_t* tile);
void exl3_states(const uint8_t* tile, int32_t bits, uint16_t* states);

// The sums and differences of the Hadamard transform down a block of kTwoSidedBlock rows [kTwoSidedBlock, cols],
// without its scale.
void hadamard_down(float* block, int64_t cols);

}  // namespace lq::cpu
