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
  if (type == "longrope") return RopeType::longrope;
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

int32_t integer_or(const Napi::Object& object, const char* name, int32_t fallback) {
  return static_cast<int32_t>(number_or(object, name, fallback));
}

// An array of `count` numbers, or nothing.
template <typename Number>
const Number* numbers(const Napi::Object& object, const char* name, int64_t count, std::vector<Number>* out) {
  if (object.Get(name).IsUndefined()) return nullptr;
  const auto list = object.Get(name).As<Napi::Array>();
  if (static_cast<int64_t>(list.Length()) != count) {
    throw Napi::TypeError::New(object.Env(), std::string(name) + " has not " + std::to_string(count) + " numbers");
  }
  for (uint32_t i = 0; i < list.Length(); ++i) {
    out->push_back(static_cast<Number>(list.Get(i).ToNumber().DoubleValue()));
  }
  return out->data();
}

constexpr const char* kActivations[] = {"silu", "gelu_tanh", "gelu", "relu", "relu_squared", "gelu_quick", "identity"};
constexpr const char* kFused[] = {"none", "stacked", "grouped", "interleaved"};

NormParts parse_norms(const Napi::Object& o) {
  NormParts n{};
  n.kind = one_of<NormKind>(o, "norm", {"rms", "layer"});
  n.unbiased = flag(o, "normUnbiased");
  n.bare = flag(o, "normBare");
  n.offset = static_cast<float>(number_or(o, "normOffset", 0));
  const auto places =
      o.Get("normPlaces").IsUndefined() ? std::string("before") : o.Get("normPlaces").ToString().Utf8Value();
  if (places != "before" && places != "after" && places != "both" && places != "sum") {
    throw Napi::TypeError::New(o.Env(), "unknown normPlaces: " + places);
  }
  n.none_before = places == "after" || places == "sum";
  n.after = places == "after" || places == "both";
  n.of_sum = places == "sum";
  n.none_first = flag(o, "noFirstNorm");
  n.none_last = flag(o, "noLastNorm");
  return n;
}

AttentionParts parse_attention(const Napi::Object& o, const LanguageModelConfig& c, ConfigArrays* arrays) {
  AttentionParts a{};
  a.fused = one_of<Fused>(o, "fusedQkv", kFused);
  a.both_directions = flag(o, "bothDirections");
  a.chunked = flag(o, "chunked");
  a.parallel = flag(o, "parallel");
  a.shared_norm = flag(o, "sharedNorm");
  a.head_norm = one_of<HeadNorm>(o, "headNorm", {"each", "together", "layer", "layer_own", "bare", "rotated"});
  a.scale = number_or(o, "attentionScale", 0);
  a.softcap = number_or(o, "attentionSoftcap", 0);
  a.clamp = number_or(o, "attentionClamp", 0);
  a.alibi = numbers(o, "alibi", c.heads, &arrays->alibi);
  a.alibi_rounded = flag(o, "alibiRounded");
  a.alibi_scale = number_or(o, "alibiScale", 0);
  a.sinks = flag(o, "sinks");
  if (o.Get("queryGrowth").IsObject()) {
    const auto growth = o.Get("queryGrowth").As<Napi::Object>();
    a.growth = {number(growth, "rate"), number(growth, "length"), integer_or(growth, "offset", 0),
                flag(growth, "unrotated")};
  }
  return a;
}

EmbeddingParts parse_embedding(const Napi::Object& o) {
  EmbeddingParts e{};
  e.scale = number_or(o, "embeddingScale", 0);
  e.padding = -1;
  if (o.Get("embedding").IsUndefined()) return e;
  const auto parts = o.Get("embedding").As<Napi::Object>();
  e.width = integer_or(parts, "width", 0);
  e.projection_bias = flag(parts, "projectionBias");
  e.project_first = flag(parts, "projectFirst");
  e.positions = integer_or(parts, "positions", 0);
  e.position_offset = integer_or(parts, "positionOffset", 0);
  e.padding = integer_or(parts, "padding", -1);
  e.types = integer_or(parts, "types", 0);
  e.norm = flag(parts, "norm");
  return e;
}

HeadParts parse_head(const Napi::Object& o) {
  HeadParts h{};
  h.scale = number_or(o, "logitScale", 0);
  h.softcap = number_or(o, "logitSoftcap", 0);
  h.bias = flag(o, "headBias");
  if (o.Get("headTransform").IsUndefined()) return h;
  const auto parts = o.Get("headTransform").As<Napi::Object>();
  h.transform = true;
  h.transform_bias = flag(parts, "bias");
  h.transform_norm = flag(parts, "norm");
  h.activation = one_of<Activation>(parts, "activation", kActivations);
  return h;
}

MoeConfig parse_experts(const Napi::Object& o) {
  MoeConfig m{};
  m.experts = integer_or(o, "count", 0);
  m.top_k = integer_or(o, "topK", 0);
  m.intermediate = integer_or(o, "intermediate", 0);
  m.score = one_of<RouterScore>(o, "score", {"softmax", "sigmoid", "softmax_of_chosen"});
  m.router_bias = flag(o, "routerBias");
  m.correction_bias = flag(o, "correctionBias");
  m.groups = integer_or(o, "groups", 0);
  m.top_groups = integer_or(o, "topGroups", 0);
  m.renormalise = flag(o, "renormalise");
  m.scale = number_or(o, "scale", 0);
  m.scale_input = flag(o, "scaleInput");
  m.shared_gate = flag(o, "sharedGate");
  m.expert_bias = flag(o, "bias");
  m.fused = one_of<Fused>(o, "fusedGateUp", kFused);
  m.clamp_limit = number_or(o, "clampLimit", 0);
  m.clamp_alpha = number_or(o, "clampAlpha", 0);
  return m;
}

// The parts that are not Llama's, each absent where it is.
void parse_parts(const Napi::Object& o, ConfigArrays* arrays, LanguageModelConfig* c) {
  c->norms = parse_norms(o);
  c->attention = parse_attention(o, *c, arrays);
  c->mlp = {one_of<Activation>(o, "activation", kActivations), flag(o, "plainMlp"),
            one_of<Fused>(o, "fusedGateUp", kFused)};
  c->embedding = parse_embedding(o);
  c->head = parse_head(o);
  c->residual_scale = number_or(o, "residualScale", 0);
  c->rotary.dim = integer_or(o, "rotaryDim", 0);
  c->rotary.interleaved = flag(o, "rotaryInterleaved");
  c->rotary.local_theta = number_or(o, "ropeLocalTheta", 0);
  const auto rope = o.Get("rope").As<Napi::Object>();
  c->rotary.yarn_exact = flag(rope, "exact");
  const int64_t pairs = (c->rotary.dim > 0 ? c->rotary.dim : c->head_dim) / 2;
  c->rotary.short_factors = numbers(rope, "shortFactors", pairs, &arrays->short_factors);
  c->rotary.long_factors = numbers(rope, "longFactors", pairs, &arrays->long_factors);
  c->precision = one_of<Precision>(o, "precision", {"fp32", "bf16"});
  c->masked = !o.Get("maskToken").IsUndefined();
  c->mask_token = integer_or(o, "maskToken", 0);
  if (o.Get("experts").IsObject()) c->moe = parse_experts(o.Get("experts").As<Napi::Object>());
  if (o.Get("layerTraits").IsUndefined()) return;
  const auto list = o.Get("layerTraits").As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto entry = list.Get(i).As<Napi::Object>();
    arrays->traits.push_back({static_cast<int32_t>(number(entry, "window")),
                              one_of<LayerRotary>(entry, "rotary", {"standard", "local", "none"}),
                              integer_or(entry, "width", c->intermediate), flag(entry, "routed")});
  }
  if (static_cast<int64_t>(arrays->traits.size()) != c->layers) {
    throw Napi::TypeError::New(o.Env(), "layerTraits is not one entry a layer");
  }
  c->traits = arrays->traits.data();
}

}  // namespace

LanguageModelConfig parse_config(const Napi::Object& o, ConfigArrays* arrays) {
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
  parse_parts(o, arrays, &c);
  return c;
}

}  // namespace lq
