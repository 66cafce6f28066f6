// Simple double-precision counterparts of the ops: slow, plain, independent of every backend.
#pragma once

#include <cstdint>
#include <vector>

#include "lq/types.h"

namespace lq::contract {

// Field `index` of a packed array of `bits`-bit fields, lowest bits first.
uint32_t field(const uint8_t* packed, int64_t index, int32_t bits);

// A group maximum from its stored type.
double group_value(const uint8_t* groups, int64_t index, ScaleDtype dtype);
// v rounded to the type and back, to nearest, ties to even, saturating.
double round_scale(double v, ScaleDtype dtype);

// Decoded scale s' = off + k v / M of a block, from packed fields.
double decoded_scale(const QuantizedView& q, int64_t block);

// Singular values of a [rows, cols], descending, by one-sided Jacobi.
std::vector<double> singular_values(const std::vector<double>& a, int64_t rows, int64_t cols);

// Sums of (w - q - l1 l2)^2, weighted by fisher when not null. l1 [rows, rank], l2 [rank, cols].
double residual(const float* w, const float* q, const float* l1, const float* l2, const float* fisher, int64_t rows,
                int64_t cols, int64_t rank);

}  // namespace lq::contract
