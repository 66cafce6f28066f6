#include "lm/fused.h"

#include <algorithm>

namespace lq::lm {

namespace {

// How gate and up of a block, or of an expert, lie in one tensor.
Fused fused_mlp(const LanguageModelConfig& c, int32_t expert) {
  return expert == kNoExpert ? c.mlp.fused : c.moe.fused;
}

}  // namespace

WeightKind stored_in(const LanguageModelConfig& c, WeightKind part, int32_t expert) {
  const bool attention = c.attention.fused != Fused::none, mlp = fused_mlp(c, expert) != Fused::none;
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

RowRuns rows_in(const LanguageModelConfig& c, WeightKind part, int64_t rows, int32_t expert) {
  if (stored_in(c, part, expert) == part) return {0, rows, rows, 1};
  const int64_t dim = c.head_dim, group = c.heads / c.kv_heads;
  const int64_t q = c.heads * dim, kv = c.kv_heads * dim;
  const bool grouped = c.attention.fused == Fused::grouped;
  const bool in_turn = fused_mlp(c, expert) == Fused::interleaved;
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
      return in_turn ? RowRuns{1, 1, 2, rows} : RowRuns{rows, rows, rows, 1};
    default:
      return in_turn ? RowRuns{0, 1, 2, rows} : RowRuns{0, rows, rows, 1};
  }
}

void copy_part(const RowRuns& runs, int64_t cols, const float* fused, float* part) {
  for (int64_t i = 0; i < runs.count; ++i) {
    std::copy_n(fused + (runs.first + i * runs.stride) * cols, runs.size * cols, part + i * runs.size * cols);
  }
}

}  // namespace lq::lm
