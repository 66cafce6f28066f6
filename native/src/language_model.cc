#include "language_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "calibration_files.h"
#include "ops.h"
#include "task.h"
#include "weight_source.h"

namespace lq {
namespace {

struct Weight {
  WeightSource source;
  std::string name;
};

Place parse_place(const Napi::Object& object) {
  const std::string kind = object.Get("kind").ToString();
  const auto* const found = std::find(std::begin(kKindNames), std::end(kKindNames), kind);
  if (found == std::end(kKindNames)) throw Napi::TypeError::New(object.Env(), "unknown kind of weight: " + kind);
  return {object.Get("layer").ToNumber().Int32Value(), static_cast<WeightKind>(found - std::begin(kKindNames))};
}

BlockInput parse_input(const Napi::Object& object) {
  const std::string input = object.Get("input").ToString();
  const auto* const found = std::find(std::begin(kInputNames), std::end(kInputNames), input);
  if (found == std::end(kInputNames)) throw Napi::TypeError::New(object.Env(), "unknown input of a block: " + input);
  return static_cast<BlockInput>(found - std::begin(kInputNames));
}

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

// `traits` holds what the config points to.
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

// The backend's model with what feeds it. Calls run one at a time; a call under way outlives close().
class OpenModel {
 public:
  OpenModel(Device& device, const Napi::Object& config, std::map<Place, Weight> weights)
      : config(parse_config(config, &traits_)), device_(device), weights_(std::move(weights)) {}
  ~OpenModel() {
    if (model_ != nullptr) model_->destroy();
  }

 private:
  std::vector<LayerTraits> traits_;  // what config points to

 public:
  const LanguageModelConfig config;

  void create() {
    const Status status =
        device_.backend->create_language_model(config, {this, &OpenModel::load, &OpenModel::load_packed}, &model_);
    if (status.code != StatusCode::ok) throw_status(status);
  }

  // Starts a pass in layer order.
  void start(const std::vector<int32_t>& tokens, int32_t context, LayerPass** out) {
    const auto sequences = static_cast<int64_t>(tokens.size()) / context;
    const Status status = model_->open_layer_pass(tokens.data(), sequences, context, out);
    if (status.code != StatusCode::ok) throw_status(status);
  }

  // Fills out with a weight from elsewhere.
  void read(const WeightSource& source, float* out, const Control& control) {
    load_weight(source, *device_.backend, out, control);
  }

  // Width of an input of a block.
  int64_t input_size(BlockInput input) const {
    switch (input) {
      case BlockInput::output:
        return int64_t{config.heads} * config.head_dim;
      case BlockInput::down:
        return config.intermediate;
      default:
        return config.hidden;
    }
  }

  // Calls run(model, control), and names the file and tensor when it was a weight that failed.
  template <typename Run>
  Status locked(const Control& control, const Run& run) {
    const std::lock_guard<std::mutex> lock(mutex_);
    // The memory of an accelerator is the model's alone; on the CPU, statistics go on beside it.
    std::optional<Gate::Pass> accelerator;
    if (device_.id != "cpu") accelerator.emplace(device_.gate, true);
    control_ = control;
    failure_ = {};
    const Status status = run(*model_);
    if (status.code != StatusCode::ok && failure_.status.code == status.code) throw TaskFailure{failure_};
    return status;
  }

  // Calls run(model, other's model, control) with both locked; both are on one device. Names what failed as locked
  // does.
  template <typename Run>
  Status locked_with(OpenModel& other, const Control& control, const Run& run) {
    if (&other == this) return locked(control, [&](LanguageModel& m) { return run(m, m); });
    const std::scoped_lock locks(mutex_, other.mutex_);
    std::optional<Gate::Pass> accelerator;
    if (device_.id != "cpu") accelerator.emplace(device_.gate, true);
    for (OpenModel* model : {this, &other}) {
      model->control_ = control;
      model->failure_ = {};
    }
    const Status status = run(*model_, *other.model_);
    for (const OpenModel* model : {this, &other}) {
      if (status.code != StatusCode::ok && model->failure_.status.code == status.code) {
        throw TaskFailure{model->failure_};
      }
    }
    return status;
  }
  bool beside(const OpenModel& other) const { return &device_ == &other.device_; }

 private:
  static Status load(void* user, int32_t layer, WeightKind kind, float* out, int64_t count) {
    return static_cast<OpenModel*>(user)->load(layer, kind, out, count);
  }

  static Status load_packed(void* user, int32_t layer, WeightKind kind, PackedWeight* out, bool* found) {
    return static_cast<OpenModel*>(user)->load_packed(layer, kind, out, found);
  }

  Status load(int32_t layer, WeightKind kind, float* out, int64_t count) {
    const Weight* weight = find(layer, kind);
    if (weight == nullptr) {
      return fail(
          StatusCode::invalid_argument,
          std::string("no weight for ") + kKindNames[static_cast<size_t>(kind)] + " of layer " + std::to_string(layer),
          {});
    }
    if (element_count(weight->source) != count) {
      return fail(StatusCode::invalid_argument,
                  "the tensor has " + std::to_string(element_count(weight->source)) + " elements, the model needs " +
                      std::to_string(count),
                  weight->name);
    }
    return reading(*weight, [&] { load_weight(weight->source, *device_.backend, out, control_); });
  }

  // What is missing is not packed either: load says so.
  Status load_packed(int32_t layer, WeightKind kind, PackedWeight* out, bool* found) {
    const Weight* weight = find(layer, kind);
    const auto* source = weight == nullptr ? nullptr : std::get_if<LqSource>(&weight->source);
    *found = source != nullptr;
    if (source == nullptr) return {StatusCode::ok, -1, {}};
    return reading(*weight, [&] {
      packed_ = lq::load_packed(*source, *device_.backend, control_);
      const bool factors = packed_->rank > 0;
      *out = {packed_->view, factors ? packed_->l1.data() : nullptr, factors ? packed_->l2.data() : nullptr,
              packed_->rank};
    });
  }

  const Weight* find(int32_t layer, WeightKind kind) const {
    const auto found = weights_.find({layer, kind});
    return found == weights_.end() ? nullptr : &found->second;
  }

  // Exceptions end here: the caller may be another library.
  template <typename Read>
  Status reading(const Weight& weight, const Read& read) {
    try {
      read();
      return {StatusCode::ok, -1, {}};
    } catch (const TaskFailure& failure) {
      failure_ = failure.outcome;
      failure_.tensor = weight.name;
      return failure_.status;
    } catch (const std::bad_alloc&) {
      return fail(StatusCode::out_of_memory, "not enough memory to read a weight", weight.name);
    }
  }

  Status fail(StatusCode code, const std::string& message, const std::string& tensor) {
    failure_ = {{code, -1, {}}, {}, tensor};
    std::strncpy(failure_.status.message, message.c_str(), sizeof failure_.status.message - 1);
    return failure_.status;
  }

  Device& device_;
  const std::map<Place, Weight> weights_;
  LanguageModel* model_ = nullptr;
  std::unique_ptr<LoadedPacked> packed_;  // what load_packed handed out last
  std::mutex mutex_;
  Control control_{};  // of the call under way
  Outcome failure_;    // of the last weight asked for
};

std::vector<int32_t> copy_tokens(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    throw Napi::TypeError::New(value.Env(), "tokens is not an Int32Array");
  }
  const auto array = value.As<Napi::Int32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

int32_t parse_context(const Napi::Value& value, const std::vector<int32_t>& tokens) {
  const int64_t context = value.IsNumber() ? value.As<Napi::Number>().Int64Value() : 0;
  if (context < 2 || context > INT32_MAX || tokens.empty() || tokens.size() % static_cast<size_t>(context) != 0) {
    throw Napi::TypeError::New(value.Env(), "tokens are not whole sequences of two or more");
  }
  return static_cast<int32_t>(context);
}

Napi::Value to_array(Napi::Env env, const std::vector<double>& values) {
  auto array = Napi::Float64Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Value run_losses(const std::shared_ptr<OpenModel>& model, const Napi::CallbackInfo& info) {
  auto tokens = std::make_shared<std::vector<int32_t>>(copy_tokens(info[0]));
  const int32_t context = parse_context(info[1], *tokens);
  auto losses = std::make_shared<std::vector<double>>(tokens->size() / context);
  const auto work = [=](const Control& control) {
    return model->locked(control, [&](LanguageModel& m) {
      return m.losses(tokens->data(), static_cast<int64_t>(losses->size()), context, losses->data(), control);
    });
  };
  return run_task(info.Env(), info[2], work, [losses](Napi::Env env) { return to_array(env, *losses); });
}

Napi::Value run_logits(const std::shared_ptr<OpenModel>& model, const Napi::CallbackInfo& info) {
  auto tokens = std::make_shared<std::vector<int32_t>>(copy_tokens(info[0]));
  auto out = std::make_shared<std::vector<float>>(tokens->size() * model->config.vocab);
  const auto work = [=](const Control& control) {
    return model->locked(control, [&](LanguageModel& m) {
      return m.logits(tokens->data(), static_cast<int32_t>(tokens->size()), out->data(), control);
    });
  };
  return run_task(info.Env(), info[1], work, [out](Napi::Env env) -> Napi::Value {
    auto array = Napi::Float32Array::New(env, out->size());
    std::copy(out->begin(), out->end(), array.Data());
    return array;
  });
}

std::shared_ptr<CalibrationFiles> parse_gradients(const Napi::Value& value) {
  auto files = std::make_shared<CalibrationFiles>();
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto entry = list.Get(i).As<Napi::Object>();
    const Place place = parse_place(entry);
    const auto add = [&](const char* name, auto insert) {
      const Napi::Value range = entry.Get(name);
      if (!range.IsUndefined()) insert(parse_range(range));
    };
    add("fisher", [&](const ByteRange& range) { files->want_squares(place, range); });
    add("rowMean", [&](const ByteRange& range) { files->want_row_squares(place, range); });
  }
  return files;
}

void parse_inputs(const Napi::Value& value, CalibrationFiles* files) {
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto entry = list.Get(i).As<Napi::Object>();
    files->want_moment(entry.Get("layer").ToNumber().Int32Value(), parse_input(entry),
                       parse_range(entry.Get("secondMoment")), parse_range(entry.Get("meanSquare")));
  }
}

Napi::Value run_calibrate(const std::shared_ptr<OpenModel>& model, const Napi::CallbackInfo& info) {
  auto tokens = std::make_shared<std::vector<int32_t>>(copy_tokens(info[0]));
  const int32_t context = parse_context(info[1], *tokens);
  auto losses = std::make_shared<std::vector<double>>(tokens->size() / context);
  const auto wanted = info[2].As<Napi::Object>();
  const std::shared_ptr<CalibrationFiles> files = parse_gradients(wanted.Get("gradients"));
  parse_inputs(wanted.Get("inputs"), files.get());
  const auto work = [=](const Control& control) {
    const auto samples = static_cast<int64_t>(losses->size());
    const Control watched = files->watch(control);
    const Status status = model->locked(watched, [&](LanguageModel& m) {
      return m.calibrate(tokens->data(), samples, context, files->sink(), losses->data(), watched);
    });
    files->finish(status, samples, context);
    return status;
  };
  return run_task(info.Env(), info[3], work, [losses](Napi::Env env) { return to_array(env, *losses); });
}

// Where wrap() keeps an opened thing, so that another's method can find it.
constexpr const char* kHandle = "handle";

template <typename Opened>
std::shared_ptr<Opened> unwrap(const Napi::Value& value, const char* what) {
  if (value.IsObject() && value.As<Napi::Object>().Get(kHandle).IsExternal()) {
    const auto& holder = *value.As<Napi::Object>().Get(kHandle).As<Napi::External<std::shared_ptr<Opened>>>().Data();
    if (holder) return holder;
  }
  throw Napi::TypeError::New(value.Env(), std::string("not an open ") + what);
}

// Smallest value that a share of all values are at most.
float percentile(std::vector<float>* values, double share) {
  const auto rank = static_cast<int64_t>(std::ceil(share * static_cast<double>(values->size())));
  const auto at = values->begin() + std::max<int64_t>(rank - 1, 0);
  std::nth_element(values->begin(), at, values->end());
  return *at;
}

Napi::Value run_divergence(const std::shared_ptr<OpenModel>& model, const Napi::CallbackInfo& info) {
  const auto other = unwrap<OpenModel>(info[0], "language model");
  if (!model->beside(*other)) throw Napi::TypeError::New(info.Env(), "the models are on different devices");
  const std::vector<int32_t> tokens = copy_tokens(info[1]);
  const int32_t context = parse_context(info[2], tokens);
  struct Result {
    std::vector<double> losses, other_losses;
    std::vector<float> kl;
    std::vector<uint8_t> same_top;
  };
  auto result = std::make_shared<Result>();
  const auto work = [=](const Control& control) {
    const auto sequences = static_cast<int64_t>(tokens.size()) / context;
    const auto predictions = static_cast<size_t>(sequences * (context - 1));
    result->losses.resize(static_cast<size_t>(sequences));
    result->other_losses.resize(static_cast<size_t>(sequences));
    result->kl.resize(predictions);
    result->same_top.resize(predictions);
    const Divergence out{result->losses.data(), result->other_losses.data(), result->kl.data(),
                         result->same_top.data()};
    return model->locked_with(*other, control, [&](LanguageModel& a, LanguageModel& b) {
      return a.divergence(&b, tokens.data(), sequences, context, out, control);
    });
  };
  return run_task(info.Env(), info[3], work, [result](Napi::Env env) -> Napi::Value {
    const auto count = static_cast<double>(result->kl.size());
    Napi::Object kl = Napi::Object::New(env);
    kl.Set("mean", std::accumulate(result->kl.begin(), result->kl.end(), 0.0) / count);
    kl.Set("p99", percentile(&result->kl, 0.99));
    Napi::Object object = Napi::Object::New(env);
    object.Set("losses", to_array(env, result->losses));
    object.Set("otherLosses", to_array(env, result->other_losses));
    object.Set("kl", kl);
    object.Set("sameTop", std::accumulate(result->same_top.begin(), result->same_top.end(), 0.0) / count);
    return object;
  });
}

// A pass in layer order with the model that feeds it. A call under way outlives close().
struct OpenPass {
  explicit OpenPass(std::shared_ptr<OpenModel> m) : model(std::move(m)) {}
  ~OpenPass() {
    if (pass != nullptr) pass->destroy();
  }
  OpenPass(const OpenPass&) = delete;
  OpenPass& operator=(const OpenPass&) = delete;

  std::shared_ptr<OpenModel> model;
  LayerPass* pass = nullptr;
};

Napi::Value run_moments(const std::shared_ptr<OpenPass>& open, const Napi::CallbackInfo& info) {
  const int32_t layer = info[0].ToNumber().Int32Value();
  Napi::Object place = Napi::Object::New(info.Env());
  place.Set("input", info[1]);
  const BlockInput input = parse_input(place);
  const auto wanted = info[2].As<Napi::Object>();
  const ByteRange moment = parse_range(wanted.Get("secondMoment"));
  std::optional<ByteRange> cross;
  if (!wanted.Get("cross").IsUndefined()) cross = parse_range(wanted.Get("cross"));
  const int64_t n = open->model->input_size(input);
  const int64_t bytes = n * n * static_cast<int64_t>(sizeof(float));
  if (moment.bytes != bytes || (cross && cross->bytes != bytes)) {
    throw Napi::TypeError::New(info.Env(),
                               "moments of this input are " + std::to_string(n) + " x " + std::to_string(n));
  }
  const auto work = [=](const Control& control) {
    return open->model->locked(control, [&](LanguageModel&) {
      const MappedFile moment_file(moment);
      std::optional<MappedFile> cross_file;
      if (cross) cross_file.emplace(*cross);
      return open->pass->moments(layer, input, moment_file.floats(), cross ? cross_file->floats() : nullptr, control);
    });
  };
  return run_task(info.Env(), info[3], work, [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value run_replace(const std::shared_ptr<OpenPass>& open, const Napi::CallbackInfo& info) {
  Napi::Object entry = Napi::Object::New(info.Env());
  entry.Set("layer", info[0]);
  entry.Set("kind", info[1]);
  const Place place = parse_place(entry);
  const WeightSource source = parse_weight(info[2]);
  const auto work = [=](const Control& control) {
    return open->model->locked(control, [&](LanguageModel&) {
      std::vector<float> values(static_cast<size_t>(element_count(source)));
      open->model->read(source, values.data(), control);
      return open->pass->replace(place.first, place.second, values.data(), static_cast<int64_t>(values.size()));
    });
  };
  return run_task(info.Env(), info[3], work, [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value run_advance(const std::shared_ptr<OpenPass>& open, const Napi::CallbackInfo& info) {
  const int32_t layer = info[0].ToNumber().Int32Value();
  const auto work = [=](const Control& control) {
    return open->model->locked(control, [&](LanguageModel&) { return open->pass->advance(layer, control); });
  };
  return run_task(info.Env(), info[1], work, [](Napi::Env env) { return env.Undefined(); });
}

// Everything thrown becomes a rejection, as the declared type promises.
template <typename Call>
Napi::Value promised(const Napi::CallbackInfo& info, const Call& call) {
  try {
    return call();
  } catch (const Napi::Error& error) {
    const auto deferred = Napi::Promise::Deferred::New(info.Env());
    deferred.Reject(error.Value());
    return deferred.Promise();
  } catch (const TaskFailure& failure) {
    const auto deferred = Napi::Promise::Deferred::New(info.Env());
    deferred.Reject(to_error(info.Env(), failure.outcome).Value());
    return deferred.Promise();
  }
}

template <typename Opened>
using Method = Napi::Value (*)(const std::shared_ptr<Opened>&, const Napi::CallbackInfo&);

// A JavaScript object of methods. They share one holder, so that close() empties it for all.
template <typename Opened>
Napi::Object wrap(Napi::Env env, const char* what, std::shared_ptr<Opened> opened,
                  std::initializer_list<std::pair<const char*, Method<Opened>>> methods) {
  auto holder = std::make_shared<std::shared_ptr<Opened>>(std::move(opened));
  Napi::Object object = Napi::Object::New(env);
  for (const auto& [name, run] : methods) {
    const Method<Opened> call = run;
    object.Set(name, Napi::Function::New(
                         env,
                         [holder, call, what](const Napi::CallbackInfo& info) {
                           return promised(info, [&] {
                             if (!*holder) throw Napi::Error::New(info.Env(), std::string(what) + " is closed");
                             return call(*holder, info);
                           });
                         },
                         name));
  }
  // Not enumerable: nothing that prints or compares the object meets it.
  using Holder = std::shared_ptr<Opened>;
  object.DefineProperty(Napi::PropertyDescriptor::Value(
      kHandle, Napi::External<Holder>::New(env, holder.get(), [holder](Napi::Env, Holder*) {}), napi_default));
  object.Set("close", Napi::Function::New(
                          env, [holder](const Napi::CallbackInfo&) { holder->reset(); }, "close"));
  return object;
}

std::map<Place, Weight> parse_weights(const Napi::Array& list) {
  std::map<Place, Weight> weights;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto entry = list.Get(i).As<Napi::Object>();
    weights[parse_place(entry)] = {parse_weight(entry.Get("source")), entry.Get("name").ToString()};
  }
  return weights;
}

}  // namespace

void register_language_model(Napi::Env env, Napi::Object exports) {
  const auto resolved = [](Napi::Env of, const Napi::Object& object) -> Napi::Value {
    const auto deferred = Napi::Promise::Deferred::New(of);
    deferred.Resolve(object);
    return deferred.Promise();
  };
  const auto create = [](const Napi::CallbackInfo& info) {
    auto model = std::make_shared<OpenModel>(device_argument(info[0]), info[1].As<Napi::Object>(),
                                             parse_weights(info[2].As<Napi::Array>()));
    model->create();
    return model;
  };
  const auto open = [=](const Napi::CallbackInfo& info) {
    return promised(info, [&] {
      return resolved(info.Env(), wrap<OpenModel>(info.Env(), "the language model", create(info),
                                                  {{"losses", run_losses},
                                                   {"logits", run_logits},
                                                   {"calibrate", run_calibrate},
                                                   {"divergence", run_divergence}}));
    });
  };
  const auto open_pass = [=](const Napi::CallbackInfo& info) {
    return promised(info, [&] {
      const std::vector<int32_t> tokens = copy_tokens(info[3]);
      const int32_t context = parse_context(info[4], tokens);
      auto pass = std::make_shared<OpenPass>(create(info));
      pass->model->start(tokens, context, &pass->pass);
      return resolved(info.Env(),
                      wrap<OpenPass>(info.Env(), "the pass in layer order", std::move(pass),
                                     {{"moments", run_moments}, {"replace", run_replace}, {"advance", run_advance}}));
    });
  };
  exports.Set("openLanguageModel", Napi::Function::New(env, open, "openLanguageModel"));
  exports.Set("openLayerPass", Napi::Function::New(env, open_pass, "openLayerPass"));
}

}  // namespace lq
