#include "lm/language_model.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "lm/head.h"
#include "lm/rotary.h"
#include "lm/sums.h"
#include "runtime/budget.h"

namespace lq::cuda {
namespace {

constexpr int64_t kMostRows = 8192;  // tokens a batch: beyond, products are as fast as they get
// Activations of models up to this size have two planes: they are quick anyway, and then as exact as in fp32.
constexpr int64_t kSmallModel = int64_t{1} << 30;
constexpr double kUsableMemory = 0.92;  // of what is free; the rest is fragmentation and cuBLAS's own

// Progress in sequences, cancellation, and a limit to how far the host runs ahead of the device: one step.
class Meter {
 public:
  // A total of 0 is not reported.
  Meter(const Stream& stream, const Watch& watch, int64_t total) : stream_(stream), watch_(watch), total_(total) {}
  // A batch of `sequences` that takes `steps`, in a run that visits every sequence `visits` times.
  void begin(int64_t sequences, int64_t steps, int64_t visits) {
    share_ = static_cast<double>(sequences) / static_cast<double>(steps * visits);
  }
  void step() {
    if (steps_ > 0) events_[(steps_ - 1) % 2].synchronize();
    events_[steps_ % 2].record(stream_);
    ++steps_;
    done_ += share_;
    if (total_ > 0) watch_.progress(std::min(done_, static_cast<double>(total_)), static_cast<double>(total_));
    watch_.poll();
  }

 private:
  const Stream& stream_;
  const Watch& watch_;
  const int64_t total_;
  Event events_[2];
  int64_t steps_ = 0;
  double share_ = 0, done_ = 0;
};

// Cosines and sines on the device for one length of context.
struct RotaryOnDevice {
  RotaryOnDevice(const Stream& stream, const LanguageModelConfig& config, int64_t context) {
    const lm::RotaryTable table = lm::rotary_table(config, context);
    cosine = DeviceBuffer<float>(stream, static_cast<int64_t>(table.cosine.size()));
    sine = DeviceBuffer<float>(stream, static_cast<int64_t>(table.sine.size()));
    cosine.upload(table.cosine.data(), cosine.size());
    sine.upload(table.sine.data(), sine.size());
    stream.synchronize();
  }
  DeviceBuffer<float> cosine, sine;
};

// Everything a batch has in device memory, laid out in one allocation.
struct BatchMemory {
  int32_t *tokens, *targets;
  std::vector<float*> inputs;      // of every block, when blocks share a state
  std::vector<BlockState> blocks;  // one, or one for every block
  float* last;                     // [rows, hidden]: the last block's output, then gradients
  HeadState head;
  BackwardState backward;
};

enum class Keep { nothing, inputs, everything };

BatchMemory place_batch(const BatchContext& b, Keep keep, Arena* arena) {
  const int32_t layers = b.shape.config.layers;
  const int64_t width = b.rows() * b.shape.hidden;
  const bool backward = keep != Keep::nothing;
  BatchMemory m{};
  m.tokens = static_cast<int32_t*>(arena->bytes(b.rows() * static_cast<int64_t>(sizeof(int32_t))));
  m.targets = static_cast<int32_t*>(arena->bytes(b.rows() * static_cast<int64_t>(sizeof(int32_t))));
  for (int32_t i = 0; i < (keep == Keep::everything ? layers : 1); ++i) {
    m.blocks.push_back(place_block(b, backward, arena));
  }
  for (int32_t i = 0; keep == Keep::inputs && i < layers; ++i) m.inputs.push_back(arena->floats(width));
  m.head = place_head(b, backward, arena);
  if (backward) {
    m.last = arena->floats(width);
    m.backward = place_backward(b, arena);
  }
  return m;
}

class CudaLanguageModel final : public LanguageModel {
 public:
  CudaLanguageModel(const LanguageModelConfig& config, const WeightProvider& provider)
      : shape_(config), provider_(provider), products_(stream_) {
    check(cudaGetDevice(&device_), "asking for the device");
  }

  Status losses(const int32_t* tokens, int64_t sequences, int32_t context, double* losses,
                const Control& control) override {
    return run(control, [&](const Watch& watch) {
      check_tokens(tokens, sequences * context, context, 2);
      prepare(watch, Form::any);
      Meter meter(stream_, watch, sequences);
      const RotaryOnDevice rotary(stream_, shape_.config, context);
      for_batches(rotary, sequences, context, Keep::nothing,
                  [&](const BatchContext& b, const BatchMemory& m, int64_t first) {
                    meter.begin(b.sequences, shape_.config.layers + 1, 1);
                    const float* x = forward(b, m, Keep::nothing, tokens + first * context, watch, &meter);
                    head_losses(b, weights_->head(watch), x, m.targets, m.head);
                    collect_losses(b, m.head.entropy, losses + first);
                    meter.step();
                  });
    });
  }

  Status logits(const int32_t* tokens, int32_t context, float* out, const Control& control) override {
    return run(control, [&](const Watch& watch) {
      check_tokens(tokens, context, context, 1);
      prepare(watch, Form::any);
      Meter meter(stream_, watch, 1);
      const RotaryOnDevice rotary(stream_, shape_.config, context);
      for_batches(rotary, 1, context, Keep::nothing, [&](const BatchContext& b, const BatchMemory& m, int64_t) {
        meter.begin(1, shape_.config.layers + 1, 1);
        const float* x = forward(b, m, Keep::nothing, tokens, watch, &meter);
        head_logits(b, weights_->head(watch), x, m.head, out);
        meter.step();
      });
    });
  }

  Status calibrate(const int32_t* tokens, int64_t sequences, int32_t context, const CalibrationSink& sink,
                   double* losses, const Control& control) override {
    return run(control, [&](const Watch& watch) {
      check_tokens(tokens, sequences * context, context, 2);
      std::vector<HostSums> wanted;
      bool gradients = false;
      for (int32_t layer = 0; layer < shape_.config.layers; ++layer) {
        wanted.push_back(HostSums::ask(sink, shape_, layer));
        gradients = gradients || wanted.back().any_gradient();
      }
      prepare(watch, gradients ? Form::expanded : Form::any);
      const RotaryOnDevice rotary(stream_, shape_.config, context);
      const std::vector<LayerRange> groups = group_layers(rotary, wanted, context);
      Meter meter(stream_, watch, sequences);
      for (const LayerRange& group : groups) {
        std::vector<DeviceSums> sums;
        int32_t lowest = shape_.config.layers;  // of the group's layers with a wanted gradient
        for (int32_t layer = group.first; layer < group.end; ++layer) {
          sums.push_back(DeviceSums(stream_, shape_, wanted[layer]));
          if (wanted[layer].any_gradient()) lowest = std::min(lowest, layer);
        }
        const Keep keep = everything_fits(rotary, sequences, context) ? Keep::everything : Keep::inputs;
        for_batches(rotary, sequences, context, keep, [&](const BatchContext& b, const BatchMemory& m, int64_t first) {
          const int64_t back = shape_.config.layers - lowest;
          meter.begin(b.sequences, shape_.config.layers + 1 + back, static_cast<int64_t>(groups.size()));
          calibrate_batch(b, m, keep, group, lowest, sums, tokens + first * context, losses + first, watch, &meter);
        });
        for (int32_t layer = group.first; layer < group.end; ++layer) {
          sums[layer - group.first].add_to(stream_, shape_, wanted[layer]);
          watch.poll();
        }
      }
    });
  }

  Status divergence(LanguageModel* other, const int32_t* tokens, int64_t sequences, int32_t context,
                    const Divergence& out, const Control& control) override {
    // The interface promises a model of this backend.
    auto* second = static_cast<CudaLanguageModel*>(other);
    return run(control, [&](const Watch& watch) {
      if (second->shape_.config.vocab != shape_.config.vocab) {
        fail(StatusCode::invalid_argument, "models with different vocabularies cannot be compared");
      }
      check_tokens(tokens, sequences * context, context, 2);
      try {
        compare(second, tokens, sequences, context, out, watch);
      } catch (const NeedsTwoPlanes&) {
        // Whichever it was: run() takes care of this one.
        second->weights_.reset();
        second->weight_planes_ = 2;
        throw;
      }
    });
  }

  Status open_layer_pass(const int32_t*, int64_t, int32_t, LayerPass**) override {
    return make_status(StatusCode::unsupported, -1, "the pass in layer order runs on the CPU only");
  }

  void destroy() override {
    // Errors of a device that is gone have nobody to go to.
    cudaSetDevice(device_);
    delete this;
  }

 private:
  struct LayerRange {
    int32_t first, end;
  };

  template <typename Work>
  Status run(const Control& control, Work&& work) {
    return guarded([&] {
      check(cudaSetDevice(device_), "selecting the device");
      const Watch watch(control);
      watch.poll();
      try {
        work(watch);
      } catch (const NeedsTwoPlanes&) {
        weights_.reset();
        weight_planes_ = 2;
        work(watch);
      }
    });
  }

  void compare(CudaLanguageModel* second, const int32_t* tokens, int64_t sequences, int32_t context,
               const Divergence& out, const Watch& watch) {
    CudaLanguageModel* models[] = {this, second};
    for (CudaLanguageModel* m : models) m->prepare(watch, Form::any);
    const RotaryOnDevice rotary(stream_, shape_.config, context);
    const RotaryOnDevice other_rotary(second->stream_, second->shape_.config, context);
    const RotaryOnDevice* rotaries[] = {&rotary, &other_rotary};
    const auto bytes_of = [&](int i, int64_t count) {
      Arena counting(nullptr);
      const BatchContext b = models[i]->context_of(*rotaries[i], count, context);
      place_batch(b, Keep::nothing, &counting);
      place_divergence(b, &counting);
      return counting.used();
    };
    int64_t most = full_batch(sequences, context);
    while (most > 1 && bytes_of(0, most) + bytes_of(1, most) > usable_bytes()) most = (most + 1) / 2;
    const int64_t batches = ceil_div(sequences, most), largest = ceil_div(sequences, batches);
    const DeviceBuffer<uint8_t> memory(stream_, bytes_of(0, largest));
    const DeviceBuffer<uint8_t> other_memory(second->stream_, bytes_of(1, largest));
    stream_.synchronize();
    second->stream_.synchronize();
    Meter meter(stream_, watch, sequences);
    Meter silent(second->stream_, watch, 0);
    for (int64_t i = 0; i < batches; ++i) {
      const int64_t first = sequences * i / batches, count = sequences * (i + 1) / batches - first;
      const int32_t* ids = tokens + first * context;
      meter.begin(count, shape_.config.layers + 1, 1);
      const BatchContext a = context_of(rotary, count, context);
      const BatchContext b = second->context_of(other_rotary, count, context);
      Arena arena(memory.get()), other_arena(other_memory.get());
      const BatchMemory of_a = place_batch(a, Keep::nothing, &arena);
      const BatchMemory of_b = place_batch(b, Keep::nothing, &other_arena);
      const RunningDivergence divergence = place_divergence(a, &arena);
      const float* x_b = second->forward(b, of_b, Keep::nothing, ids, watch, &silent);
      const float* x_a = forward(a, of_a, Keep::nothing, ids, watch, &meter);
      head_divergence({a, weights_->head(watch), x_a, of_a.head}, {b, second->weights_->head(watch), x_b, of_b.head},
                      of_a.targets, divergence);
      collect_divergence(a, divergence, first, out);
      meter.step();
    }
  }

  void collect_divergence(const BatchContext& b, const RunningDivergence& d, int64_t first,
                          const Divergence& out) const {
    collect_losses(b, d.first, out.losses + first);
    collect_losses(b, d.second, out.other_losses + first);
    const auto rows = static_cast<size_t>(b.rows());
    const auto fetch = [&](auto* to, const auto* from) {
      check(cudaMemcpyAsync(to->data(), from, rows * sizeof(*from), cudaMemcpyDeviceToHost, stream_.get()),
            "copying divergences from the device");
    };
    std::vector<float> top(rows), sum(rows), other_top(rows), other_sum(rows), weighted(rows);
    std::vector<int32_t> word(rows), other_word(rows);
    fetch(&top, d.first.top);
    fetch(&sum, d.first.sum);
    fetch(&other_top, d.second.top);
    fetch(&other_sum, d.second.sum);
    fetch(&weighted, d.weighted);
    fetch(&word, d.first_word);
    fetch(&other_word, d.second_word);
    stream_.synchronize();
    const auto lse = [](float at, float of) { return static_cast<double>(at) + std::log(static_cast<double>(of)); };
    for (int64_t row = 0; row < b.rows(); ++row) {
      if ((row + 1) % b.context == 0) continue;
      const int64_t at = (first + row / b.context) * (b.context - 1) + row % b.context;
      // No divergence is negative; rounding may be.
      const double kl =
          static_cast<double>(weighted[row]) / sum[row] - lse(top[row], sum[row]) + lse(other_top[row], other_sum[row]);
      out.kl[at] = static_cast<float>(std::max(kl, 0.0));
      out.same_top[at] = word[row] == other_word[row] ? 1 : 0;
    }
  }

  void check_tokens(const int32_t* tokens, int64_t count, int32_t context, int32_t least) const {
    if (context < least) fail(StatusCode::invalid_argument, "the context is too short");
    for (int64_t i = 0; i < count; ++i) {
      if (tokens[i] >= 0 && tokens[i] < shape_.config.vocab) continue;
      throw Failure{make_status(StatusCode::invalid_argument, i, "token %d at %lld is outside the vocabulary of %d",
                                tokens[i], static_cast<long long>(i), shape_.config.vocab)};
    }
  }

  enum class Form { any, expanded };

  // Brings the weights to the device, as far as they fit: packed as they are where any form will do, since products are
  // all that losses need of them. Gradients need them expanded.
  void prepare(const Watch& watch, Form form) {
    if (weights_ && (form == Form::any || !weights_->any_packed())) return;
    weights_.reset();
    auto loading = std::make_unique<Weights>(stream_, shape_, provider_, weight_planes_,
                                             form == Form::any ? activation_planes() : 0);
    loading->embedding(watch);
    loading->head(watch);
    for (int32_t layer = 0; layer < shape_.config.layers; ++layer) {
      loading->block(layer, watch);
      if (!loading->kept(layer)) break;
    }
    if (loading->kept(shape_.config.layers - 1)) loading->release_staging();
    stream_.synchronize();
    weights_ = std::move(loading);
  }

  int activation_planes() const { return weight_planes_ == 2 || shape_.block_parameters() <= kSmallModel ? 2 : 1; }

  BatchContext context_of(const RotaryOnDevice& rotary, int64_t sequences, int64_t context) const {
    return {stream_,
            products_,
            shape_,
            activation_planes(),
            sequences,
            context,
            rotary.cosine.get(),
            rotary.sine.get(),
            weights_->workspace()};
  }

  int64_t batch_bytes(const RotaryOnDevice& rotary, int64_t sequences, int64_t context, Keep keep) const {
    Arena counting(nullptr);
    place_batch(context_of(rotary, sequences, context), keep, &counting);
    return counting.used();
  }

  static int64_t usable_bytes() {
    return static_cast<int64_t>(kUsableMemory * static_cast<double>(available_device_bytes()));
  }
  static int64_t full_batch(int64_t sequences, int64_t context) {
    return std::clamp<int64_t>(kMostRows / context, 1, sequences);
  }

  bool everything_fits(const RotaryOnDevice& rotary, int64_t sequences, int64_t context) const {
    return batch_bytes(rotary, full_batch(sequences, context), context, Keep::everything) <= usable_bytes();
  }

  // Calls work(batch, memory, first) for batches of nearly equal size that fit in memory.
  void for_batches(const RotaryOnDevice& rotary, int64_t sequences, int64_t context, Keep keep,
                   const std::function<void(const BatchContext&, const BatchMemory&, int64_t)>& work) {
    int64_t most = full_batch(sequences, context);
    while (most > 1 && batch_bytes(rotary, most, context, keep) > usable_bytes()) most = (most + 1) / 2;
    const int64_t batches = ceil_div(sequences, most);
    const DeviceBuffer<uint8_t> memory(stream_, batch_bytes(rotary, ceil_div(sequences, batches), context, keep));
    for (int64_t i = 0; i < batches; ++i) {
      const int64_t first = sequences * i / batches, end = sequences * (i + 1) / batches;
      const BatchContext batch = context_of(rotary, end - first, context);
      Arena arena(memory.get());
      work(batch, place_batch(batch, keep, &arena), first);
    }
    stream_.synchronize();
  }

  using Visit = std::function<void(int32_t layer, const BlockState& state)>;

  // Runs the blocks, calling `visit` after each; returns the last one's output.
  const float* forward(const BatchContext& b, const BatchMemory& m, Keep keep, const int32_t* tokens,
                       const Watch& watch, Meter* meter, const Visit& visit = {}) {
    std::vector<int32_t> targets(static_cast<size_t>(b.rows()));
    for (int64_t row = 0; row < b.rows(); ++row) targets[row] = (row + 1) % b.context == 0 ? -1 : tokens[row + 1];
    upload(m.tokens, tokens, b.rows());
    upload(m.targets, targets.data(), b.rows());
    stream_.synchronize();  // the vector goes before the copy would
    embed(stream_, weights_->embedding(watch), m.tokens, b.rows(), shape_.hidden, state_of(m, keep, 0).x);
    const int32_t layers = shape_.config.layers;
    for (int32_t layer = 0; layer < layers; ++layer) {
      float* out = keep == Keep::nothing ? m.blocks[0].x : layer + 1 < layers ? state_of(m, keep, layer + 1).x : m.last;
      forward_block(b, weights_->block(layer, watch), state_of(m, keep, layer), out);
      if (visit) visit(layer, state_of(m, keep, layer));
      meter->step();
    }
    return keep == Keep::nothing ? m.blocks[0].x : m.last;
  }

  static BlockState state_of(const BatchMemory& m, Keep keep, int32_t layer) {
    if (keep == Keep::everything) return m.blocks[layer];
    BlockState state = m.blocks[0];
    if (keep == Keep::inputs) state.x = m.inputs[layer];
    return state;
  }

  void upload(int32_t* to, const int32_t* from, int64_t count) const {
    check(
        cudaMemcpyAsync(to, from, static_cast<size_t>(count) * sizeof(int32_t), cudaMemcpyHostToDevice, stream_.get()),
        "copying tokens to the device");
  }

  void collect_losses(const BatchContext& b, const CrossEntropy& entropy, double* losses) const {
    const auto rows = static_cast<size_t>(b.rows());
    std::vector<float> top(rows), sum(rows), target(rows);
    const auto fetch = [&](std::vector<float>* to, const float* from) {
      check(cudaMemcpyAsync(to->data(), from, rows * sizeof(float), cudaMemcpyDeviceToHost, stream_.get()),
            "copying losses from the device");
    };
    fetch(&top, entropy.top);
    fetch(&sum, entropy.sum);
    fetch(&target, entropy.target);
    stream_.synchronize();
    for (int64_t s = 0; s < b.sequences; ++s) {
      double total = 0;
      for (int64_t row = s * b.context; row + 1 < (s + 1) * b.context; ++row) {
        total += static_cast<double>(top[row]) + std::log(static_cast<double>(sum[row])) - target[row];
      }
      losses[s] = total / static_cast<double>(b.context - 1);
    }
  }

  // Ranges of layers with a wanted sum whose sums fit on the device together, beside a batch. Each range is
  // a pass over the sequences of its own.
  std::vector<LayerRange> group_layers(const RotaryOnDevice& rotary, const std::vector<HostSums>& wanted,
                                       int64_t context) const {
    const int64_t budget = usable_bytes() - batch_bytes(rotary, 1, context, Keep::inputs);
    std::vector<LayerRange> groups;
    int64_t used = 0;
    for (int32_t layer = 0; layer < shape_.config.layers; ++layer) {
      const int64_t bytes = wanted[layer].bytes(shape_);
      if (bytes == 0) {
        if (!groups.empty()) groups.back().end = layer + 1;
        continue;
      }
      if (groups.empty() || used + bytes > budget) {
        groups.push_back({layer, layer});
        used = 0;
      }
      groups.back().end = layer + 1;
      used += bytes;
    }
    // Losses are wanted even when no sum is.
    if (groups.empty()) groups.push_back({shape_.config.layers, shape_.config.layers});
    return groups;
  }

  void calibrate_batch(const BatchContext& b, const BatchMemory& m, Keep keep, const LayerRange& group, int32_t lowest,
                       const std::vector<DeviceSums>& sums, const int32_t* tokens, double* losses, const Watch& watch,
                       Meter* meter) {
    const auto visit = [&](int32_t layer, const BlockState& state) {
      if (layer >= group.first && layer < group.end) sums[layer - group.first].add_moments(b, state);
    };
    forward(b, m, keep, tokens, watch, meter, visit);
    const TableWeights& head = weights_->head(watch);
    head_losses(b, head, m.last, m.targets, m.head);
    collect_losses(b, m.head.entropy, losses);
    if (lowest < shape_.config.layers) head_backward(b, head, m.last, m.targets, m.head, m.last, m.backward.dy);
    meter->step();
    for (int32_t layer = shape_.config.layers - 1; layer >= lowest; --layer) {
      const BlockWeights& weights = weights_->block(layer, watch);
      const BlockState state = state_of(m, keep, layer);
      if (keep == Keep::inputs) forward_block(b, weights, state, nullptr);
      const Accumulators into = layer < group.end ? sums[layer - group.first].squares() : Accumulators{};
      backward_block(b, weights, state, m.backward, m.last, into);
      meter->step();
    }
  }

  int device_ = 0;
  const Shape shape_;
  const WeightProvider provider_;
  Stream stream_;
  Products products_;
  int weight_planes_ = 1;
  std::unique_ptr<Weights> weights_;  // kept from run to run
};

}  // namespace

LanguageModel* create_language_model(const LanguageModelConfig& config, const WeightProvider& provider) {
  return new CudaLanguageModel(config, provider);
}

}  // namespace lq::cuda
