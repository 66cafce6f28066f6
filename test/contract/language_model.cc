#include "language_model.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>

#include "language_model_fixtures.h"
#include "language_model_reference.h"
#include "lm/model.h"

namespace lq::contract {
namespace {

struct Case {
  const char* name;
  LanguageModelConfig config;
  int32_t context = 13;
  int32_t sequences = 2;
  std::shared_ptr<std::vector<LayerTraits>> traits = {};  // what config points to
};

template <typename Change>
Case vary(const char* name, const Change& change) {
  Case one{name, base()};
  change(one);
  return one;
}

// Heads as wide as real ones, more positions than a tile of any backend's attention.
Case wide_heads(const char* name, int32_t head_dim) {
  Case one{name, base()};
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
std::vector<Case> cases_of_other_families() {
  return {
      vary("fused projections by group, parallel halves, rotation of a part, as in GPT-NeoX",
           [](Case& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.attention.fused = Fused::grouped;
             c.config.attention.parallel = true;
             c.config.attention_bias = c.config.output_bias = c.config.mlp_bias = c.config.mlp.plain = true;
             c.config.mlp.activation = Activation::gelu;
             c.config.rotary.dim = 4;
           }),
      vary("one norm for both halves, interleaved rotation, norms of heads of their own, as in Cohere",
           [](Case& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.norms.unbiased = true;
             c.config.attention.parallel = c.config.attention.shared_norm = true;
             c.config.qk_norm = true;
             c.config.attention.head_norm = HeadNorm::layer_own;
             c.config.rotary.interleaved = true;
             c.config.head.scale = 0.25;
           }),
      vary("stacked projections, learned positions and norms of heads with a bias",
           [](Case& c) {
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
           [](Case& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.attention.alibi = kSlopes;
             c.config.embedding.norm = true;
             c.config.traits = kWithoutAnyRotation;
             c.context = 70;  // more than a tile of any backend's attention
           }),
      vary("sinks and clamped projections",
           [](Case& c) {
             c.config.attention.sinks = true;
             c.config.attention.clamp = 1.2;
             c.config.qk_norm = true;
           }),
      vary("masked tokens, both directions, types, a bias of logits, windows to either side",
           [](Case& c) {
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
           [](Case& c) {
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
           [](Case& c) {
             c.config.head.transform = true;
             c.config.head.activation = Activation::relu_squared;
           }),
      vary("bare norms, none before the head",
           [](Case& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.norms.bare = c.config.norms.none_last = true;
             c.config.mlp.activation = Activation::identity;
             c.config.attention.both_directions = true;
           }),
  };
}

// Each part beyond Llama's, in the company some family puts it in.
std::vector<Case> cases_of_parts() {
  return {
      vary("norms on both sides, soft-caps, embedding scale and windows by layer, as in Gemma 2",
           [](Case& c) {
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
           [](Case& c) {
             c.config.norms.offset = 1;
             c.config.norms.after = c.config.qk_norm = true;
             c.config.mlp.activation = Activation::gelu;
             c.config.rope_type = RopeType::linear;
             c.config.rope_factor = 2;
             c.config.traits = kGlobalThenLocal;
             c.config.rotary.local_theta = 30;
           }),
      vary("norms after the halves and over all heads, as in OLMo 2",
           [](Case& c) {
             c.config.norms.none_before = c.config.norms.after = c.config.qk_norm = true;
             c.config.attention.head_norm = HeadNorm::together;
           }),
      vary("LayerNorm and an MLP without a gate, as in StarCoder2",
           [](Case& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.mlp.plain = true;
             c.config.mlp.activation = Activation::gelu_tanh;
             c.config.attention_bias = c.config.output_bias = c.config.mlp_bias = true;
             c.config.sliding_window = 6;
           }),
      vary("squared ReLU and rotation of a part of each head, as in Nemotron",
           [](Case& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.mlp.plain = true;
             c.config.norms.offset = 1;
             c.config.mlp.activation = Activation::relu_squared;
             c.config.head_dim = 10;
             c.config.rotary.dim = 4;
           }),
      vary("ReLU", [](Case& c) { c.config.mlp.activation = Activation::relu; }),
      vary("multipliers of every stream, as in Granite",
           [](Case& c) {
             c.config.embedding.scale = 1.4;
             c.config.residual_scale = 0.4;
             c.config.attention.scale = 0.3;
             c.config.head.scale = 0.5;
             c.config.output_bias = c.config.mlp_bias = true;
           }),
      vary("chunks, norms of heads without weights, queries that grow where nothing turns, as in Llama 4",
           [](Case& c) {
             c.config.traits = kWithoutRotation;
             c.config.qk_norm = c.config.attention.chunked = c.config.rotary.interleaved = true;
             c.config.attention.head_norm = HeadNorm::bare;
             c.config.attention.growth = {0.4, 3, 1, true};
             c.context = 70;
           }),
      vary("queries that grow in every layer, as in Ministral 3",
           [](Case& c) {
             c.config.attention.growth = {0.3, 5, 0, false};
           }),
      vary("a layer without rotation, as in SmolLM3", [](Case& c) { c.config.traits = kWithoutRotation; }),
      vary("no norms before the halves, LayerNorm at the end",
           [](Case& c) {
             c.config.norms.kind = NormKind::layer;
             c.config.norms.none_before = true;
             c.config.residual_scale = 0.3;  // or what nothing normalises grows past what 16 bits of mantissa resolve
             c.config.head.scale = 0.7;
           }),
      vary("rows longer than a block of threads has steps",
           [](Case& c) {
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
Case routed(const char* name, const Change& change, int32_t shared = 0) {
  Case one{name, base()};
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

std::vector<Case> cases() {
  return {
      {"grouped queries", base()},
      vary("one key-value head, tied embeddings",
           [](Case& c) {
             c.config.kv_heads = 1;
             c.config.tied_embeddings = true;
           }),
      vary("query, key and value biases, as in Qwen2", [](Case& c) { c.config.attention_bias = true; }),
      vary("query and key norms, as in Qwen3",
           [](Case& c) {
             c.config.qk_norm = true;
             c.config.kv_heads = 4;
           }),
      vary("a bias everywhere",
           [](Case& c) { c.config.attention_bias = c.config.output_bias = c.config.mlp_bias = true; }),
      vary("sliding window, as in Mistral", [](Case& c) { c.config.sliding_window = 5; }),
      vary("linear rotary scaling",
           [](Case& c) {
             c.config.rope_type = RopeType::linear;
             c.config.rope_factor = 2.5;
           }),
      vary("llama3 rotary scaling",
           [](Case& c) {
             c.config.rope_type = RopeType::llama3;
             c.config.head_dim = 12;
             c.config.rope_factor = 8;
             c.config.rope_low_freq_factor = 1;
             c.config.rope_high_freq_factor = 4;
             c.config.rope_original_max_positions = 32;
           }),
      vary("dynamic rotary scaling beyond the trained length",
           [](Case& c) {
             c.config.rope_type = RopeType::dynamic_ntk;
             c.config.max_positions = 8;
             c.config.rope_factor = 3;
           }),
      vary("yarn rotary scaling",
           [](Case& c) {
             c.config.rope_type = RopeType::yarn;
             c.config.head_dim = 12;
             c.config.rope_factor = 4;
             c.config.rope_original_max_positions = 32;
             c.config.rope_attention_factor = 1.14;
             c.config.rope_beta_fast = 4;
             c.config.rope_beta_slow = 1;
           }),
      vary("yarn rotary scaling of an exact range, as in gpt-oss",
           [](Case& c) {
             c.config.rope_type = RopeType::yarn;
             c.config.head_dim = 12;
             c.config.rope_factor = 4;
             c.config.rope_original_max_positions = 32;
             c.config.rope_attention_factor = 1.14;
             c.config.rope_beta_fast = 4;
             c.config.rope_beta_slow = 1;
             c.config.rotary.yarn_exact = true;
           }),
      vary("several query blocks, a window across them",
           [](Case& c) {
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
           [](Case& c) {
             c.config.vocab = 1101;
             c.sequences = 5;
             c.context = 7;
           }),
  };
}

size_t matrices_of(const LanguageModelConfig& c) {
  size_t count = 0;
  for (int32_t layer = 0; layer < c.layers; ++layer) {
    const LayerTraits t = traits_of(c, layer);
    const size_t own = c.attention.fused == Fused::none ? 4 : 2,
                 gates = c.mlp.plain || c.mlp.fused != Fused::none ? 2 : 3;
    count += own + (t.width == 0 ? 0 : gates) +
             (t.routed ? (c.moe.fused == Fused::none ? 3 : 2) * static_cast<size_t>(c.moe.experts) : 0);
  }
  return count;
}

// The elements compared by finite differences: the largest and some others.
std::vector<int64_t> probes(const std::vector<float>& values) {
  const auto n = static_cast<int64_t>(values.size());
  const auto largest = std::max_element(values.begin(), values.end()) - values.begin();
  return {0, largest, n / 3, n / 2 + 1, n - 1};
}

// Worst excess of squared gradients over the reference, in units of the tolerance.
double worst_gradient(ReferenceModel* reference, const Sums& sums, const std::vector<int32_t>& tokens, const Case& c,
                      double tolerance) {
  double worst = 0;
  for (const auto& [place, values] : sums.values) {
    const double largest = *std::max_element(values.begin(), values.end());
    for (const int64_t index : probes(values)) {
      double expected = 0;
      for (int32_t s = 0; s < c.sequences; ++s) {
        const auto& [layer, kind, expert] = place;
        const double d = reference->derivative(layer, kind, index, &tokens[s * c.context], c.context, expert);
        expected += d * d;
      }
      const double allowed = tolerance * (expected + 1e-3 * largest) + 1e-30;
      worst = worse(worst, std::abs(values[index] - expected) / allowed);
    }
  }
  return worst;
}

// Worst deviation of second moments from double precision, relative to the largest of each input.
double worst_moment(const Sums& sums, const ReferenceModel::Inputs& inputs) {
  double worst = 0;
  for (const auto& [place, found] : sums.moments) {
    // Of an expert that no token reached.
    if (!inputs.contains(place) && std::any_of(found.begin(), found.end(), [](float x) { return x != 0; })) return 1;
  }
  for (const auto& [place, tokens] : inputs) {
    const std::vector<double> values = moment(tokens, tokens);
    const std::vector<float>& found = sums.moments.at(place);
    const auto n = static_cast<int64_t>(tokens.front().size());
    if (found.size() != values.size()) return 1;
    const double largest = *std::max_element(values.begin(), values.end());
    const double slack = std::get<2>(place) == kNoExpert ? 1 : kExpertSlack;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        worst = worse(worst, std::abs(found[i * n + j] - values[i * n + j]) / largest / slack);
      }
    }
  }
  return worst;
}

// Worst relative deviation of rows' sums from those of the elementwise squares.
double worst_row(const Sums& sums) {
  if (sums.rows.size() != sums.values.size()) return 1;
  double worst = 0;
  for (const auto& [place, rows] : sums.rows) {
    const std::vector<float>& values = sums.values.at(place);
    const size_t cols = values.size() / rows.size();
    for (size_t i = 0; i < rows.size(); ++i) {
      double expected = 0;
      for (size_t j = 0; j < cols; ++j) expected += values[i * cols + j];
      worst = worse(worst, std::abs(rows[i] - expected) / (expected + 1e-30));
    }
  }
  return worst;
}

std::vector<LanguageModelCheck> check_case(Backend& backend, const Case& c, const LanguageModelTolerance& tolerance) {
  Checks checks(c.name);
  ReferenceModel reference(c.config, 7);
  std::mt19937_64 random(11);
  std::vector<int32_t> tokens(c.sequences * c.context);
  for (int32_t& t : tokens) t = static_cast<int32_t>(random() % c.config.vocab);
  for (int32_t s = 0; c.config.masked && s < c.sequences; ++s) {
    for (const int32_t at : {1, 6, 10}) tokens[s * c.context + at + s] = ~tokens[s * c.context + at + s];
  }
  LanguageModel* created = nullptr;
  const Status status = backend.create_language_model(c.config, reference.provider(), &created);
  if (status.code != StatusCode::ok) {
    // What is not Llama's may be refused, by name.
    const bool refused = part_beyond_cuda(c.config) != nullptr && status.code == StatusCode::unsupported;
    checks.add("create", refused, status.message);
    return checks.results;
  }
  const Model model(created);
  const Control control{};
  const auto succeeded = [&](const char* name, const Status& s) {
    if (s.code != StatusCode::ok) checks.add(name, false, s.message);
    return s.code == StatusCode::ok;
  };

  std::vector<double> losses(c.sequences), again(c.sequences);
  if (succeeded("losses", model.model->losses(tokens.data(), c.sequences, c.context, losses.data(), control))) {
    double worst = 0;
    for (int32_t s = 0; s < c.sequences; ++s) {
      worst = worse(worst, std::abs(losses[s] - reference.loss(&tokens[s * c.context], c.context)));
    }
    // Of masked tokens there are few: their errors are averaged less.
    checks.within("losses", worst, (c.config.masked ? 2 : 1) * tolerance.loss);
  }
  std::vector<float> logits(static_cast<size_t>(c.context) * c.config.vocab);
  if (succeeded("logits", model.model->logits(tokens.data(), c.context, logits.data(), control))) {
    const std::vector<double> expected = reference.logits(tokens.data(), c.context);
    double worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) worst = worse(worst, std::abs(logits[i] - expected[i]));
    checks.within("logits", worst, tolerance.logits);
  }
  Sums sums;
  if (succeeded("squared gradients",
                model.model->calibrate(tokens.data(), c.sequences, c.context, sums.sink(), again.data(), control))) {
    const bool complete = sums.values.size() == matrices_of(c.config);
    checks.add("every matrix is asked for", complete, std::to_string(sums.values.size()));
    checks.within("squared gradients, in tolerances", worst_gradient(&reference, sums, tokens, c, tolerance.fisher), 1);
    double worst = 0;
    for (int32_t s = 0; s < c.sequences; ++s) worst = std::max(worst, std::abs(losses[s] - again[s]));
    checks.within("the same losses with gradients", worst, tolerance.loss);
  }
  Sums everything, rows_alone, moments_alone;
  rows_alone.squares = false;
  const auto run = [&](const CalibrationSink& sink) {
    return model.model->calibrate(tokens.data(), c.sequences, c.context, sink, again.data(), control);
  };
  if (succeeded("statistics", run(everything.sink(true))) &&
      succeeded("statistics without squares", run(rows_alone.sink(true))) &&
      succeeded("second moments alone", run(moments_alone.moments_sink()))) {
    ReferenceModel::Inputs expected;
    for (int32_t s = 0; s < c.sequences; ++s) reference.add_inputs(&tokens[s * c.context], c.context, &expected);
    checks.within("second moments", worst_moment(everything, expected), tolerance.moment);
    checks.within("second moments without gradients", worst_moment(moments_alone, expected), tolerance.moment);
    checks.within("sums of rows", worst_row(everything), 1e-4);
    rows_alone.values = everything.values;
    checks.within("sums of rows without squares", worst_row(rows_alone), 1e-4);
    double worst = 0;
    for (int32_t s = 0; s < c.sequences; ++s) worst = std::max(worst, std::abs(losses[s] - again[s]));
    checks.within("the same losses with second moments", worst, tolerance.loss);
  }
  return checks.results;
}

// Divergence of models of other sizes and weights, with more words than a tile of any backend, from double precision.
std::vector<LanguageModelCheck> check_divergence(Backend& backend, const LanguageModelTolerance& tolerance) {
  Checks checks("divergence");
  constexpr int32_t kSequences = 3, kContext = 9;
  LanguageModelConfig config = base(), other_config = base();
  config.vocab = other_config.vocab = 1101;
  other_config.hidden = 28;
  other_config.layers = 1;
  ReferenceModel reference(config, 7), other_reference(other_config, 8);
  LanguageModel *first = nullptr, *second = nullptr;
  backend.create_language_model(config, reference.provider(), &first);
  backend.create_language_model(other_config, other_reference.provider(), &second);
  const Model model(first), other(second);
  std::mt19937_64 random(11);
  std::vector<int32_t> tokens(kSequences * kContext);
  for (int32_t& t : tokens) t = static_cast<int32_t>(random() % config.vocab);

  constexpr size_t kPredictions = kSequences * (kContext - 1);
  struct Result {
    std::vector<double> losses = std::vector<double>(kSequences), other_losses = losses;
    std::vector<float> kl = std::vector<float>(kPredictions);
    std::vector<uint8_t> same_top = std::vector<uint8_t>(kPredictions);
    Divergence out() { return {losses.data(), other_losses.data(), kl.data(), same_top.data()}; }
  };
  Result found, itself;
  const Status status = first->divergence(second, tokens.data(), kSequences, kContext, found.out(), {});
  checks.add("runs", status.code == StatusCode::ok, status.message);
  double losses = 0, kl = 0;
  bool tops = true;
  for (int32_t s = 0; s < kSequences; ++s) {
    const int32_t* ids = &tokens[s * kContext];
    losses = std::max({losses, std::abs(found.losses[s] - reference.loss(ids, kContext)),
                       std::abs(found.other_losses[s] - other_reference.loss(ids, kContext))});
    const std::vector<double> p = reference.logits(ids, kContext), q = other_reference.logits(ids, kContext);
    for (int32_t t = 0; t + 1 < kContext; ++t) {
      const auto a = p.begin() + int64_t{t} * config.vocab, b = q.begin() + int64_t{t} * config.vocab;
      double sum_a = 0, sum_b = 0, expected = 0;
      for (int32_t w = 0; w < config.vocab; ++w) {
        sum_a += std::exp(a[w]);
        sum_b += std::exp(b[w]);
      }
      for (int32_t w = 0; w < config.vocab; ++w) {
        expected += std::exp(a[w]) / sum_a * (a[w] - std::log(sum_a) - b[w] + std::log(sum_b));
      }
      const int32_t at = s * (kContext - 1) + t;
      kl = std::max(kl, std::abs(found.kl[at] - expected));
      const bool same = std::max_element(a, a + config.vocab) - a == std::max_element(b, b + config.vocab) - b;
      tops = tops && found.same_top[at] == (same ? 1 : 0);
    }
  }
  checks.within("losses of both", losses, tolerance.loss);
  checks.within("divergence of each prediction", kl, 4 * tolerance.loss);
  checks.add("the same likeliest tokens", tops, "");
  first->divergence(first, tokens.data(), kSequences, kContext, itself.out(), {});
  checks.within("a model does not differ from itself", *std::max_element(itself.kl.begin(), itself.kl.end()), 1e-6);
  checks.add("and agrees with itself",
             std::all_of(itself.same_top.begin(), itself.same_top.end(), [](uint8_t same) { return same == 1; }), "");
  ReferenceModel strange(base(), 7);
  LanguageModel* third = nullptr;
  backend.create_language_model(base(), strange.provider(), &third);
  const Model another(third);
  const Status refused = first->divergence(third, tokens.data(), kSequences, kContext, found.out(), {});
  checks.add("another vocabulary is refused", refused.code == StatusCode::invalid_argument, refused.message);
  return checks.results;
}

// What is promised beyond numbers.
std::vector<LanguageModelCheck> check_conduct(Backend& backend) {
  Checks checks("conduct");
  ReferenceModel reference(base(), 7);
  LanguageModel* created = nullptr;
  if (backend.create_language_model(base(), reference.provider(), &created).code != StatusCode::ok) {
    checks.add("create", false, "");
    return checks.results;
  }
  const Model model(created);
  const std::vector<int32_t> tokens(3 * 8, 5);
  std::vector<double> losses(3);

  Sums all, first;
  first.only_first_layer = true;
  model.model->calibrate(tokens.data(), 3, 8, all.sink(), losses.data(), {});
  model.model->calibrate(tokens.data(), 3, 8, first.sink(), losses.data(), {});
  bool same = first.values.size() == kMatrices.size();
  for (const auto& [place, values] : first.values) {
    for (size_t i = 0; i < values.size(); ++i) {
      same = same && std::abs(values[i] - all.values[place][i]) <= 1e-5f * all.values[place][i];
    }
  }
  checks.add("matrices that are not wanted change nothing", same, "");

  struct Watcher {
    double done = 0, total = 0;
    bool ordered = true;
    int polls = 0, stop_at = 1 << 30;
  } watcher;
  const Control control{&watcher,
                        [](void* user) {
                          auto* w = static_cast<Watcher*>(user);
                          return ++w->polls > w->stop_at;
                        },
                        [](void* user, double done, double total) {
                          auto* w = static_cast<Watcher*>(user);
                          w->ordered = w->ordered && done >= w->done && done <= total;
                          w->done = done;
                          w->total = total;
                        }};
  model.model->losses(tokens.data(), 3, 8, losses.data(), control);
  checks.add("progress counts sequences", watcher.ordered && std::abs(watcher.done - 3) < 1e-9 && watcher.total == 3,
             std::to_string(watcher.done));
  watcher.polls = 0;
  watcher.stop_at = 3;
  const Status stopped = model.model->losses(tokens.data(), 3, 8, losses.data(), control);
  checks.add("a cancelled run says so", stopped.code == StatusCode::cancelled, stopped.message);

  std::vector<int32_t> beyond = tokens;
  beyond[9] = base().vocab;
  const Status refused = model.model->losses(beyond.data(), 3, 8, losses.data(), {});
  checks.add("a token beyond the vocabulary is refused with its place",
             refused.code == StatusCode::invalid_argument && refused.index == 9, refused.message);

  WeightProvider failing = reference.provider();
  failing.load = [](void*, int32_t layer, WeightKind, int32_t, float*, int64_t) {
    return Status{layer == 1 ? StatusCode::io_error : StatusCode::ok, 5, "the disk is gone"};
  };
  LanguageModel* second = nullptr;
  backend.create_language_model(base(), failing, &second);
  const Model broken(second);
  const Status failed = broken.model->losses(tokens.data(), 3, 8, losses.data(), {});
  checks.add("a weight that fails ends the run with its status",
             failed.code == StatusCode::io_error && failed.index == 5, failed.message);

  LanguageModelConfig impossible = base();
  impossible.kv_heads = 3;
  LanguageModel* third = nullptr;
  const Status odd = backend.create_language_model(impossible, reference.provider(), &third);
  checks.add("impossible dimensions are refused", odd.code == StatusCode::invalid_argument && third == nullptr,
             odd.message);
  return checks.results;
}

}  // namespace

std::vector<LanguageModelCheck> check_language_model(Backend& backend, const LanguageModelTolerance& tolerance) {
  std::vector<LanguageModelCheck> all;
  const auto append = [&](const std::vector<LanguageModelCheck>& some) {
    all.insert(all.end(), some.begin(), some.end());
  };
  for (const Case& c : cases()) append(check_case(backend, c, tolerance));
  for (const Case& c : cases_of_other_families()) append(check_case(backend, c, tolerance));
  for (const Case& c : cases_of_parts()) append(check_case(backend, c, tolerance));
  append(check_packed_language_model(backend, tolerance));
  append(check_layer_pass(backend, tolerance));
  append(check_divergence(backend, tolerance));
  append(check_conduct(backend));
  return all;
}

std::vector<LanguageModelCheck> check_language_model_in_bf16(Backend& backend,
                                                             const LanguageModelTolerance& tolerance) {
  std::vector<LanguageModelCheck> all;
  for (const auto& list : {cases(), cases_of_other_families(), cases_of_parts()}) {
    for (Case c : list) {
      c.config.precision = Precision::bf16;
      const std::string name = std::string(c.name) + " in bf16";
      c.name = name.c_str();
      const std::vector<LanguageModelCheck> checks = check_case(backend, c, tolerance);
      all.insert(all.end(), checks.begin(), checks.end());
    }
  }
  return all;
}

std::vector<LanguageModelCheck> check_cpu_language_model_memory() {
  Checks checks("memory");
  constexpr int32_t kSequences = 5, kContext = 9;
  ReferenceModel reference(base(), 7);
  std::mt19937_64 random(11);
  std::vector<int32_t> tokens(kSequences * kContext);
  for (int32_t& t : tokens) t = static_cast<int32_t>(random() % base().vocab);
  const auto run = [&](const lm::Memory& memory, std::vector<double>* losses) {
    Sums sums;
    losses->resize(kSequences);
    LanguageModel* created = nullptr;
    if (lm::create_language_model(base(), reference.provider(), &created, memory).code != StatusCode::ok) return sums;
    const Model model(created);
    const Status status = model.model->calibrate(tokens.data(), kSequences, kContext, sums.sink(), losses->data(), {});
    checks.add("runs", status.code == StatusCode::ok, status.message);
    return sums;
  };
  std::vector<double> kept_losses, again_losses;
  const Sums kept = run({}, &kept_losses);
  const Sums again = run({1, 1}, &again_losses);
  double worst = 0;
  for (const auto& [place, values] : kept.values) {
    const std::vector<float>& others = again.values.at(place);
    for (size_t i = 0; i < values.size(); ++i) {
      worst = std::max<double>(worst, std::abs(values[i] - others[i]) / (values[i] + 1e-12));
    }
  }
  checks.add("every matrix", kept.values.size() == kMatrices.size() * base().layers, "");
  checks.within("squared gradients, one sequence at a time and computed again", worst, 1e-4);
  worst = 0;
  for (int32_t s = 0; s < kSequences; ++s) worst = std::max(worst, std::abs(kept_losses[s] - again_losses[s]));
  checks.within("losses, one sequence at a time", worst, 1e-6);
  return checks.results;
}

}  // namespace lq::contract
