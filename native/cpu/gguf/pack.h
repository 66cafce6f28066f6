// Codes to the bytes of a block: the inverse of blocks.cc.
#pragma once

#include <cstdint>

#include "gguf/blocks.h"

namespace lq::cpu::gguf {

// A block whose weights have codes of their own, counted from 0.
struct ScalarBlock {
  uint8_t code[256];
  int32_t scale[16], minimum[16];  // of sub-blocks, as integers
  float d, dmin;                   // values; the scale and the minimum themselves in blocks without sub-blocks
};
void pack(BlockType type, const ScalarBlock& block, uint8_t* out);

// A block of rows of a grid, with signs.
struct GridBlock {
  uint16_t row[64];   // of each group
  uint8_t signs[32];  // of eight weights each, 1 is minus
  int32_t scale[16];  // of sub-blocks
  float d;
};
void pack(BlockType type, const GridBlock& block, uint8_t* out);

}  // namespace lq::cpu::gguf
