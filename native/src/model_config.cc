#include "model_config.h"

#include <string>

namespace lq {
namespace {

double number(const Napi::Object& object, const char* name) {
  const Napi::Value v = object.Get(name);
  if (!v.IsNumber()) throw Napi::TypeError::New(object.Env(), std::string(name) + " is not a number");
  return v.As<Napi::Number>();
}

double number_or(const Napi::Object& object, const char* name, double fallback) {
  return object.Get(name).IsUndefined() ? fallback : number(object, name);
}

bool flag(const Napi::Object& object, const char* name) { return object.Get(name).ToBoolean(); }

RopeType parse_rope_type(const Napi::Object& rope) {
  const std::string type = rope.Get("type").ToString();
  if (type == "default") return RopeType::standard;
  if (type == "linear") return RopeType::linear;
  if (type == "llama3") return RopeType::llama3;
  if (type == "dynamic") return RopeType::dynamic_ntk;
  if (type == "yarn") return RopeType::yarn;
  throw Napi::TypeError::New(rope.Env(), "unknown rotary scaling: " + type);
}

template <typename Enum, size_t N>
Enum one_of(const Napi::Object& object, const char* name, const char* const (&names)[N]) {
  if (object.Get(name).IsUndefined()) return static_cast<Enum>(0);
  const std::string value = object.Get(name).ToString();
  for (size_t i = 0; i < N; ++i) {
    if (value == names[i]) return static_cast<Enum>(i);
  }
  throw Napi::TypeError::New(object.Env(), std::string("unknown ") + name + ": " + value);
}

// The parts that are not Llama's, each absent where it is.
void parse_parts(const Napi::Object& o, std::vector<LayerTraits>* traits, LanguageModelConfig* c) {
  c->norm = one_of<NormKind>(o, "norm", {"rms", "layer"});
  c->norm_offset = static_cast<float>(number_or(o, "normOffset", 0));
  const std::string places =
      o.Get("normPlaces").IsUndefined() ? std::string("before") : o.Get("normPlaces").ToString().Utf8Value();
  if (places != "before" && places != "after" && places != "both") {
    throw Napi::TypeError::New(o.Env(), "unknown normPlaces: " + places);
  }
  c->no_norm_before = places == "after";
  c->norm_after = places != "before";
  c->qk_norm_full = flag(o, "qkNormFull");
  c->activation = one_of<Activation>(o, "activation", {"silu", "gelu_tanh", "gelu", "relu", "relu_squared"});
  c->plain_mlp = flag(o, "plainMlp");
  c->attention_scale = number_or(o, "attentionScale", 0);
  c->attention_softcap = number_or(o, "attentionSoftcap", 0);
  c->logit_softcap = number_or(o, "logitSoftcap", 0);
  c->embedding_scale = number_or(o, "embeddingScale", 0);
  c->residual_scale = number_or(o, "residualScale", 0);
  c->logit_scale = number_or(o, "logitScale", 0);
  c->rotary_dim = static_cast<int32_t>(number_or(o, "rotaryDim", 0));
  c->rope_local_theta = number_or(o, "ropeLocalTheta", 0);
  if (o.Get("layerTraits").IsUndefined()) return;
  const auto list = o.Get("layerTraits").As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto entry = list.Get(i).As<Napi::Object>();
    traits->push_back({static_cast<int32_t>(number(entry, "window")),
                       one_of<LayerRotary>(entry, "rotary", {"standard", "local", "none"})});
  }
  if (static_cast<int64_t>(traits->size()) != c->layers) {
    throw Napi::TypeError::New(o.Env(), "layerTraits is not one entry a layer");
  }
  c->traits = traits->data();
}

}  // namespace

LanguageModelConfig parse_config(const Napi::Object& o, std::vector<LayerTraits>* traits) {
  const auto integer = [&](const char* name) { return static_cast<int32_t>(number(o, name)); };
  const auto rope = o.Get("rope").As<Napi::Object>();
  LanguageModelConfig c{};
  c.layers = integer("layers");
  c.hidden = integer("hidden");
  c.heads = integer("heads");
  c.kv_heads = integer("kvHeads");
  c.head_dim = integer("headDim");
  c.intermediate = integer("intermediate");
  c.vocab = integer("vocab");
  c.max_positions = integer("maxPositions");
  c.rms_eps = static_cast<float>(number(o, "rmsEps"));
  c.rope_theta = number(o, "ropeTheta");
  c.rope_type = parse_rope_type(rope);
  c.rope_factor = number_or(rope, "factor", 1);
  c.rope_low_freq_factor = number_or(rope, "lowFreqFactor", 1);
  c.rope_high_freq_factor = number_or(rope, "highFreqFactor", 4);
  c.rope_original_max_positions = number_or(rope, "originalMaxPositions", c.max_positions);
  c.rope_attention_factor = number_or(rope, "attentionFactor", 1);
  c.rope_beta_fast = number_or(rope, "betaFast", 32);
  c.rope_beta_slow = number_or(rope, "betaSlow", 1);
  c.sliding_window = integer("slidingWindow");
  c.attention_bias = flag(o, "attentionBias");
  c.output_bias = flag(o, "outputBias");
  c.qk_norm = flag(o, "qkNorm");
  c.tied_embeddings = flag(o, "tiedEmbeddings");
  c.mlp_bias = flag(o, "mlpBias");
  parse_parts(o, traits, &c);
  return c;
}

}  // namespace lq
