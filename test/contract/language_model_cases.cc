// The models of which language models are checked: one for every part and scaling, with every setting odd.
#include "language_model_cases.h"

#include "language_model_fixtures.h"

namespace lq::contract {
namespace {

void yarn(LanguageModelCase& c) {
  c.config.rope_type = RopeType::yarn;
  c.config.head_dim = 12;
  c.config.rope_factor = 4;
  c.config.rope_original_max_positions = 32;
  c.config.rope_attention_factor = 1.14;
  c.config.rope_beta_fast = 4;
  c.config.rope_beta_slow = 1;
}

template <typename Change>
LanguageModelCase vary(const char* name, const Change& change) {
  LanguageModelCase one{name, base()};
  change(one);
  return one;
}

// Heads as wide as real ones, more positions than a tile of any backend's attention.
LanguageModelCase wide_heads(const char* name, int32_t head_dim) {
  LanguageModelCase one{name, base()};
  one.config.layers = 1;
  one.config.heads = 2;
  one.config.kv_heads = 1;
  one.config.head_dim = head_dim;
  one.context = 70;
  return one;
}

// Layers that attend to all, in a model of layers that attend to a few.
constexpr LayerTraits kGlobalThenLocal[] = {{0, LayerRotary::standard, 28, false}, {5, LayerRotary::local, 28, false}};
constexpr LayerTraits kWithoutRotation[] = {{4, LayerRotary::standard, 28, false}, {0, LayerRotary::none, 28, false}};

constexpr LayerTraits kWithoutAnyRotation[] = {{0, LayerRotary::none, 28, false}, {0, LayerRotary::none, 28, false}};
constexpr float kSlopes[] = {0.5f, 0.25f, 0.125f, 0.0625f};

// Parts of the families before Llama, of its contemporaries, and of encoders.
std::vector<LanguageModelCase> cases_of_other_families() {
  return {
      vary("fused projections by group, parallel halves, rotation of a part, as in GPT-NeoX",
           [](LanguageModelCase& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.attention.fused = Fused::grouped;
             c.config.attention.parallel = true;
             c.config.attention_bias = c.config.output_bias = c.config.mlp_bias = c.config.mlp.plain = true;
             c.config.mlp.activation = Activation::gelu;
             c.config.rotary.dim = 4;
           }),
      vary("one norm for both halves, interleaved rotation, norms of heads of their own, as in Cohere",
           [](LanguageModelCase& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.norms.unbiased = true;
             c.config.attention.parallel = c.config.attention.shared_norm = true;
             c.config.qk_norm = true;
             c.config.attention.head_norm = HeadNorm::layer_own;
             c.config.rotary.interleaved = true;
             c.config.head.scale = 0.25;
           }),
      vary("stacked projections, learned positions and norms of heads with a bias",
           [](LanguageModelCase& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.attention.fused = c.config.mlp.fused = Fused::stacked;
             c.config.qk_norm = true;
             c.config.attention.head_norm = HeadNorm::layer;
             c.config.embedding.positions = 20;
             c.config.embedding.position_offset = 2;
             c.config.embedding.padding = -1;
             c.config.attention_bias = c.config.mlp_bias = true;
             c.config.traits = kWithoutAnyRotation;
           }),
      vary("biases by distance and a normalised embedding, as in BLOOM",
           [](LanguageModelCase& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.attention.alibi = kSlopes;
             c.config.embedding.norm = true;
             c.config.traits = kWithoutAnyRotation;
             c.context = 70;  // more than a tile of any backend's attention
           }),
      vary("sinks and clamped projections",
           [](LanguageModelCase& c) {
             c.config.attention.sinks = true;
             c.config.attention.clamp = 1.2;
             c.config.qk_norm = true;
           }),
      vary("masked tokens, both directions, types, a bias of logits, windows to either side",
           [](LanguageModelCase& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.norms.none_first = true;
             c.config.attention.both_directions = true;
             c.config.sliding_window = 4;
             c.config.embedding.types = 2;
             c.config.embedding.norm = c.config.head.bias = true;
             c.config.mlp.activation = Activation::gelu_quick;
             c.config.masked = true;
             c.config.mask_token = 3;
           }),
      vary("norms of the stream after each half, a transform before the head, as in BERT",
           [](LanguageModelCase& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.norms.none_before = c.config.norms.of_sum = c.config.norms.none_last = true;
             c.config.attention.both_directions = c.config.tied_embeddings = true;
             c.config.attention_bias = c.config.output_bias = c.config.mlp_bias = c.config.mlp.plain = true;
             c.config.mlp.activation = Activation::gelu;
             c.config.embedding.positions = 20;
             c.config.embedding.types = 2;
             c.config.embedding.padding = -1;
             c.config.embedding.norm = c.config.head.bias = true;
             c.config.head.transform = c.config.head.transform_bias = c.config.head.transform_norm = true;
             c.config.head.activation = Activation::gelu;
             c.config.traits = kWithoutAnyRotation;
             c.config.masked = true;
             c.config.mask_token = 3;
           }),
      vary("a transform without a norm or bias before the head",
           [](LanguageModelCase& c) {
             c.config.head.transform = true;
             c.config.head.activation = Activation::relu_squared;
           }),
      vary("bare norms, none before the head",
           [](LanguageModelCase& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.norms.bare = c.config.norms.none_last = true;
             c.config.mlp.activation = Activation::identity;
             c.config.attention.both_directions = true;
           }),
  };
}

// Each part beyond Llama's, in the company some family puts it in.
std::vector<LanguageModelCase> cases_of_parts() {
  return {
      vary("norms on both sides, soft-caps, embedding scale and windows by layer, as in Gemma 2",
           [](LanguageModelCase& c) {
             c.config.norms.offset = 1;
             c.config.norms.after = c.config.tied_embeddings = true;
             c.config.mlp.activation = Activation::gelu_tanh;
             c.config.attention.softcap = 2;
             c.config.head.softcap = 3;
             c.config.attention.scale = 0.6;
             c.config.embedding.scale = 1.7;
             c.config.traits = kGlobalThenLocal;
             c.config.rotary.local_theta = 30;
           }),
      vary("norms of heads with an offset, two rotary bases, as in Gemma 3",
           [](LanguageModelCase& c) {
             c.config.norms.offset = 1;
             c.config.norms.after = c.config.qk_norm = true;
             c.config.mlp.activation = Activation::gelu;
             c.config.rope_type = RopeType::linear;
             c.config.rope_factor = 2;
             c.config.traits = kGlobalThenLocal;
             c.config.rotary.local_theta = 30;
           }),
      vary("norms after the halves and over all heads, as in OLMo 2",
           [](LanguageModelCase& c) {
             c.config.norms.none_before = c.config.norms.after = c.config.qk_norm = true;
             c.config.attention.head_norm = HeadNorm::together;
           }),
      vary("LayerNorm and an MLP without a gate, as in StarCoder2",
           [](LanguageModelCase& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.mlp.plain = true;
             c.config.mlp.activation = Activation::gelu_tanh;
             c.config.attention_bias = c.config.output_bias = c.config.mlp_bias = true;
             c.config.sliding_window = 6;
           }),
      vary("squared ReLU and rotation of a part of each head, as in Nemotron",
           [](LanguageModelCase& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.mlp.plain = true;
             c.config.norms.offset = 1;
             c.config.mlp.activation = Activation::relu_squared;
             c.config.head_dim = 10;
             c.config.rotary.dim = 4;
           }),
      vary("ReLU", [](LanguageModelCase& c) { c.config.mlp.activation = Activation::relu; }),
      vary("multipliers of every stream, as in Granite",
           [](LanguageModelCase& c) {
             c.config.embedding.scale = 1.4;
             c.config.residual_scale = 0.4;
             c.config.attention.scale = 0.3;
             c.config.head.scale = 0.5;
             c.config.output_bias = c.config.mlp_bias = true;
           }),
      vary("chunks, norms of heads without weights, queries that grow where nothing turns, as in Llama 4",
           [](LanguageModelCase& c) {
             c.config.traits = kWithoutRotation;
             c.config.qk_norm = c.config.attention.chunked = c.config.rotary.interleaved = true;
             c.config.attention.head_norm = HeadNorm::bare;
             c.config.attention.growth = {0.4, 3, 1, true};
             c.context = 70;
           }),
      vary("heads normalised once they are rotated, which yarn stretches, as in HunYuan",
           [](LanguageModelCase& c) {
             c.config.qk_norm = true;
             c.config.attention.head_norm = HeadNorm::rotated;
             c.config.rope_type = RopeType::yarn;
             c.config.rope_factor = 4;
             c.config.rope_original_max_positions = 16;
             c.config.rope_attention_factor = 1.2;
             c.config.rope_beta_fast = 32;
             c.config.rope_beta_slow = 1;
             c.config.head_dim = 10;
             c.config.rotary.dim = 4;
           }),
      vary("queries that grow in every layer, as in Ministral 3",
           [](LanguageModelCase& c) {
             c.config.attention.growth = {0.3, 5, 0, false};
           }),
      vary("a layer without rotation, as in SmolLM3", [](LanguageModelCase& c) { c.config.traits = kWithoutRotation; }),
      vary("no norms before the halves, LayerNorm at the end",
           [](LanguageModelCase& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.norms.none_before = true;
             c.config.residual_scale = 0.3;  // or what nothing normalises grows past what 16 bits of mantissa resolve
             c.config.head.scale = 0.7;
           }),
      vary("rows longer than a block of threads has steps",
           [](LanguageModelCase& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.layers = 1;
             c.config.hidden = 1102;
             c.config.residual_scale = 0.5;
             c.config.norms.after = true;
             c.context = 5;
           }),
  };
}

// A dense layer, and one of experts beside an MLP of `shared`, 0: none.
template <typename Change>
LanguageModelCase routed(const char* name, const Change& change, int32_t shared = 0) {
  LanguageModelCase one{name, base()};
  one.traits = std::make_shared<std::vector<LayerTraits>>();
  one.traits->push_back({0, LayerRotary::standard, one.config.intermediate, false});
  one.traits->push_back({0, LayerRotary::standard, shared, true});
  one.config.traits = one.traits->data();
  MoeConfig& m = one.config.moe;
  m.experts = 9;
  m.top_k = 3;
  m.intermediate = 10;
  change(m);
  return one;
}

std::vector<LanguageModelCase> cases_of_llama_and_experts() {
  return {
      {"grouped queries", base()},
      vary("one key-value head, tied embeddings",
           [](LanguageModelCase& c) {
             c.config.kv_heads = 1;
             c.config.tied_embeddings = true;
           }),
      vary("query, key and value biases, as in Qwen2", [](LanguageModelCase& c) { c.config.attention_bias = true; }),
      vary("query and key norms, as in Qwen3",
           [](LanguageModelCase& c) {
             c.config.qk_norm = true;
             c.config.kv_heads = 4;
           }),
      vary("a bias everywhere",
           [](LanguageModelCase& c) { c.config.attention_bias = c.config.output_bias = c.config.mlp_bias = true; }),
      vary("sliding window, as in Mistral", [](LanguageModelCase& c) { c.config.sliding_window = 5; }),
      vary("linear rotary scaling",
           [](LanguageModelCase& c) {
             c.config.rope_type = RopeType::linear;
             c.config.rope_factor = 2.5;
           }),
      vary("llama3 rotary scaling",
           [](LanguageModelCase& c) {
             c.config.rope_type = RopeType::llama3;
             c.config.head_dim = 12;
             c.config.rope_factor = 8;
             c.config.rope_low_freq_factor = 1;
             c.config.rope_high_freq_factor = 4;
             c.config.rope_original_max_positions = 32;
           }),
      vary("dynamic rotary scaling beyond the trained length",
           [](LanguageModelCase& c) {
             c.config.rope_type = RopeType::dynamic_ntk;
             c.config.max_positions = 8;
             c.config.rope_factor = 3;
           }),
      vary("yarn rotary scaling", yarn),
      vary("yarn rotary scaling of an exact range, as in gpt-oss",
           [](LanguageModelCase& c) {
             yarn(c);
             c.config.rotary.yarn_exact = true;
           }),
      vary("several query blocks, a window across them",
           [](LanguageModelCase& c) {
             c.config.layers = 1;
             c.config.sliding_window = 150;
             c.context = 300;
           }),
      wide_heads("heads of 32", 32),
      wide_heads("heads of 64", 64),
      wide_heads("heads of 80", 80),
      wide_heads("heads of 96", 96),
      wide_heads("heads of 128", 128),
      wide_heads("heads of 256", 256),
      routed("experts, weighed by softmax", [](MoeConfig&) {}),
      routed(
          "experts, renormalised, with a shared one behind a gate",
          [](MoeConfig& m) { m.renormalise = m.shared_gate = true; }, 14),
      routed(
          "experts in groups, by sigmoid with a correction",
          [](MoeConfig& m) {
            m.score = RouterScore::sigmoid;
            m.correction_bias = m.renormalise = true;
            m.groups = 3;
            m.top_groups = 2;
            m.scale = 1.7;
          },
          10),
      routed("clamped experts with biases, chosen before the softmax",
             [](MoeConfig& m) {
               m.score = RouterScore::softmax_of_chosen;
               m.router_bias = m.expert_bias = true;
               m.clamp_limit = 1.1;
               m.clamp_alpha = 1.702;
             }),
      routed("gate and up of experts row by row in one tensor, with biases, as in gpt-oss",
             [](MoeConfig& m) {
               m.score = RouterScore::softmax_of_chosen;
               m.router_bias = m.expert_bias = true;
               m.fused = Fused::interleaved;
             }),
      routed("gate and up of experts one after the other in one tensor",
             [](MoeConfig& m) { m.fused = Fused::stacked; }),
      routed(
          "experts whose input is scaled",
          [](MoeConfig& m) {
            m.score = RouterScore::sigmoid;
            m.scale_input = true;
          },
          12),
      vary("several pieces of vocabulary, more sequences",
           [](LanguageModelCase& c) {
             c.config.vocab = 1101;
             c.sequences = 5;
             c.context = 7;
           }),
  };
}

}  // namespace

std::vector<LanguageModelCase> language_model_cases() {
  std::vector<LanguageModelCase> all = cases_of_llama_and_experts();
  for (const auto& more : {cases_of_other_families(), cases_of_parts()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace lq::contract
