// What the block types of GGUF are to their encoder: codes with scales, or points of a grid with signs.
#pragma once

#include <cstdint>
#include <vector>

#include "gguf/blocks.h"
#include "gguf/kernels.h"

namespace lq::cpu::gguf {

// A type whose codes are levels; nullptr for others.
const ScalarForm* scalar_form(BlockType type);

// A type of grids with signs.
struct GridForm {
  GridView view;
  int32_t sub;
  bool even;           // signs of eight weights are even in number
  float unit, offset;  // scale = (d * (offset + step * integer)) * unit
  float step;
  float largest;  // magnitude
  std::vector<float> magnitudes;
};

// A type whose codes are points of a grid; nullptr for others.
const GridForm* grid_form(BlockType type);

}  // namespace lq::cpu::gguf
