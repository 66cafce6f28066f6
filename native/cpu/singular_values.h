// The leading singular values of a matrix.
#pragma once

#include "lq/types.h"

namespace lq::cpu {

Status singular_values(const MatrixView& m, int32_t count, uint64_t seed, double* out, const Control& control);

}  // namespace lq::cpu
