#include "layer_pass.h"

#include <optional>
#include <string>
#include <vector>

#include "mapped_file.h"
#include "model_places.h"

namespace lq {

Napi::Value run_moments(const std::shared_ptr<OpenPass>& open, const Napi::CallbackInfo& info) {
  const InputPlace place = parse_input(info[0].As<Napi::Object>());
  const auto wanted = info[1].As<Napi::Object>();
  const ByteRange moment = parse_range(wanted.Get("secondMoment"));
  std::optional<ByteRange> cross;
  if (!wanted.Get("cross").IsUndefined()) cross = parse_range(wanted.Get("cross"));
  const int64_t n = open->model->input_size(place);
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
      return open->pass->moments(place.layer, place.input, place.expert, moment_file.floats(),
                                 cross ? cross_file->floats() : nullptr, control);
    });
  };
  return run_task(info.Env(), info[2], work, [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value run_replace(const std::shared_ptr<OpenPass>& open, const Napi::CallbackInfo& info) {
  const Place place = parse_place(info[0].As<Napi::Object>());
  const WeightSource source = parse_weight(info[1]);
  const auto work = [=](const Control& control) {
    return open->model->locked(control, [&](LanguageModel&) {
      std::vector<float> values(static_cast<size_t>(element_count(source)));
      open->model->read(source, values.data(), control);
      return open->pass->replace(place.layer, place.kind, place.expert, values.data(),
                                 static_cast<int64_t>(values.size()));
    });
  };
  return run_task(info.Env(), info[2], work, [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value run_advance(const std::shared_ptr<OpenPass>& open, const Napi::CallbackInfo& info) {
  const int32_t layer = info[0].ToNumber().Int32Value();
  const auto work = [=](const Control& control) {
    return open->model->locked(control, [&](LanguageModel&) { return open->pass->advance(layer, control); });
  };
  return run_task(info.Env(), info[1], work, [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace lq
