#include "lm/shape.h"

#include "lm/fused.h"
#include "runtime/memory.h"

namespace lq::cuda {
namespace {

// Widths the attention kernels are built for.
constexpr int64_t kHeadWidths[] = {16, 32, 64, 80, 96, 128, 256};

bool plausible(const LanguageModelConfig& c) {
  return c.layers > 0 && c.hidden > 0 && c.heads > 0 && c.kv_heads > 0 && c.heads % c.kv_heads == 0 && c.head_dim > 0 &&
         c.head_dim % 2 == 0 && c.intermediate >= 0 && c.vocab > 0 && c.max_positions > 0 && c.rope_theta > 0 &&
         c.rotary.dim % 2 == 0 && c.rotary.dim <= c.head_dim;
}

bool plausible_layers(const LanguageModelConfig& c) {
  const MoeConfig& m = c.moe;
  const bool groups = m.groups <= 1 || (m.experts % m.groups == 0 && m.top_groups > 0 && m.top_groups <= m.groups &&
                                        m.experts / m.groups * m.top_groups >= m.top_k);
  const bool router = m.top_k > 0 && m.top_k <= m.experts && m.intermediate > 0 && groups &&
                      (!m.scale_input || (m.score == RouterScore::sigmoid && !m.renormalise));
  for (int32_t i = 0; i < c.layers; ++i) {
    const LayerTraits t = traits_of(c, i);
    if (t.width < 0 || t.width > c.intermediate || (t.width == 0 && !t.routed)) return false;
    if (t.routed && (!router || c.mlp.plain || c.attention.parallel || c.norms.of_sum)) return false;
  }
  return true;
}

// Whether norms of queries and keys have a weight for every head.
bool has_own_norms(const LanguageModelConfig& c) {
  return c.attention.head_norm == HeadNorm::together || c.attention.head_norm == HeadNorm::layer_own;
}

int64_t head_width(int32_t head_dim) {
  for (const int64_t width : kHeadWidths) {
    if (head_dim <= width) return width;
  }
  fail(StatusCode::unsupported, "attention heads of %d dimensions: the CUDA backend has kernels up to 256", head_dim);
}

}  // namespace

Shape::Shape(const LanguageModelConfig& c) : config(c) {
  if (const char* part = part_beyond_cuda(c)) {
    fail(StatusCode::unsupported, "the CUDA backend cannot run models with %s; the CPU can", part);
  }
  if (!plausible(c) || !plausible_layers(c))
    fail(StatusCode::invalid_argument, "impossible dimensions of a language model");
  hidden = round_up(c.hidden, 8);
  inner = round_up(c.intermediate, 8);
  vocab = round_up(c.vocab, 8);
  head = head_width(c.head_dim);
  q = c.heads * head;
  kv = c.kv_heads * head;
  qkv = q + 2 * kv;
  gates = c.mlp.plain ? inner : 2 * inner;
  experts = round_up(c.moe.experts, 8);
}

Shape Shape::with_mlp(int32_t width, Fused fused, bool biased) const {
  Shape out = *this;
  out.config.intermediate = width;
  out.config.mlp.fused = fused;
  out.config.mlp_bias = biased;
  out.inner = round_up(width, 8);
  out.gates = config.mlp.plain ? out.inner : 2 * out.inner;
  return out;
}

Shape Shape::of(const LayerTraits& traits) const { return with_mlp(traits.width, config.mlp.fused, config.mlp_bias); }
Shape Shape::of_expert() const { return with_mlp(config.moe.intermediate, config.moe.fused, config.moe.expert_bias); }
Shape Shape::at(const Place& place) const {
  if (place.layer < 0) return *this;
  return place.expert == kNoExpert ? of(traits(place.layer)) : of_expert();
}

Placement Shape::placement(WeightKind kind) const {
  const LanguageModelConfig& c = config;
  const int64_t q_rows = int64_t{c.heads} * c.head_dim, kv_rows = int64_t{c.kv_heads} * c.head_dim;
  switch (kind) {
    case WeightKind::embedding:
    case WeightKind::head:
      return {c.vocab, c.hidden, c.vocab, vocab, c.hidden, hidden};
    case WeightKind::q:
      return {q_rows, c.hidden, c.head_dim, head, c.hidden, hidden};
    case WeightKind::k:
    case WeightKind::v:
      return {kv_rows, c.hidden, c.head_dim, head, c.hidden, hidden};
    case WeightKind::o:
      return {c.hidden, q_rows, c.hidden, hidden, c.head_dim, head};
    case WeightKind::gate:
    case WeightKind::up:
      return {c.intermediate, c.hidden, c.intermediate, inner, c.hidden, hidden};
    case WeightKind::down:
      return {c.hidden, c.intermediate, c.hidden, hidden, c.intermediate, inner};
    case WeightKind::final_norm:
    case WeightKind::final_norm_bias:
    case WeightKind::input_norm:
    case WeightKind::input_norm_bias:
    case WeightKind::post_attention_norm:
    case WeightKind::post_attention_norm_bias:
    case WeightKind::attention_output_norm:
    case WeightKind::attention_output_norm_bias:
    case WeightKind::mlp_output_norm:
    case WeightKind::mlp_output_norm_bias:
    case WeightKind::embedding_norm:
    case WeightKind::embedding_norm_bias:
    case WeightKind::o_bias:
    case WeightKind::down_bias:
      return {1, c.hidden, 1, 1, c.hidden, hidden};
    case WeightKind::q_bias:
      return {1, q_rows, 1, 1, c.head_dim, head};
    case WeightKind::k_bias:
    case WeightKind::v_bias:
      return {1, kv_rows, 1, 1, c.head_dim, head};
    case WeightKind::q_norm:
    case WeightKind::q_norm_bias:
      return {1, has_own_norms(c) ? q_rows : c.head_dim, 1, 1, c.head_dim, head};
    case WeightKind::k_norm:
    case WeightKind::k_norm_bias:
      return {1, has_own_norms(c) ? kv_rows : c.head_dim, 1, 1, c.head_dim, head};
    case WeightKind::sinks:
      return {1, c.heads, 1, 1, c.heads, c.heads};
    case WeightKind::positions:
      return {c.embedding.positions, c.hidden, c.embedding.positions, c.embedding.positions, c.hidden, hidden};
    case WeightKind::types:
      return {c.embedding.types, c.hidden, c.embedding.types, c.embedding.types, c.hidden, hidden};
    case WeightKind::head_bias:
      return {1, c.vocab, 1, 1, c.vocab, vocab};
    case WeightKind::gate_bias:
    case WeightKind::up_bias:
      return {1, c.intermediate, 1, 1, c.intermediate, inner};
    case WeightKind::router:
      return {c.moe.experts, c.hidden, c.moe.experts, experts, c.hidden, hidden};
    case WeightKind::router_bias:
    case WeightKind::router_correction:
      return {1, c.moe.experts, 1, 1, c.moe.experts, experts};
    case WeightKind::shared_gate:
      return {1, c.hidden, 1, 1, c.hidden, hidden};
    case WeightKind::head_dense:
      return {c.hidden, c.hidden, c.hidden, hidden, c.hidden, hidden};
    case WeightKind::head_dense_bias:
    case WeightKind::head_norm:
    case WeightKind::head_norm_bias:
      return {1, c.hidden, 1, 1, c.hidden, hidden};
    default:
      break;  // of parts this backend does not have
  }
  fail(StatusCode::internal, "an unknown weight");
}

Placement Shape::moment_placement(BlockInput input) const {
  constexpr WeightKind kReaders[] = {WeightKind::q, WeightKind::o, WeightKind::gate, WeightKind::down};
  const Placement p = placement(kReaders[static_cast<size_t>(input)]);
  return {p.cols, p.cols, p.col_segment, p.col_pitch, p.col_segment, p.col_pitch};
}

int64_t Shape::count(WeightKind kind) const {
  const LanguageModelConfig& c = config;
  const bool layer_norms = c.norms.kind == NormKind::layer;
  bool present = true;
  switch (kind) {
    case WeightKind::q_bias:
    case WeightKind::k_bias:
    case WeightKind::v_bias:
      present = c.attention_bias;
      break;
    case WeightKind::o_bias:
      present = c.output_bias;
      break;
    case WeightKind::q_norm:
    case WeightKind::k_norm:
      present = c.qk_norm;
      break;
    case WeightKind::gate:
      present = !c.mlp.plain;
      break;
    case WeightKind::gate_bias:
      present = c.mlp_bias && !c.mlp.plain;
      break;
    case WeightKind::up_bias:
    case WeightKind::down_bias:
      present = c.mlp_bias;
      break;
    case WeightKind::q_norm_bias:
    case WeightKind::k_norm_bias:
      present = c.qk_norm && (c.attention.head_norm == HeadNorm::layer || c.attention.head_norm == HeadNorm::layer_own);
      break;
    case WeightKind::sinks:
      present = c.attention.sinks;
      break;
    case WeightKind::input_norm:
      present = !c.norms.none_before;
      break;
    case WeightKind::input_norm_bias:
      present = layer_norms && !c.norms.none_before;
      break;
    case WeightKind::post_attention_norm:
      present = !c.norms.none_before && !c.attention.shared_norm;
      break;
    case WeightKind::post_attention_norm_bias:
      present = layer_norms && !c.norms.none_before && !c.attention.shared_norm;
      break;
    case WeightKind::final_norm:
      present = !c.norms.none_last;
      break;
    case WeightKind::final_norm_bias:
      present = layer_norms && !c.norms.none_last;
      break;
    case WeightKind::embedding_norm:
      present = c.embedding.norm;
      break;
    case WeightKind::embedding_norm_bias:
      present = layer_norms && c.embedding.norm;
      break;
    case WeightKind::head_bias:
      present = c.head.bias;
      break;
    case WeightKind::head_dense:
      present = c.head.transform;
      break;
    case WeightKind::head_dense_bias:
      present = c.head.transform && c.head.transform_bias;
      break;
    case WeightKind::head_norm:
      present = c.head.transform && c.head.transform_norm;
      break;
    case WeightKind::head_norm_bias:
      present = c.head.transform && c.head.transform_norm && layer_norms;
      break;
    case WeightKind::router_bias:
      present = c.moe.router_bias;
      break;
    case WeightKind::router_correction:
      present = c.moe.correction_bias;
      break;
    case WeightKind::shared_gate:
      present = c.moe.shared_gate;
      break;
    case WeightKind::attention_output_norm:
    case WeightKind::mlp_output_norm:
      present = keeps_outputs();
      break;
    case WeightKind::attention_output_norm_bias:
    case WeightKind::mlp_output_norm_bias:
      present = keeps_outputs() && layer_norms;
      break;
    default:
      break;
  }
  const Placement p = placement(kind);
  return present ? p.rows * p.cols : 0;
}

int64_t Shape::stored_count(WeightKind kind) const {
  const LanguageModelConfig& c = config;
  const bool qkv_here = c.attention.fused != Fused::none, gates_here = c.mlp.fused != Fused::none;
  switch (kind) {
    case WeightKind::qkv:
      return qkv_here ? count(WeightKind::q) + count(WeightKind::k) + count(WeightKind::v) : 0;
    case WeightKind::qkv_bias:
      return qkv_here ? count(WeightKind::q_bias) + count(WeightKind::k_bias) + count(WeightKind::v_bias) : 0;
    case WeightKind::gate_up:
      return gates_here ? count(WeightKind::gate) + count(WeightKind::up) : 0;
    case WeightKind::gate_up_bias:
      return gates_here ? count(WeightKind::gate_bias) + count(WeightKind::up_bias) : 0;
    default:
      return lm::stored_in(c, kind) == kind ? count(kind) : 0;
  }
}

bool Shape::is_norm_weight(WeightKind kind) const {
  switch (kind) {
    case WeightKind::input_norm:
    case WeightKind::post_attention_norm:
    case WeightKind::attention_output_norm:
    case WeightKind::mlp_output_norm:
    case WeightKind::final_norm:
    case WeightKind::embedding_norm:
    case WeightKind::head_norm:
      return true;
    default:
      return kind == WeightKind::q_norm || kind == WeightKind::k_norm;
  }
}

bool Shape::is_left_out(WeightKind kind) const {
  const NormParts& n = config.norms;
  switch (kind) {
    case WeightKind::input_norm:
    case WeightKind::post_attention_norm:
    case WeightKind::attention_output_norm:
    case WeightKind::mlp_output_norm:
    case WeightKind::final_norm:
    case WeightKind::embedding_norm:
    case WeightKind::head_norm:
      return n.bare;
    case WeightKind::input_norm_bias:
    case WeightKind::post_attention_norm_bias:
    case WeightKind::attention_output_norm_bias:
    case WeightKind::mlp_output_norm_bias:
    case WeightKind::final_norm_bias:
    case WeightKind::embedding_norm_bias:
    case WeightKind::head_norm_bias:
      return n.bare || n.unbiased;
    case WeightKind::q_norm:
    case WeightKind::k_norm:
      return config.attention.head_norm == HeadNorm::bare;
    case WeightKind::q_norm_bias:
    case WeightKind::k_norm_bias:
      return config.attention.head_norm == HeadNorm::layer_own;
    default:
      return false;
  }
}

LayerTraits Shape::traits(int32_t layer) const { return traits_of(config, layer); }

int64_t Shape::block_parameters() const {
  int64_t sum = 0;
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    const Shape own = at(layer);
    for (const WeightKind kind : kMatrices) sum += own.count(kind);
    if (!traits(layer).routed) continue;
    const Shape expert = of_expert();
    for (const WeightKind kind : kMlpMatrices) sum += config.moe.experts * expert.count(kind);
  }
  return sum;
}

}  // namespace lq::cuda
