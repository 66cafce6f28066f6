#include "lm/weights.h"

#include <algorithm>

#include "lm/sums.h"

namespace lq::lm {
namespace {

// The tensors of a block in the order they lie in the arena.
struct LayerTensor {
  WeightKind kind;
  const float* LayerWeights::*field;
};
constexpr LayerTensor kLayerTensors[] = {
    {WeightKind::input_norm, &LayerWeights::input_norm},
    {WeightKind::input_norm_bias, &LayerWeights::input_norm_bias},
    {WeightKind::q, &LayerWeights::q},
    {WeightKind::k, &LayerWeights::k},
    {WeightKind::v, &LayerWeights::v},
    {WeightKind::q_bias, &LayerWeights::q_bias},
    {WeightKind::k_bias, &LayerWeights::k_bias},
    {WeightKind::v_bias, &LayerWeights::v_bias},
    {WeightKind::q_norm, &LayerWeights::q_norm},
    {WeightKind::k_norm, &LayerWeights::k_norm},
    {WeightKind::o, &LayerWeights::o},
    {WeightKind::o_bias, &LayerWeights::o_bias},
    {WeightKind::attention_output_norm, &LayerWeights::attention_output_norm},
    {WeightKind::post_attention_norm, &LayerWeights::post_attention_norm},
    {WeightKind::post_attention_norm_bias, &LayerWeights::post_attention_norm_bias},
    {WeightKind::gate, &LayerWeights::gate},
    {WeightKind::up, &LayerWeights::up},
    {WeightKind::gate_bias, &LayerWeights::gate_bias},
    {WeightKind::up_bias, &LayerWeights::up_bias},
    {WeightKind::down, &LayerWeights::down},
    {WeightKind::down_bias, &LayerWeights::down_bias},
    {WeightKind::mlp_output_norm, &LayerWeights::mlp_output_norm},
};

// Elements of a block's tensor; 0 when this architecture has none.
int64_t tensor_size(const LanguageModelConfig& c, WeightKind kind) {
  const int64_t q = static_cast<int64_t>(c.heads) * c.head_dim, kv = static_cast<int64_t>(c.kv_heads) * c.head_dim;
  switch (kind) {
    case WeightKind::input_norm:
    case WeightKind::post_attention_norm:
      return c.no_norm_before ? 0 : c.hidden;
    case WeightKind::input_norm_bias:
    case WeightKind::post_attention_norm_bias:
      return c.norm == NormKind::layer && !c.no_norm_before ? c.hidden : 0;
    case WeightKind::attention_output_norm:
    case WeightKind::mlp_output_norm:
      return c.norm_after ? c.hidden : 0;
    case WeightKind::q_bias:
      return c.attention_bias ? q : 0;
    case WeightKind::k_bias:
    case WeightKind::v_bias:
      return c.attention_bias ? kv : 0;
    case WeightKind::o_bias:
      return c.output_bias ? c.hidden : 0;
    case WeightKind::q_norm:
      return c.qk_norm ? c.qk_norm_full ? q : c.head_dim : 0;
    case WeightKind::k_norm:
      return c.qk_norm ? c.qk_norm_full ? kv : c.head_dim : 0;
    case WeightKind::gate_bias:
      return c.mlp_bias && !c.plain_mlp ? c.intermediate : 0;
    case WeightKind::up_bias:
      return c.mlp_bias ? c.intermediate : 0;
    case WeightKind::down_bias:
      return c.mlp_bias ? c.hidden : 0;
    default: {
      const MatrixShape shape = matrix_shape(c, kind);
      return shape.rows * shape.cols;
    }
  }
}

bool is_rms_weight(const LanguageModelConfig& c, WeightKind kind) {
  switch (kind) {
    case WeightKind::input_norm:
    case WeightKind::post_attention_norm:
    case WeightKind::attention_output_norm:
    case WeightKind::mlp_output_norm:
    case WeightKind::final_norm:
      return c.norm == NormKind::rms;
    default:
      return kind == WeightKind::q_norm || kind == WeightKind::k_norm;
  }
}

}  // namespace

void Weights::load(int32_t layer, WeightKind kind, int64_t count, float* out) {
  const Status status = provider_.load(provider_.user, layer, kind, out, count);
  if (status.code != StatusCode::ok) throw Failure{status};
  if (config_.norm_offset == 0 || !is_rms_weight(config_, kind)) return;
  for (int64_t i = 0; i < count; ++i) out[i] += config_.norm_offset;
}

LayerWeights Weights::layer(const Batch& batch, int32_t layer) {
  int64_t total = 0;
  for (const LayerTensor& t : kLayerTensors) total += tensor_size(config_, t.kind);
  arena_.reserve(total);
  LayerWeights weights{};
  weights.traits =
      config_.traits != nullptr ? config_.traits[layer] : LayerTraits{config_.sliding_window, LayerRotary::standard};
  float* at = arena_.data();
  for (const LayerTensor& t : kLayerTensors) {
    const int64_t count = tensor_size(config_, t.kind);
    if (count == 0) continue;
    batch.check();
    load(layer, t.kind, count, at);
    weights.*t.field = at;
    at += count;
  }
  return weights;
}

HeadWeights Weights::head(const Batch& batch) {
  const int64_t hidden = config_.hidden, count = int64_t{config_.vocab} * hidden;
  const bool biased = config_.norm == NormKind::layer;
  arena_.reserve(2 * hidden + count);
  batch.check();
  float* norm = arena_.data();
  float* bias = norm + hidden;
  float* weight = bias + hidden;
  load(-1, WeightKind::final_norm, hidden, norm);
  if (biased) load(-1, WeightKind::final_norm_bias, hidden, bias);
  if (config_.logit_scale > 0) {
    // Logits are linear in what the norm gives, and that in its weight and bias.
    const auto factor = static_cast<float>(config_.logit_scale);
    for (int64_t i = 0; i < (biased ? 2 : 1) * hidden; ++i) norm[i] *= factor;
  }
  load(-1, config_.tied_embeddings ? WeightKind::embedding : WeightKind::head, count, weight);
  return {{norm, biased ? bias : nullptr}, weight};
}

void Weights::embed(const Batch& batch, const int32_t* tokens, int64_t count, float* x) {
  const int64_t hidden = config_.hidden, table = config_.vocab * hidden;
  arena_.reserve(table);
  batch.check();
  load(-1, WeightKind::embedding, table, arena_.data());
  for (int64_t i = 0; i < count; ++i) std::copy_n(arena_.data() + tokens[i] * hidden, hidden, x + i * hidden);
  if (config_.embedding_scale > 0) {
    const auto factor = static_cast<float>(config_.embedding_scale);
    for (int64_t i = 0; i < count * hidden; ++i) x[i] *= factor;
  }
}

}  // namespace lq::lm
