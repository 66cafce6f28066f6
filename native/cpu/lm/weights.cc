#include "lm/weights.h"

#include <algorithm>

#include "lm/fused.h"
#include "lm/half.h"
#include "lm/kernels.h"
#include "lm/norm.h"
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
    {WeightKind::sinks, &LayerWeights::sinks},
    {WeightKind::q_norm_bias, &LayerWeights::q_norm_bias},
    {WeightKind::k_norm_bias, &LayerWeights::k_norm_bias},
    {WeightKind::attention_output_norm, &LayerWeights::attention_output_norm},
    {WeightKind::attention_output_norm_bias, &LayerWeights::attention_output_norm_bias},
    {WeightKind::post_attention_norm, &LayerWeights::post_attention_norm},
    {WeightKind::post_attention_norm_bias, &LayerWeights::post_attention_norm_bias},
    {WeightKind::gate, &LayerWeights::gate},
    {WeightKind::up, &LayerWeights::up},
    {WeightKind::gate_bias, &LayerWeights::gate_bias},
    {WeightKind::up_bias, &LayerWeights::up_bias},
    {WeightKind::down, &LayerWeights::down},
    {WeightKind::down_bias, &LayerWeights::down_bias},
    {WeightKind::mlp_output_norm, &LayerWeights::mlp_output_norm},
    {WeightKind::mlp_output_norm_bias, &LayerWeights::mlp_output_norm_bias},
    {WeightKind::shared_gate, &LayerWeights::shared_gate},
};

constexpr std::pair<WeightKind, const float * RouterWeights::*> kRouterTensors[] = {
    {WeightKind::router, &RouterWeights::weight},
    {WeightKind::router_bias, &RouterWeights::bias},
    {WeightKind::router_correction, &RouterWeights::correction},
};

constexpr std::pair<WeightKind, const float * ExpertWeights::*> kExpertTensors[] = {
    {WeightKind::gate, &ExpertWeights::gate},       {WeightKind::up, &ExpertWeights::up},
    {WeightKind::down, &ExpertWeights::down},       {WeightKind::gate_bias, &ExpertWeights::gate_bias},
    {WeightKind::up_bias, &ExpertWeights::up_bias}, {WeightKind::down_bias, &ExpertWeights::down_bias},
};

// Elements of a tensor of an expert; 0 when this architecture has none.
int64_t expert_tensor_size(const LanguageModelConfig& c, WeightKind kind) {
  switch (kind) {
    case WeightKind::gate_bias:
    case WeightKind::up_bias:
      return c.moe.expert_bias ? c.moe.intermediate : 0;
    case WeightKind::down_bias:
      return c.moe.expert_bias ? c.hidden : 0;
    default:
      return int64_t{c.moe.intermediate} * c.hidden;
  }
}

// Elements of a part of a block; 0 when this architecture has none.
int64_t tensor_size(const LanguageModelConfig& c, int32_t layer, WeightKind kind) {
  const int64_t q = static_cast<int64_t>(c.heads) * c.head_dim, kv = static_cast<int64_t>(c.kv_heads) * c.head_dim;
  const LayerTraits traits = traits_of(c, layer);
  const NormParts& n = c.norms;
  const bool layer_norms = n.kind == NormKind::layer;
  const auto head_norm = [&](int64_t all) -> int64_t {
    if (!c.qk_norm || (c.attention.head_norm == HeadNorm::bare && traits.rotary == LayerRotary::none)) return 0;
    const HeadNorm kind_of = c.attention.head_norm;
    return kind_of == HeadNorm::together || kind_of == HeadNorm::layer_own ? all : c.head_dim;
  };
  const bool head_layer = c.attention.head_norm == HeadNorm::layer || c.attention.head_norm == HeadNorm::layer_own;
  switch (kind) {
    case WeightKind::input_norm:
      return n.none_before || (n.none_first && layer == 0) ? 0 : c.hidden;
    case WeightKind::input_norm_bias:
      return layer_norms ? tensor_size(c, layer, WeightKind::input_norm) : 0;
    case WeightKind::post_attention_norm:
      return n.none_before || c.attention.shared_norm ? 0 : c.hidden;
    case WeightKind::post_attention_norm_bias:
      return layer_norms ? tensor_size(c, layer, WeightKind::post_attention_norm) : 0;
    case WeightKind::attention_output_norm:
    case WeightKind::mlp_output_norm:
      return n.after || n.of_sum ? c.hidden : 0;
    case WeightKind::attention_output_norm_bias:
    case WeightKind::mlp_output_norm_bias:
      return layer_norms && (n.after || n.of_sum) ? c.hidden : 0;
    case WeightKind::q_bias:
      return c.attention_bias ? q : 0;
    case WeightKind::k_bias:
    case WeightKind::v_bias:
      return c.attention_bias ? kv : 0;
    case WeightKind::o_bias:
      return c.output_bias ? c.hidden : 0;
    case WeightKind::q_norm:
      return head_norm(q);
    case WeightKind::k_norm:
      return head_norm(kv);
    case WeightKind::q_norm_bias:
      return head_layer ? head_norm(q) : 0;
    case WeightKind::k_norm_bias:
      return head_layer ? head_norm(kv) : 0;
    case WeightKind::sinks:
      return c.attention.sinks ? c.heads : 0;
    case WeightKind::gate_bias:
      return c.mlp_bias && !c.mlp.plain ? traits.width : 0;
    case WeightKind::up_bias:
      return c.mlp_bias ? traits.width : 0;
    case WeightKind::down_bias:
      return c.mlp_bias && traits.width > 0 ? c.hidden : 0;
    case WeightKind::router:
      return traits.routed ? int64_t{c.moe.experts} * c.hidden : 0;
    case WeightKind::router_bias:
      return traits.routed && c.moe.router_bias ? c.moe.experts : 0;
    case WeightKind::router_correction:
      return traits.routed && c.moe.correction_bias ? c.moe.experts : 0;
    case WeightKind::shared_gate:
      return traits.routed && c.moe.shared_gate ? c.hidden : 0;
    default: {
      const MatrixShape shape = part_shape(c, layer, kind);
      return shape.rows * shape.cols;
    }
  }
}

enum class NormTensor { none, weight, bias, head_weight, head_bias };
NormTensor norm_tensor(WeightKind kind) {
  switch (kind) {
    case WeightKind::input_norm:
    case WeightKind::post_attention_norm:
    case WeightKind::attention_output_norm:
    case WeightKind::mlp_output_norm:
    case WeightKind::final_norm:
    case WeightKind::embedding_norm:
    case WeightKind::head_norm:
      return NormTensor::weight;
    case WeightKind::input_norm_bias:
    case WeightKind::post_attention_norm_bias:
    case WeightKind::attention_output_norm_bias:
    case WeightKind::mlp_output_norm_bias:
    case WeightKind::final_norm_bias:
    case WeightKind::embedding_norm_bias:
    case WeightKind::head_norm_bias:
      return NormTensor::bias;
    case WeightKind::q_norm:
    case WeightKind::k_norm:
      return NormTensor::head_weight;
    case WeightKind::q_norm_bias:
    case WeightKind::k_norm_bias:
      return NormTensor::head_bias;
    default:
      return NormTensor::none;
  }
}

// Whether the architecture computes without this tensor of a norm: its weight is 1 then, its bias 0.
bool left_out(const LanguageModelConfig& c, NormTensor tensor) {
  switch (tensor) {
    case NormTensor::weight:
      return c.norms.bare;
    case NormTensor::bias:
      return c.norms.bare || c.norms.unbiased;
    case NormTensor::head_bias:
      return c.attention.head_norm == HeadNorm::layer_own;
    case NormTensor::head_weight:
      return c.attention.head_norm == HeadNorm::bare;
    default:
      return false;
  }
}

// Lays arrays out in a buffer one after another.
class Layout {
 public:
  float* take(int64_t count) {
    float* at = at_;
    at_ += count;
    return at;
  }
  explicit Layout(float* buffer) : at_(buffer) {}

 private:
  float* at_;
};

}  // namespace

void Weights::load(int32_t layer, WeightKind kind, int32_t expert, int64_t count, float* out) {
  const NormTensor tensor = norm_tensor(kind);
  const bool weight = tensor == NormTensor::weight || tensor == NormTensor::head_weight;
  if (left_out(config_, tensor)) {
    std::fill_n(out, count, weight ? 1.0f : 0.0f);
    return;
  }
  const Status status = provider_.load(provider_.user, layer, kind, expert, out, count);
  if (status.code != StatusCode::ok) throw Failure{status};
  if (config_.norms.offset == 0 || !weight) return;
  for (int64_t i = 0; i < count; ++i) out[i] += config_.norms.offset;
}

LayerWeights Weights::layer(const Batch& batch, int32_t layer) {
  batch.forget_weights();
  const LanguageModelConfig& c = config_;
  // The largest fused tensor is read behind the block's own, and taken apart from there.
  const MatrixShape qkv = matrix_shape(c, layer, WeightKind::qkv);
  const MatrixShape gate_up = matrix_shape(c, layer, WeightKind::gate_up);
  const int64_t fused = std::max(qkv.rows * qkv.cols, gate_up.rows * gate_up.cols);
  int64_t total = 0;
  for (const LayerTensor& t : kLayerTensors) total += tensor_size(c, layer, t.kind);
  for (const auto& [kind, field] : kRouterTensors) total += tensor_size(c, layer, kind);
  arena_.reserve(total + fused);
  LayerWeights weights{};
  weights.traits = traits_of(c, layer);
  Layout layout(arena_.data());
  float* whole = arena_.data() + total;
  WeightKind held = WeightKind::embedding;  // what `whole` has
  for (const LayerTensor& t : kLayerTensors) {
    const int64_t count = tensor_size(c, layer, t.kind);
    if (count == 0) continue;
    batch.check();
    float* at = layout.take(count);
    weights.*t.field = at;
    const WeightKind stored = stored_in(c, t.kind);
    if (stored == t.kind) {
      load(layer, t.kind, kNoExpert, count, at);
      continue;
    }
    const MatrixShape shape = part_shape(c, layer, t.kind);  // of a bias: none
    const int64_t cols = shape.rows > 0 ? shape.cols : 1, rows = count / cols;
    if (held != stored) {
      load(layer, stored, kNoExpert,
           (stored == WeightKind::qkv_bias || stored == WeightKind::qkv ? qkv.rows : gate_up.rows) * cols, whole);
      held = stored;
    }
    copy_part(rows_in(c, t.kind, rows), cols, whole, at);
  }
  for (const auto& [kind, field] : kRouterTensors) {
    const int64_t count = tensor_size(c, layer, kind);
    if (count == 0) continue;
    float* at = layout.take(count);
    load(layer, kind, kNoExpert, count, at);
    weights.router.*field = at;
  }
  experts_.layer = layer;
  weights.experts = &experts_;
  return weights;
}

void Weights::Experts::load(const Batch& batch, const int32_t* experts, int64_t count, ExpertWeights* out) {
  batch.forget_weights();
  const LanguageModelConfig& c = weights_->config_;
  int64_t each = 0;
  for (const auto& [kind, field] : kExpertTensors) each += expert_tensor_size(c, kind);
  // A fused tensor is read behind them all, and taken apart from there.
  const int64_t hidden = c.hidden, inner = c.moe.intermediate;
  const int64_t fused = c.moe.fused == Fused::none ? 0 : 2 * inner * hidden;
  weights_->expert_arena_.reserve(count * each + fused);
  float* at = weights_->expert_arena_.data();
  float* whole = at + count * each;
  for (int64_t i = 0; i < count; ++i) {
    out[i] = {};
    WeightKind held = WeightKind::embedding;  // what `whole` has
    for (const auto& [kind, field] : kExpertTensors) {
      const int64_t size = expert_tensor_size(c, kind);
      if (size == 0) continue;
      batch.check();
      const WeightKind stored = stored_in(c, kind, experts[i]);
      if (stored == kind) {
        weights_->load(layer, kind, experts[i], size, at);
      } else {
        if (held != stored) weights_->load(layer, stored, experts[i], 2 * size, whole);
        held = stored;
        copy_part(rows_in(c, kind, inner, experts[i]), size / inner, whole, at);
      }
      out[i].*field = at;
      at += size;
    }
  }
}

HeadWeights Weights::head(const Batch& batch) {
  batch.forget_weights();
  const LanguageModelConfig& c = config_;
  const HeadParts& h = c.head;
  const int64_t hidden = c.hidden, width = head_width(c), vocab = c.vocab;
  const bool biased = c.norms.kind == NormKind::layer;
  arena_.reserve(2 * hidden + (h.transform ? width * (hidden + 3) : 0) + vocab + vocab * width);
  batch.check();
  Layout layout(arena_.data());
  const auto take = [&](WeightKind kind, int64_t count) {
    float* at = layout.take(count);
    load(-1, kind, kNoExpert, count, at);
    return at;
  };
  HeadWeights weights{};
  if (!c.norms.none_last) {
    float* norm = take(WeightKind::final_norm, hidden);
    weights.norm = {norm, biased ? take(WeightKind::final_norm_bias, hidden) : nullptr};
  }
  if (h.transform) {
    weights.dense = take(WeightKind::head_dense, width * hidden);
    if (h.transform_bias) weights.dense_bias = take(WeightKind::head_dense_bias, width);
    if (h.transform_norm) {
      float* norm = take(WeightKind::head_norm, width);
      weights.dense_norm = {norm, biased ? take(WeightKind::head_norm_bias, width) : nullptr};
    }
  }
  if (h.bias) weights.bias = take(WeightKind::head_bias, vocab);
  weights.weight = take(c.tied_embeddings ? WeightKind::embedding : WeightKind::head, vocab * width);
  return weights;
}

void Weights::embed(const Batch& batch, const int32_t* tokens, int64_t count, float* x) {
  batch.forget_weights();
  const LanguageModelConfig& c = config_;
  const EmbeddingParts& e = c.embedding;
  const int64_t hidden = c.hidden, width = embedding_width(c), table = c.vocab * width;
  const bool projected = width != hidden;
  Buffer narrow;
  if (projected) narrow.reserve(count * width);
  float* rows = projected ? narrow.data() : x;
  arena_.reserve(std::max({table, int64_t{e.positions} * hidden, int64_t{e.types} * hidden, hidden * (width + 1)}));
  batch.check();
  load(-1, WeightKind::embedding, kNoExpert, table, arena_.data());
  for (int64_t i = 0; i < count; ++i) {
    const int64_t token = tokens[i] < 0 ? c.mask_token : tokens[i];
    std::copy_n(arena_.data() + token * width, width, rows + i * width);
  }
  if (e.scale > 0) {
    const auto factor = static_cast<float>(e.scale);
    for (int64_t i = 0; i < count * width; ++i) rows[i] *= factor;
  }
  int64_t size = width;
  const auto project_rows = [&] {
    load(-1, WeightKind::embedding_projection, kNoExpert, hidden * width, arena_.data());
    float* bias = e.projection_bias ? arena_.data() + hidden * width : nullptr;
    if (bias != nullptr) load(-1, WeightKind::embedding_projection_bias, kNoExpert, hidden, bias);
    batch.for_pieces(count, [&](int64_t first, int64_t n) {
      project(batch, rows + first * width, arena_.data(), bias, n, width, hidden, x + first * hidden);
    });
    rows = x;
    size = hidden;
  };
  if (projected && e.project_first) project_rows();
  if (e.positions > 0) {
    load(-1, WeightKind::positions, kNoExpert, e.positions * size, arena_.data());
    add_positions(batch, tokens, count, size, arena_.data(), rows);
  }
  if (e.types > 0) {
    load(-1, WeightKind::types, kNoExpert, e.types * size, arena_.data());
    for (int64_t i = 0; i < count; ++i) kernels().add(arena_.data(), size, rows + i * size);
  }
  if (e.norm) {
    float* weight = arena_.data();
    load(-1, WeightKind::embedding_norm, kNoExpert, size, weight);
    float* bias = c.norms.kind == NormKind::layer ? weight + size : nullptr;
    if (bias != nullptr) load(-1, WeightKind::embedding_norm_bias, kNoExpert, size, bias);
    norm(c, {weight, bias}, rows, count, size, rows);
  }
  if (projected && !e.project_first) project_rows();
}

// Each token's row of the table of positions; a padding token has the one before the first.
void Weights::add_positions(const Batch& batch, const int32_t* tokens, int64_t count, int64_t size, const float* table,
                            float* x) const {
  const EmbeddingParts& e = config_.embedding;
  int64_t next = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (i % batch.context == 0) next = e.position_offset;
    const bool padding = e.padding >= 0 && tokens[i] == e.padding;
    const int64_t row = padding ? e.position_offset - 1 : next++;
    if (row >= e.positions) fail(StatusCode::invalid_argument, "the context is longer than the model's positions");
    kernels().add(table + row * size, size, x + i * size);
  }
}

}  // namespace lq::lm
