// Small steps of the pass in layer order.
#pragma once

#include "lm/planes.h"

namespace lq::cuda {

// a -= b, both `count` elements in two planes.
void subtract(const Stream& stream, const Planes& a, const Planes& b, int64_t count);

// m [n, n] *= scale; what is below the diagonal goes above it too where `symmetric`.
void finish_moment(const Stream& stream, int64_t n, float scale, bool symmetric, float* m);

}  // namespace lq::cuda
