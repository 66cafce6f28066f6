// Panels of the block types whose codes are levels, and what all types begin with.
#pragma once

#include <cstdint>

#include "gguf/encode.h"
#include "gguf/kernels.h"

namespace lq::cpu::gguf {

// Targets [rows, width] of columns [at, at + width) of a panel w [rows, cols]: w plus the fed back errors of all
// columns before.
void block_targets(const BlockMetric& m, const float* w, const float* error, int64_t rows, int64_t at, int64_t width,
                   float* target);

// As encode_panel, for a type of this form.
void encode_scalars(BlockType type, const ScalarForm& form, const BlockMetric& m, const float* w, int64_t rows,
                    int32_t sweeps, uint8_t* out, float* value);

}  // namespace lq::cpu::gguf
