// The weights of a reference model: random, given to a backend by place, fused where the configuration fuses them.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "language_model_reference.h"

namespace lq::contract {

using Vector = std::vector<double>;
using Kind = WeightKind;

ReferenceModel::ReferenceModel(const LanguageModelConfig& c, uint64_t seed) : config(c) {
  std::mt19937_64 random(seed);
  const int64_t q = int64_t{c.heads} * c.head_dim, kv = int64_t{c.kv_heads} * c.head_dim;
  int32_t expert = kNoExpert;  // whose weights are filled
  const auto fill = [&](int32_t layer, Kind kind, int64_t count, double mean, double deviation) {
    std::normal_distribution<double> normal(mean, deviation);
    Vector& w = weights_[{layer, kind, expert}];
    w.resize(count);
    for (double& x : w) x = static_cast<float>(normal(random));
  };
  const HeadNorm head_norm = c.attention.head_norm;
  const bool own = head_norm == HeadNorm::together || head_norm == HeadNorm::layer_own;
  const auto matrix = [&](int32_t layer, Kind kind, int64_t rows, int64_t cols) {
    fill(layer, kind, rows * cols, 0, 1.3 / std::sqrt(static_cast<double>(cols)));
  };
  fill(-1, Kind::embedding, int64_t{c.vocab} * c.hidden, 0, 1);
  const double around = 1 - c.norms.offset;
  const auto fill_norm = [&](int32_t layer, Kind weight, Kind bias) {
    if (!c.norms.bare) fill(layer, weight, c.hidden, around, 0.2);
    const bool biased = c.norms.kind == NormKind::layer && !c.norms.bare && !c.norms.unbiased;
    if (biased) fill(layer, bias, c.hidden, 0, 0.3);
  };
  if (!c.norms.none_last) fill_norm(-1, Kind::final_norm, Kind::final_norm_bias);
  if (c.embedding.positions > 0) fill(-1, Kind::positions, int64_t{c.embedding.positions} * c.hidden, 0, 0.5);
  if (c.embedding.types > 0) fill(-1, Kind::types, int64_t{c.embedding.types} * c.hidden, 0, 0.5);
  if (c.embedding.norm) fill_norm(-1, Kind::embedding_norm, Kind::embedding_norm_bias);
  if (c.head.transform) {
    matrix(-1, Kind::head_dense, c.hidden, c.hidden);
    if (c.head.transform_bias) fill(-1, Kind::head_dense_bias, c.hidden, 0, 0.5);
    if (c.head.transform_norm) fill_norm(-1, Kind::head_norm, Kind::head_norm_bias);
  }
  if (c.head.bias) fill(-1, Kind::head_bias, c.vocab, 0, 0.5);
  if (!c.tied_embeddings) matrix(-1, Kind::head, c.vocab, c.hidden);
  for (int32_t layer = 0; layer < c.layers; ++layer) {
    if (!c.norms.none_before) {
      if (!c.norms.none_first || layer > 0) fill_norm(layer, Kind::input_norm, Kind::input_norm_bias);
      if (!c.attention.shared_norm) fill_norm(layer, Kind::post_attention_norm, Kind::post_attention_norm_bias);
    }
    if (c.norms.after || c.norms.of_sum) {
      fill_norm(layer, Kind::attention_output_norm, Kind::attention_output_norm_bias);
      fill_norm(layer, Kind::mlp_output_norm, Kind::mlp_output_norm_bias);
    }
    matrix(layer, Kind::q, q, c.hidden);
    matrix(layer, Kind::k, kv, c.hidden);
    matrix(layer, Kind::v, kv, c.hidden);
    matrix(layer, Kind::o, c.hidden, q);
    const LayerTraits traits = traits_of(c, layer);
    const auto three = [&](int64_t inner) {
      if (!c.mlp.plain) matrix(layer, Kind::gate, inner, c.hidden);
      matrix(layer, Kind::up, inner, c.hidden);
      matrix(layer, Kind::down, c.hidden, inner);
    };
    if (traits.width > 0) three(traits.width);
    if (traits.routed) {
      const MoeConfig& m = c.moe;
      matrix(layer, Kind::router, m.experts, c.hidden);
      if (m.router_bias) fill(layer, Kind::router_bias, m.experts, 0, 0.5);
      if (m.correction_bias) fill(layer, Kind::router_correction, m.experts, 0, 0.3);
      if (m.shared_gate) matrix(layer, Kind::shared_gate, 1, c.hidden);
      for (expert = 0; expert < m.experts; ++expert) {
        three(m.intermediate);
        if (!m.expert_bias) continue;
        fill(layer, Kind::gate_bias, m.intermediate, 0, 0.5);
        fill(layer, Kind::up_bias, m.intermediate, 0, 0.5);
        fill(layer, Kind::down_bias, c.hidden, 0, 0.5);
      }
      expert = kNoExpert;
    }
    if (c.attention_bias) {
      fill(layer, Kind::q_bias, q, 0, 0.5);
      fill(layer, Kind::k_bias, kv, 0, 0.5);
      fill(layer, Kind::v_bias, kv, 0, 0.5);
    }
    if (c.attention.sinks) fill(layer, Kind::sinks, c.heads, 0, 1);
    if (c.output_bias) fill(layer, Kind::o_bias, c.hidden, 0, 0.5);
    if (c.qk_norm && head_norm != HeadNorm::bare) {
      fill(layer, Kind::q_norm, own ? q : c.head_dim, around, 0.2);
      fill(layer, Kind::k_norm, own ? kv : c.head_dim, around, 0.2);
      if (head_norm == HeadNorm::layer) fill(layer, Kind::q_norm_bias, c.head_dim, 0, 0.3);
      if (head_norm == HeadNorm::layer) fill(layer, Kind::k_norm_bias, c.head_dim, 0, 0.3);
    }
    if (c.mlp_bias) {
      if (!c.mlp.plain) fill(layer, Kind::gate_bias, c.intermediate, 0, 0.5);
      fill(layer, Kind::up_bias, c.intermediate, 0, 0.5);
      fill(layer, Kind::down_bias, c.hidden, 0, 0.5);
    }
  }
}

std::vector<double>* ReferenceModel::weight(int32_t layer, Kind kind, int32_t expert) {
  const auto found = weights_.find({layer, kind, expert});
  return found == weights_.end() ? nullptr : &found->second;
}

const std::vector<double>* ReferenceModel::find(int32_t layer, Kind kind, int32_t expert) const {
  const auto found = weights_.find({layer, kind, expert});
  return found == weights_.end() ? nullptr : &found->second;
}

WeightProvider ReferenceModel::provider() {
  return {this, [](void* user, int32_t layer, Kind kind, int32_t expert, float* out, int64_t count) {
            Status status{StatusCode::ok, -1, {}};
            auto* self = static_cast<ReferenceModel*>(user);
            if (kind == Kind::qkv || kind == Kind::qkv_bias || kind == Kind::gate_up || kind == Kind::gate_up_bias) {
              for (int64_t i = 0; i < count; ++i) {
                const auto [part, index] = self->origin(kind, i, expert);
                out[i] = static_cast<float>(self->at(layer, part, expert).at(index));
              }
              return status;
            }
            const Vector* w = self->weight(layer, kind, expert);
            if (w == nullptr || static_cast<int64_t>(w->size()) != count) {
              status.code = StatusCode::invalid_argument;
              std::snprintf(status.message, sizeof status.message, "kind %d of layer %d asked for with %lld elements",
                            static_cast<int>(kind), layer, static_cast<long long>(count));
              return status;
            }
            std::transform(w->begin(), w->end(), out, [](double x) { return static_cast<float>(x); });
            return status;
          }};
}

// The part of a fused tensor that has its element, and which of its own that is.
std::pair<WeightKind, int64_t> ReferenceModel::origin(Kind kind, int64_t index, int32_t expert) const {
  const LanguageModelConfig& c = config;
  const bool matrix = kind == Kind::qkv || kind == Kind::gate_up;
  const int64_t cols = matrix ? c.hidden : 1, row = index / cols, col = index % cols;
  const int64_t dim = c.head_dim, group = c.heads / c.kv_heads;
  const auto of = [&](Kind weight, Kind bias, int64_t own) {
    return std::pair{matrix ? weight : bias, own * cols + col};
  };
  if (kind == Kind::gate_up || kind == Kind::gate_up_bias) {
    if (expert != kNoExpert && c.moe.fused == Fused::interleaved) {
      return row % 2 == 0 ? of(Kind::gate, Kind::gate_bias, row / 2) : of(Kind::up, Kind::up_bias, row / 2);
    }
    const int64_t inner = expert == kNoExpert ? c.intermediate : c.moe.intermediate;
    return row < inner ? of(Kind::gate, Kind::gate_bias, row) : of(Kind::up, Kind::up_bias, row - inner);
  }
  if (c.attention.fused == Fused::grouped) {
    const int64_t head = row / dim % (group + 2), key = row / dim / (group + 2), in = row % dim;
    if (head < group) return of(Kind::q, Kind::q_bias, (key * group + head) * dim + in);
    return head == group ? of(Kind::k, Kind::k_bias, key * dim + in) : of(Kind::v, Kind::v_bias, key * dim + in);
  }
  const int64_t q = c.heads * dim, kv = c.kv_heads * dim;
  if (row < q) return of(Kind::q, Kind::q_bias, row);
  return row < q + kv ? of(Kind::k, Kind::k_bias, row - q) : of(Kind::v, Kind::v_bias, row - q - kv);
}

}  // namespace lq::contract
