#include "layer_pass.h"

#include <optional>
#include <string>
#include <vector>

#include "mapped_file.h"
#include "model_places.h"

namespace lq {

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

}  // namespace lq
