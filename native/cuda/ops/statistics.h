// Statistics and pictures of a matrix.
#pragma once

#include "lq/types.h"
#include "runtime/memory.h"

namespace lq::cuda {

// Fills `out` and the arrays of the request. Every finite element is counted in the histogram.
void statistics(const Stream& stream, const MatrixView& m, const StatisticsRequest& request, Statistics* out,
                const Watch& watch);

// Cell (i, j) covers rows [i R / r, (i + 1) R / r) and columns likewise. Throws invalid_argument for more cells than
// weights.
void preview(const Stream& stream, const MatrixView& m, const PreviewRequest& request, const Watch& watch);

}  // namespace lq::cuda
