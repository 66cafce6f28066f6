#include "lm/fused.h"

#include <algorithm>

namespace lq::lm {

WeightKind stored_in(const LanguageModelConfig& c, WeightKind part) {
  const bool attention = c.attention.fused != Fused::none, mlp = c.mlp.fused != Fused::none;
  switch (part) {
    case WeightKind::q:
    case WeightKind::k:
    case WeightKind::v:
      return attention ? WeightKind::qkv : part;
    case WeightKind::q_bias:
    case WeightKind::k_bias:
    case WeightKind::v_bias:
      return attention ? WeightKind::qkv_bias : part;
    case WeightKind::gate:
    case WeightKind::up:
      return mlp ? WeightKind::gate_up : part;
    case WeightKind::gate_bias:
    case WeightKind::up_bias:
      return mlp ? WeightKind::gate_up_bias : part;
    default:
      return part;
  }
}

RowRuns rows_in(const LanguageModelConfig& c, WeightKind part, int64_t rows) {
  if (stored_in(c, part) == part) return {0, rows, rows, 1};
  const int64_t dim = c.head_dim, group = c.heads / c.kv_heads;
  const int64_t q = c.heads * dim, kv = c.kv_heads * dim;
  const bool grouped = c.attention.fused == Fused::grouped;
  switch (part) {
    case WeightKind::q:
    case WeightKind::q_bias:
      return grouped ? RowRuns{0, group * dim, (group + 2) * dim, c.kv_heads} : RowRuns{0, q, q, 1};
    case WeightKind::k:
    case WeightKind::k_bias:
      return grouped ? RowRuns{group * dim, dim, (group + 2) * dim, c.kv_heads} : RowRuns{q, kv, kv, 1};
    case WeightKind::v:
    case WeightKind::v_bias:
      return grouped ? RowRuns{(group + 1) * dim, dim, (group + 2) * dim, c.kv_heads} : RowRuns{q + kv, kv, kv, 1};
    case WeightKind::up:
    case WeightKind::up_bias:
      return {rows, rows, rows, 1};
    default:
      return {0, rows, rows, 1};
  }
}

void copy_part(const RowRuns& runs, int64_t cols, const float* fused, float* part) {
  for (int64_t i = 0; i < runs.count; ++i) {
    std::copy_n(fused + (runs.first + i * runs.stride) * cols, runs.size * cols, part + i * runs.size * cols);
  }
}

}  // namespace lq::lm
