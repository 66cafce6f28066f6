// Matrices of a block that are one tensor: which rows of it are which.
#pragma once

#include <cstdint>

#include "lq/language_model.h"

namespace lq::lm {

// `count` runs of `size` rows, `stride` apart from `first` on.
struct RowRuns {
  int64_t first, size, stride, count;
  int64_t rows() const { return size * count; }
  // Row of the fused tensor that is row i of the part.
  int64_t at(int64_t i) const { return first + i / size * stride + i % size; }
};

// The tensor that a matrix or bias of a block, or of an expert, is stored in: itself where it is not fused.
WeightKind stored_in(const LanguageModelConfig& config, WeightKind part, int32_t expert = kNoExpert);
// Where its `rows` rows lie in that.
RowRuns rows_in(const LanguageModelConfig& config, WeightKind part, int64_t rows, int32_t expert = kNoExpert);
// Copies a part of a fused tensor with rows of `cols` elements.
void copy_part(const RowRuns& runs, int64_t cols, const float* fused, float* part);

}  // namespace lq::lm
