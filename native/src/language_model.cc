#include "language_model.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "mapped_file.h"
#include "ops.h"
#include "task.h"
#include "weight_source.h"

namespace lq {
namespace {

constexpr const char* kKindNames[] = {
    "embedding", "final_norm", "head",   "input_norm", "post_attention_norm",
    "q",         "k",          "v",      "o",          "gate",
    "up",        "down",       "q_bias", "k_bias",     "v_bias",
    "o_bias",    "q_norm",     "k_norm", "gate_bias",  "up_bias",
    "down_bias",
};

using Place = std::pair<int32_t, WeightKind>;  // layer and kind

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

LanguageModelConfig parse_config(const Napi::Object& o) {
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
  return c;
}

// The backend's model with what feeds it. Calls run one at a time; a call under way outlives close().
class OpenModel {
 public:
  OpenModel(Device& device, const LanguageModelConfig& config, std::map<Place, Weight> weights)
      : config(config), device_(device), weights_(std::move(weights)) {}
  ~OpenModel() {
    if (model_ != nullptr) model_->destroy();
  }

  const LanguageModelConfig config;

  void create() {
    const Status status =
        device_.backend->create_language_model(config, {this, &OpenModel::load, &OpenModel::load_packed}, &model_);
    if (status.code != StatusCode::ok) throw_status(status);
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

struct Target {
  ByteRange range;
  std::unique_ptr<MappedFile> file;  // from the first use on
};

// Where squared gradients are summed: each target's place in its file, mapped and cleared when first asked for.
struct Sink {
  std::map<Place, Target> targets;
  Outcome failure;

  static float* accumulator(void* user, int32_t layer, WeightKind kind, int64_t rows, int64_t cols) {
    auto* sink = static_cast<Sink*>(user);
    const auto found = sink->targets.find({layer, kind});
    if (found == sink->targets.end()) return nullptr;
    Target& target = found->second;
    if (target.file) return target.file->floats();
    if (target.range.bytes != rows * cols * static_cast<int64_t>(sizeof(float))) return nullptr;
    try {
      target.file = std::make_unique<MappedFile>(target.range);
    } catch (const TaskFailure& error) {
      // The caller may be another library: the failure waits here, and stops the run through its control.
      sink->failure = error.outcome;
      return nullptr;
    }
    std::memset(target.file->floats(), 0, static_cast<size_t>(target.range.bytes));
    return target.file->floats();
  }

  bool failed() const { return failure.status.code != StatusCode::ok; }

  // Sums become means. A target nobody asked for is not a block's matrix, or has another size.
  void finish(int64_t samples) {
    const float scale = 1.0f / static_cast<float>(samples);
    for (const auto& [place, target] : targets) {
      if (!target.file) {
        throw_error(StatusCode::invalid_argument,
                    std::string("no squared gradient of that size for ") +
                        kKindNames[static_cast<size_t>(place.second)] + " of layer " + std::to_string(place.first),
                    target.range.path);
      }
      float* values = target.file->floats();
      const int64_t count = target.range.bytes / static_cast<int64_t>(sizeof(float));
      for (int64_t i = 0; i < count; ++i) values[i] *= scale;
    }
  }
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

Napi::Value run_fisher(const std::shared_ptr<OpenModel>& model, const Napi::CallbackInfo& info) {
  auto tokens = std::make_shared<std::vector<int32_t>>(copy_tokens(info[0]));
  const int32_t context = parse_context(info[1], *tokens);
  auto losses = std::make_shared<std::vector<double>>(tokens->size() / context);
  auto sink = std::make_shared<Sink>();
  const auto list = info[2].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto target = list.Get(i).As<Napi::Object>();
    sink->targets[parse_place(target)].range = parse_range(target.Get("destination"));
  }
  const auto work = [=](const Control& control) {
    const auto samples = static_cast<int64_t>(losses->size());
    struct Watch {
      const Control& outer;
      const Sink& sink;
    } watch{control, *sink};
    const Control watched{&watch,
                          [](void* user) {
                            const auto* w = static_cast<const Watch*>(user);
                            return w->sink.failed() || w->outer.cancelled(w->outer.user);
                          },
                          [](void* user, double done, double total) {
                            const Control& outer = static_cast<const Watch*>(user)->outer;
                            outer.progress(outer.user, done, total);
                          }};
    const Status status = model->locked(watched, [&](LanguageModel& m) {
      return m.fisher(tokens->data(), samples, context, {sink.get(), &Sink::accumulator}, losses->data(), watched);
    });
    if (sink->failed()) throw TaskFailure{sink->failure};
    if (status.code == StatusCode::ok) sink->finish(samples);
    sink->targets.clear();
    return status;
  };
  return run_task(info.Env(), info[3], work, [losses](Napi::Env env) { return to_array(env, *losses); });
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

using Method = Napi::Value (*)(const std::shared_ptr<OpenModel>&, const Napi::CallbackInfo&);

Napi::Object wrap(Napi::Env env, std::shared_ptr<OpenModel> opened) {
  // The methods share one holder, so that close() empties it for all.
  auto holder = std::make_shared<std::shared_ptr<OpenModel>>(std::move(opened));
  const auto method = [&](const char* name, Method run) {
    return Napi::Function::New(
        env,
        [holder, run](const Napi::CallbackInfo& info) {
          return promised(info, [&] {
            if (!*holder) throw Napi::Error::New(info.Env(), "the language model is closed");
            return run(*holder, info);
          });
        },
        name);
  };
  Napi::Object object = Napi::Object::New(env);
  object.Set("losses", method("losses", run_losses));
  object.Set("logits", method("logits", run_logits));
  object.Set("fisher", method("fisher", run_fisher));
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
  const auto open = [](const Napi::CallbackInfo& info) {
    return promised(info, [&]() -> Napi::Value {
      auto model = std::make_shared<OpenModel>(device_argument(info[0]), parse_config(info[1].As<Napi::Object>()),
                                               parse_weights(info[2].As<Napi::Array>()));
      model->create();
      const auto deferred = Napi::Promise::Deferred::New(info.Env());
      deferred.Resolve(wrap(info.Env(), std::move(model)));
      return deferred.Promise();
    });
  };
  exports.Set("openLanguageModel", Napi::Function::New(env, open, "openLanguageModel"));
}

}  // namespace lq
