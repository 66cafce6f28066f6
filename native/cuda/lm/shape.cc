#include "lm/shape.h"

#include "runtime/memory.h"

namespace lq::cuda {
namespace {

// Widths the attention kernels are built for.
constexpr int64_t kHeadWidths[] = {16, 32, 64, 80, 96, 128, 256};

bool plausible(const LanguageModelConfig& c) {
  return c.layers > 0 && c.hidden > 0 && c.heads > 0 && c.kv_heads > 0 && c.heads % c.kv_heads == 0 && c.head_dim > 0 &&
         c.head_dim % 2 == 0 && c.intermediate > 0 && c.vocab > 0 && c.max_positions > 0 && c.rope_theta > 0 &&
         c.rotary.dim % 2 == 0 && c.rotary.dim <= c.head_dim;
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
  if (!plausible(c)) fail(StatusCode::invalid_argument, "impossible dimensions of a language model");
  hidden = round_up(c.hidden, 8);
  inner = round_up(c.intermediate, 8);
  vocab = round_up(c.vocab, 8);
  head = head_width(c.head_dim);
  q = c.heads * head;
  kv = c.kv_heads * head;
  qkv = q + 2 * kv;
  gates = c.mlp.plain ? inner : 2 * inner;
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
    case WeightKind::o_bias:
    case WeightKind::down_bias:
      return {1, c.hidden, 1, 1, c.hidden, hidden};
    case WeightKind::q_bias:
      return {1, q_rows, 1, 1, c.head_dim, head};
    case WeightKind::k_bias:
    case WeightKind::v_bias:
      return {1, kv_rows, 1, 1, c.head_dim, head};
    case WeightKind::q_norm:
      return {1, norms_together() ? q_rows : c.head_dim, 1, 1, c.head_dim, head};
    case WeightKind::k_norm:
      return {1, norms_together() ? kv_rows : c.head_dim, 1, 1, c.head_dim, head};
    case WeightKind::gate_bias:
    case WeightKind::up_bias:
      return {1, c.intermediate, 1, 1, c.intermediate, inner};
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
    case WeightKind::input_norm:
    case WeightKind::post_attention_norm:
      present = !c.norms.none_before;
      break;
    case WeightKind::input_norm_bias:
    case WeightKind::post_attention_norm_bias:
      present = c.norms.kind == NormKind::layer && !c.norms.none_before;
      break;
    case WeightKind::final_norm_bias:
      present = c.norms.kind == NormKind::layer;
      break;
    case WeightKind::attention_output_norm:
    case WeightKind::mlp_output_norm:
      present = c.norms.after;
      break;
    case WeightKind::attention_output_norm_bias:
    case WeightKind::mlp_output_norm_bias:
      present = c.norms.after && c.norms.kind == NormKind::layer;
      break;
    default:
      break;
  }
  const Placement p = placement(kind);
  return present ? p.rows * p.cols : 0;
}

bool Shape::has_offset(WeightKind kind) const {
  if (config.norms.offset == 0) return false;
  switch (kind) {
    case WeightKind::input_norm:
    case WeightKind::post_attention_norm:
    case WeightKind::attention_output_norm:
    case WeightKind::mlp_output_norm:
    case WeightKind::final_norm:
      return true;
    default:
      return kind == WeightKind::q_norm || kind == WeightKind::k_norm;
  }
}

LayerTraits Shape::traits(int32_t layer) const { return traits_of(config, layer); }

int64_t Shape::block_parameters() const {
  int64_t sum = 0;
  for (const WeightKind kind : kMatrices) sum += count(kind);
  return sum * config.layers;
}

}  // namespace lq::cuda
