// Low-rank parts under the metric: min || sqrt(g) (E - L1 L2) R ||, H = R R'.
#pragma once

#include <vector>

#include "encode/matrix.h"

namespace lq::cpu {

struct LowRank {
  std::vector<float> l1, l2;  // [rows, rank], [rank, cols] in the space's coordinates
};

// Factors of e [rows, cols]. With a Fisher weight in the weight's own coordinates, means of its rows and columns stand
// for it.
Status low_rank_of(const EncodeMatrix& matrix, const EncodeSpace& space, const std::vector<float>& e, int32_t rank,
                   LowRank* out);

}  // namespace lq::cpu
