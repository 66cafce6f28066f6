// Rounding weights to the block types of GGUF with feedback under a metric of the inputs.
//
// For rows w the cost is e H e', e = w - q. With H = N D N' (N upper with a unit diagonal), a column's target is
// w_j + sum_{k < j} e_k N_kj and what it misses costs D_j: LDLQ, which is GPTQ. Scales are chosen on these targets, a
// sub-block's from what rounding it with feedback really costs, and a super-block's before any of its columns is
// rounded, so that a block's codes are what its bytes can hold.
#pragma once

#include <cstdint>

#include "gguf/blocks.h"

namespace lq::cpu::gguf {

// Whether encode_panel knows the type.
bool can_encode(BlockType type);

struct BlockMetric {
  int64_t cols;
  const float* n;  // N [cols, cols], strictly upper; null: no feedback (a diagonal metric)
  const float* d;  // D [cols]
  const float* h;  // H [cols, cols]; null: none
};

// Encodes w [rows, cols] into `out`, rows of whole blocks, and writes the values that it decodes to. `sweeps` of
// coordinate descent follow the feedback, as long as codes change.
void encode_panel(BlockType type, const BlockMetric& metric, const float* w, int64_t rows, int32_t sweeps, uint8_t* out,
                  float* value);

}  // namespace lq::cpu::gguf
