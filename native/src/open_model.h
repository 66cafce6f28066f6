// An open language model: the backend's object, the weights that feed it, one call at a time.
#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "calibration_files.h"
#include "encode_arguments.h"
#include "matrix.h"
#include "model_config.h"
#include "ops.h"
#include "task.h"
#include "weight_source.h"

namespace lq {

// Where a weight is, and its name for errors.
struct Weight {
  WeightSource source;
  std::string name;
  bool transposed = false;  // the source is [cols, rows]
};

// The backend's model with what feeds it. Calls run one at a time; a call under way outlives close().
class OpenModel {
 public:
  OpenModel(Device& device, const Napi::Object& config, std::map<Place, Weight> weights)
      : config(parse_config(config, &arrays_)), device_(device), weights_(std::move(weights)) {}
  ~OpenModel() {
    if (model_ != nullptr) model_->destroy();
  }

 private:
  ConfigArrays arrays_;  // what config points to

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

  // Width of an input of a block; 0 for one that it does not have.
  int64_t input_size(const InputPlace& place) const {
    if (place.layer < 0 || place.layer >= config.layers) return 0;
    switch (place.input) {
      case BlockInput::output:
        return int64_t{config.heads} * config.head_dim;
      case BlockInput::down:
        return place.expert == kNoExpert ? traits_of(config, place.layer).width : config.moe.intermediate;
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
  static Status load(void* user, int32_t layer, WeightKind kind, int32_t expert, float* out, int64_t count) {
    return static_cast<OpenModel*>(user)->load({layer, kind, expert}, out, count);
  }

  static Status load_packed(void* user, int32_t layer, WeightKind kind, int32_t expert, PackedWeight* out,
                            bool* found) {
    return static_cast<OpenModel*>(user)->load_packed({layer, kind, expert}, out, found);
  }

  Status load(const Place& place, float* out, int64_t count) {
    const Weight* weight = find(place);
    if (weight == nullptr) {
      const std::string expert = place.expert == kNoExpert ? "" : " of expert " + std::to_string(place.expert);
      return fail(StatusCode::invalid_argument,
                  std::string("no weight for ") + kKindNames[static_cast<size_t>(place.kind)] + expert + " of layer " +
                      std::to_string(place.layer),
                  {});
    }
    if (element_count(weight->source) != count) {
      return fail(StatusCode::invalid_argument,
                  "the tensor has " + std::to_string(element_count(weight->source)) + " elements, the model needs " +
                      std::to_string(count),
                  weight->name);
    }
    return reading(*weight, [&] {
      if (!weight->transposed) return load_weight(weight->source, *device_.backend, out, control_);
      std::vector<float> stored(static_cast<size_t>(count));
      load_weight(weight->source, *device_.backend, stored.data(), control_);
      const auto [rows, cols] = shape_of(weight->source);
      transpose(stored.data(), rows, cols, out);
    });
  }

  // What is missing is not packed either: load says so.
  Status load_packed(const Place& place, PackedWeight* out, bool* found) {
    *found = false;
    const Weight* weight = find(place);
    if (weight == nullptr || weight->transposed) return {StatusCode::ok, -1, {}};
    const auto pointer = [](const std::vector<float>& factor) { return factor.empty() ? nullptr : factor.data(); };
    if (const auto* two_level = std::get_if<LqSource>(&weight->source)) {
      *found = true;
      return reading(*weight, [&] {
        packed_ = lq::load_packed(*two_level, *device_.backend, control_);
        *out = {encoded_view(packed_->view, two_level->rows, two_level->cols, packed_->rank), pointer(packed_->l1),
                pointer(packed_->l2)};
      });
    }
    const auto* source = std::get_if<EncodedSource>(&weight->source);
    const GridKind grid = source == nullptr ? GridKind::gguf : source->option.option.grid;
    if (grid == GridKind::gguf || grid == GridKind::exl3) return {StatusCode::ok, -1, {}};
    *found = true;
    return reading(*weight, [&] {
      encoded_ = read_encoded(*source, *device_.backend, control_);
      *out = {encoded_->buffers.view, pointer(encoded_->l1), pointer(encoded_->l2)};
    });
  }

  const Weight* find(const Place& place) const {
    const auto found = weights_.find(place);
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
  std::unique_ptr<LoadedPacked> packed_;  // what load_packed handed out last, in either form
  std::unique_ptr<LoadedEncoded> encoded_;
  std::mutex mutex_;
  Control control_{};  // of the call under way
  Outcome failure_;    // of the last weight asked for
};

}  // namespace lq
