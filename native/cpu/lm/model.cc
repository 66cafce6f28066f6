#include "lm/model.h"

#include <cstdio>
#include <new>
#include <stdexcept>

#include "lm/batch.h"
#include "lm/head.h"
#include "lm/kernels.h"
#include "lm/layer.h"

namespace lq::lm {
namespace {

constexpr int64_t kMostRows = 8192;  // tokens a batch: beyond, weights are amortised long since

// The tensors of a block in the order they lie in the arena.
struct LayerTensor {
  WeightKind kind;
  const float* LayerWeights::*field;
};
constexpr LayerTensor kLayerTensors[] = {
    {WeightKind::input_norm, &LayerWeights::input_norm},
    {WeightKind::q, &LayerWeights::q},
    {WeightKind::k, &LayerWeights::k},
    {WeightKind::v, &LayerWeights::v},
    {WeightKind::q_bias, &LayerWeights::q_bias},
    {WeightKind::k_bias, &LayerWeights::k_bias},
    {WeightKind::v_bias, &LayerWeights::v_bias},
    {WeightKind::q_norm, &LayerWeights::q_norm},
    {WeightKind::k_norm, &LayerWeights::k_norm},
    {WeightKind::o, &LayerWeights::o},
    {WeightKind::o_bias, &LayerWeights::o_bias},
    {WeightKind::post_attention_norm, &LayerWeights::post_attention_norm},
    {WeightKind::gate, &LayerWeights::gate},
    {WeightKind::up, &LayerWeights::up},
    {WeightKind::gate_bias, &LayerWeights::gate_bias},
    {WeightKind::up_bias, &LayerWeights::up_bias},
    {WeightKind::down, &LayerWeights::down},
    {WeightKind::down_bias, &LayerWeights::down_bias},
};

// Elements of a block's tensor; 0 when this architecture has none.
int64_t tensor_size(const LanguageModelConfig& c, WeightKind kind) {
  const int64_t q = static_cast<int64_t>(c.heads) * c.head_dim, kv = static_cast<int64_t>(c.kv_heads) * c.head_dim;
  switch (kind) {
    case WeightKind::input_norm:
    case WeightKind::post_attention_norm:
      return c.hidden;
    case WeightKind::q_bias:
      return c.attention_bias ? q : 0;
    case WeightKind::k_bias:
    case WeightKind::v_bias:
      return c.attention_bias ? kv : 0;
    case WeightKind::o_bias:
      return c.output_bias ? c.hidden : 0;
    case WeightKind::q_norm:
    case WeightKind::k_norm:
      return c.qk_norm ? c.head_dim : 0;
    case WeightKind::gate_bias:
    case WeightKind::up_bias:
      return c.mlp_bias ? c.intermediate : 0;
    case WeightKind::down_bias:
      return c.mlp_bias ? c.hidden : 0;
    default: {
      const MatrixShape shape = matrix_shape(c, kind);
      return shape.rows * shape.cols;
    }
  }
}

// Tells the caller about sequences finished, a fraction of a batch for every layer.
class Meter {
 public:
  Meter(const Control& control, int64_t total) : control_(control), total_(total) {}
  void begin(int64_t sequences, int64_t steps) { batch_ = static_cast<double>(sequences) / static_cast<double>(steps); }
  void step() {
    done_ += batch_;
    if (control_.progress != nullptr) {
      control_.progress(control_.user, std::min(done_, static_cast<double>(total_)), static_cast<double>(total_));
    }
  }

 private:
  const Control& control_;
  const int64_t total_;
  double batch_ = 0, done_ = 0;
};

class CpuLanguageModel final : public LanguageModel {
 public:
  CpuLanguageModel(const LanguageModelConfig& config, const WeightProvider& provider, const Memory& memory)
      : config_(config), provider_(provider), memory_(memory) {}

  Status losses(const int32_t* tokens, int64_t sequences, int32_t context, double* losses,
                const Control& control) override {
    return guarded([&] {
      check_tokens(tokens, sequences * context, context, 2);
      Batch batch(config_, control, context);
      Meter meter(control, sequences);
      const int64_t row_floats = config_.hidden + state_floats(config_, false);
      Buffer states;
      for_batches(sequences, context, row_floats, memory_.losses, [&](int64_t first, int64_t count) {
        batch.sequences = count;
        meter.begin(count, config_.layers + 1);
        const int32_t* ids = tokens + first * context;
        forward(batch, ids, &states, &meter);
        head_losses(batch, load_head(batch), states.data(), ids, losses + first);
        meter.step();
      });
    });
  }

  Status logits(const int32_t* tokens, int32_t context, float* out, const Control& control) override {
    return guarded([&] {
      check_tokens(tokens, context, context, 1);
      Batch batch(config_, control, context);
      batch.sequences = 1;
      Meter meter(control, 1);
      meter.begin(1, config_.layers + 1);
      Buffer states;
      forward(batch, tokens, &states, &meter);
      head_logits(batch, load_head(batch), states.data(), out);
      meter.step();
    });
  }

  Status fisher(const int32_t* tokens, int64_t sequences, int32_t context, const FisherSink& sink, double* losses,
                const Control& control) override {
    return guarded([&] {
      check_tokens(tokens, sequences * context, context, 2);
      Batch batch(config_, control, context);
      Meter meter(control, sequences);
      // Every block's activations are kept when a sequence's fit; else only the blocks' inputs are, and the rest is
      // computed again on the way back, a third more work.
      const int64_t state = state_floats(config_, true);
      const int64_t shared = BackwardScratch::floats(config_) + 2 * int64_t{config_.hidden};
      const int64_t kept = state * config_.layers + shared;
      const bool keep = kept * context * static_cast<int64_t>(sizeof(float)) <= memory_.gradients;
      const int64_t row_floats = keep ? kept : int64_t{config_.hidden} * config_.layers + state + shared;
      GradientBuffers buffers;
      for_batches(sequences, context, row_floats, memory_.gradients, [&](int64_t first, int64_t count) {
        batch.sequences = count;
        meter.begin(count, 2 * config_.layers + 1);
        fisher_batch(batch, tokens + first * context, keep, sink, losses + first, &buffers, &meter);
      });
    });
  }

  void destroy() override { delete this; }

 private:
  // What fisher holds from batch to batch.
  struct GradientBuffers {
    Buffer inputs, states, gradients;
  };

  template <typename Work>
  Status guarded(const Work& work) {
    Status status{StatusCode::ok, -1, {}};
    try {
      work();
    } catch (const Failure& failure) {
      status = failure.status;
    } catch (const std::bad_alloc&) {
      status.code = StatusCode::out_of_memory;
      std::snprintf(status.message, sizeof status.message, "not enough memory for the language model's activations");
    } catch (const std::exception& error) {
      status.code = StatusCode::internal;
      std::snprintf(status.message, sizeof status.message, "%s", error.what());
    }
    arena_ = Buffer();
    return status;
  }

  void check_tokens(const int32_t* tokens, int64_t count, int32_t context, int32_t least) const {
    if (context < least) fail(StatusCode::invalid_argument, "the context is too short");
    for (int64_t i = 0; i < count; ++i) {
      if (tokens[i] >= 0 && tokens[i] < config_.vocab) continue;
      Failure failure{{StatusCode::invalid_argument, i, {}}};
      std::snprintf(failure.status.message, sizeof failure.status.message,
                    "token %d at %lld is outside the vocabulary of %d", tokens[i], static_cast<long long>(i),
                    config_.vocab);
      throw failure;
    }
  }

  // Calls fn(first, count) for batches whose activations stay within `bytes`.
  static void for_batches(int64_t sequences, int64_t context, int64_t row_floats, int64_t bytes,
                          cpu::FunctionRef<void(int64_t, int64_t)> fn) {
    const int64_t rows = std::min(bytes / (row_floats * static_cast<int64_t>(sizeof(float))), kMostRows);
    const int64_t most = std::max<int64_t>(rows / context, 1);
    // Batches of equal size: a short last one would use the cores less well.
    const int64_t batches = (sequences + most - 1) / most;
    for (int64_t b = 0; b < batches; ++b) {
      const int64_t first = sequences * b / batches;
      fn(first, sequences * (b + 1) / batches - first);
    }
  }

  void load(int32_t layer, WeightKind kind, int64_t count, float* out) {
    const Status status = provider_.load(provider_.user, layer, kind, out, count);
    if (status.code != StatusCode::ok) throw Failure{status};
  }

  LayerWeights load_layer(const Batch& batch, int32_t layer) {
    int64_t total = 0;
    for (const LayerTensor& t : kLayerTensors) total += tensor_size(config_, t.kind);
    arena_.reserve(total);
    LayerWeights weights{};
    float* at = arena_.data();
    for (const LayerTensor& t : kLayerTensors) {
      const int64_t count = tensor_size(config_, t.kind);
      if (count == 0) continue;
      batch.check();
      load(layer, t.kind, count, at);
      weights.*t.field = at;
      at += count;
    }
    return weights;
  }

  HeadWeights load_head(const Batch& batch) {
    const int64_t count = int64_t{config_.vocab} * config_.hidden;
    arena_.reserve(config_.hidden + count);
    batch.check();
    load(-1, WeightKind::final_norm, config_.hidden, arena_.data());
    float* weight = arena_.data() + config_.hidden;
    load(-1, config_.tied_embeddings ? WeightKind::embedding : WeightKind::head, count, weight);
    return {arena_.data(), weight};
  }

  // x [rows, hidden] = the embeddings of tokens.
  void embed(const Batch& batch, const int32_t* tokens, float* x) {
    const int64_t hidden = config_.hidden, count = config_.vocab * hidden;
    arena_.reserve(count);
    batch.check();
    load(-1, WeightKind::embedding, count, arena_.data());
    for (int64_t i = 0; i < batch.rows(); ++i) std::copy_n(arena_.data() + tokens[i] * hidden, hidden, x + i * hidden);
  }

  // Leaves the last block's output in the first rows * hidden floats of `states`.
  void forward(const Batch& batch, const int32_t* tokens, Buffer* states, Meter* meter) {
    states->reserve(state_floats(config_, false) * batch.rows());
    const LayerState state = place_state(batch, false, states->data());
    embed(batch, tokens, state.x);
    for (int32_t layer = 0; layer < config_.layers; ++layer) {
      forward_layer(batch, load_layer(batch, layer), state, state.x);
      meter->step();
    }
  }

  void fisher_batch(const Batch& batch, const int32_t* tokens, bool keep, const FisherSink& sink, double* losses,
                    GradientBuffers* buffers, Meter* meter) {
    const int64_t width = batch.rows() * config_.hidden;
    const int64_t state_size = state_floats(config_, true) * batch.rows();
    buffers->inputs.reserve(keep ? 0 : width * config_.layers);
    buffers->states.reserve(keep ? state_size * config_.layers : state_size);
    buffers->gradients.reserve(2 * width);
    float* dy = buffers->gradients.data();
    float* dx = dy + width;
    const auto state_of = [&](int32_t layer) {
      LayerState state = place_state(batch, true, buffers->states.data() + (keep ? layer * state_size : 0));
      if (!keep) state.x = buffers->inputs.data() + layer * width;
      return state;
    };
    embed(batch, tokens, state_of(0).x);
    for (int32_t layer = 0; layer < config_.layers; ++layer) {
      float* out = layer + 1 < config_.layers ? state_of(layer + 1).x : dx;
      forward_layer(batch, load_layer(batch, layer), state_of(layer), out);
      meter->step();
    }
    head_backward(batch, load_head(batch), dx, tokens, losses, dy);
    meter->step();
    const BackwardScratch shared(batch);
    for (int32_t layer = config_.layers - 1; layer >= 0; --layer) {
      const LayerWeights weights = load_layer(batch, layer);
      const LayerState state = state_of(layer);
      if (!keep) forward_layer(batch, weights, state, dx);
      LayerAccumulators accumulators;
      for (size_t i = 0; i < kMatrices.size(); ++i) {
        const MatrixShape shape = matrix_shape(config_, kMatrices[i]);
        accumulators[i] = sink.accumulator(sink.user, layer, kMatrices[i], shape.rows, shape.cols);
      }
      backward_layer(batch, weights, state, shared, dy, dx, accumulators);
      std::swap(dy, dx);
      meter->step();
    }
  }

  const LanguageModelConfig config_;
  const WeightProvider provider_;
  const Memory memory_;
  Buffer arena_;  // weights at work, while a run is under way
};

bool plausible(const LanguageModelConfig& c) {
  return c.layers > 0 && c.hidden > 0 && c.heads > 0 && c.kv_heads > 0 && c.heads % c.kv_heads == 0 && c.head_dim > 0 &&
         c.head_dim % 2 == 0 && c.intermediate > 0 && c.vocab > 0 && c.max_positions > 0 && c.rope_theta > 0;
}

}  // namespace

Status create_language_model(const LanguageModelConfig& config, const WeightProvider& provider, LanguageModel** out,
                             const Memory& memory) {
  Status status{StatusCode::ok, -1, {}};
  if (!plausible(config)) {
    status.code = StatusCode::invalid_argument;
    std::snprintf(status.message, sizeof status.message, "impossible dimensions of a language model");
    return status;
  }
  *out = new (std::nothrow) CpuLanguageModel(config, provider, memory);
  if (*out == nullptr) status.code = StatusCode::out_of_memory;
  return status;
}

}  // namespace lq::lm
