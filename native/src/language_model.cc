#include "language_model.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "calibration_files.h"
#include "layer_pass.h"
#include "model_places.h"
#include "open_model.h"
#include "opened.h"
#include "task.h"

namespace lq {
namespace {

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
    files->want_moment(parse_input(entry), parse_range(entry.Get("secondMoment")),
                       parse_range(entry.Get("meanSquare")));
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
    const auto predictions =
        static_cast<size_t>(sequences * lq::predictions(model->config, tokens.data(), sequences, context));
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
    auto kl = Napi::Float32Array::New(env, result->kl.size());
    std::copy(result->kl.begin(), result->kl.end(), kl.Data());
    Napi::Object object = Napi::Object::New(env);
    object.Set("losses", to_array(env, result->losses));
    object.Set("otherLosses", to_array(env, result->other_losses));
    object.Set("kl", kl);
    object.Set("sameTop", std::accumulate(result->same_top.begin(), result->same_top.end(), 0.0));
    return object;
  });
}

std::map<Place, Weight> parse_weights(const Napi::Array& list) {
  std::map<Place, Weight> weights;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto entry = list.Get(i).As<Napi::Object>();
    weights[parse_place(entry)] = {parse_weight(entry.Get("source")), entry.Get("name").ToString(),
                                   entry.Get("transposed").ToBoolean()};
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
