#include "lm/model.h"

#include <cstdio>
#include <new>
#include <stdexcept>

#include "lm/batch.h"
#include "lm/head.h"
#include "lm/kernels.h"
#include "lm/layer.h"
#include "lm/layer_pass.h"
#include "lm/run.h"
#include "lm/sums.h"
#include "lm/weights.h"

namespace lq::lm {
namespace {

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
      : config_(config), provider_(provider), memory_(memory), weights_(config, provider) {}

  Status losses(const int32_t* tokens, int64_t sequences, int32_t context, double* losses,
                const Control& control) override {
    return run([&] {
      check_tokens(config_, tokens, sequences * context, context, config_.masked ? 1 : 2);
      Batch batch(config_, control, context);
      Meter meter(control, sequences);
      const int64_t row_floats = config_.hidden + state_floats(config_, false) + routed_floats(config_);
      Buffer states;
      for_batches(sequences, context, row_floats, memory_.losses, [&](int64_t first, int64_t count) {
        batch.sequences = count;
        meter.begin(count, config_.layers + 1);
        const int32_t* ids = tokens + first * context;
        forward(batch, ids, &states, &meter);
        head_losses(batch, weights_.head(batch), states.data(), ids, losses + first);
        meter.step();
      });
    });
  }

  Status logits(const int32_t* tokens, int32_t context, float* out, const Control& control) override {
    return run([&] {
      check_tokens(config_, tokens, context, context, 1);
      Batch batch(config_, control, context);
      batch.sequences = 1;
      Meter meter(control, 1);
      meter.begin(1, config_.layers + 1);
      Buffer states;
      forward(batch, tokens, &states, &meter);
      head_logits(batch, weights_.head(batch), states.data(), out);
      meter.step();
    });
  }

  Status calibrate(const int32_t* tokens, int64_t sequences, int32_t context, const CalibrationSink& sink,
                   double* losses, const Control& control) override {
    return run([&] {
      check_tokens(config_, tokens, sequences * context, context, config_.masked ? 1 : 2);
      std::vector<LayerSums> sums;
      int32_t lowest = config_.layers;  // with a wanted gradient
      for (int32_t layer = 0; layer < config_.layers; ++layer) {
        sums.push_back(ask(sink, config_, layer));
        if (sums.back().any_gradient()) lowest = std::min(lowest, layer);
      }
      Batch batch(config_, control, context);
      Meter meter(control, sequences);
      const int64_t row_bytes = context * static_cast<int64_t>(sizeof(float));
      if (lowest == config_.layers) {
        const int64_t inputs = LayerInputBuffers::floats(config_) + routed_floats(config_);
        Buffer states;
        for_batches(sequences, context, config_.hidden + state_floats(config_, false) + inputs, memory_.losses,
                    [&](int64_t first, int64_t count) {
                      batch.sequences = count;
                      meter.begin(count, config_.layers + 1);
                      const LayerInputBuffers buffers(batch);
                      const int32_t* ids = tokens + first * context;
                      forward(batch, ids, &states, &meter, buffers.inputs, &sums);
                      head_losses(batch, weights_.head(batch), states.data(), ids, losses + first);
                      meter.step();
                    });
        return;
      }
      // Every block's activations are kept when a sequence's fit; else only the blocks' inputs are, and the rest is
      // computed again on the way back, a third more work.
      const int64_t state = state_floats(config_, true);
      const int64_t shared = BackwardScratch::floats(config_) + 2 * int64_t{config_.hidden} + routed_floats(config_);
      const int64_t kept = state * config_.layers + shared;
      const bool keep = kept * row_bytes <= memory_.gradients;
      const int64_t row_floats = keep ? kept : int64_t{config_.hidden} * config_.layers + state + shared;
      GradientBuffers buffers;
      for_batches(sequences, context, row_floats, memory_.gradients, [&](int64_t first, int64_t count) {
        batch.sequences = count;
        meter.begin(count, 2 * config_.layers - lowest + 1);
        calibrate_batch(batch, tokens + first * context, keep, sums, lowest, losses + first, &buffers, &meter);
      });
    });
  }

  Status divergence(LanguageModel* other, const int32_t* tokens, int64_t sequences, int32_t context,
                    const Divergence& out, const Control& control) override {
    // The interface promises a model of this backend.
    auto* second = static_cast<CpuLanguageModel*>(other);
    const Status status = run([&] {
      if (second->config_.vocab != config_.vocab) {
        fail(StatusCode::invalid_argument, "models with different vocabularies cannot be compared");
      }
      check_tokens(config_, tokens, sequences * context, context, config_.masked ? 1 : 2);
      if (second->config_.masked != config_.masked) {
        fail(StatusCode::invalid_argument,
             "a model that predicts masked tokens cannot be compared with one that does not");
      }
      const int64_t each = predictions(config_, tokens, sequences, context);
      CpuLanguageModel* models[] = {this, second};
      Batch batches[] = {Batch(config_, control, context), Batch(second->config_, control, context)};
      Meter meter(control, sequences);
      Buffer states[2];
      int64_t row_floats = 0;
      for (const CpuLanguageModel* m : models) {
        row_floats += m->config_.hidden + state_floats(m->config_, false) + routed_floats(m->config_);
      }
      for_batches(sequences, context, row_floats, memory_.losses, [&](int64_t first, int64_t count) {
        meter.begin(count, config_.layers + second->config_.layers + 1);
        const int32_t* ids = tokens + first * context;
        for (int i = 0; i < 2; ++i) {
          batches[i].sequences = count;
          models[i]->forward(batches[i], ids, &states[i], &meter);
        }
        const HeadWeights heads[] = {weights_.head(batches[0]), second->weights_.head(batches[1])};
        const int64_t at = first * each;
        head_divergence({batches[0], heads[0], states[0].data()}, {batches[1], heads[1], states[1].data()}, ids,
                        {out.losses + first, out.other_losses + first, out.kl + at, out.same_top + at});
        meter.step();
      });
    });
    second->weights_.release();
    return status;
  }

  Status open_layer_pass(const int32_t* tokens, int64_t sequences, int32_t context, LayerPass** out) override {
    return run([&] {
      check_tokens(config_, tokens, sequences * context, context, 1);
      *out = create_layer_pass(config_, provider_, {tokens, tokens + sequences * context}, context, memory_);
    });
  }

  void destroy() override { delete this; }

 private:
  // What calibration holds from batch to batch.
  struct GradientBuffers {
    Buffer inputs, states, gradients;
  };

  // Weights are held while a run is under way.
  template <typename Work>
  Status run(const Work& work) {
    const Status status = guarded(work);
    weights_.release();
    return status;
  }

  // Leaves the last block's output in the first rows * hidden floats of `states`, and adds to the second moments of
  // inputs that `sums` wants.
  void forward(const Batch& batch, const int32_t* tokens, Buffer* states, Meter* meter, const LayerInputs& inputs = {},
               const std::vector<LayerSums>* sums = nullptr) {
    states->reserve(state_floats(config_, false) * batch.rows());
    const LayerState state = place_state(batch, false, states->data());
    weights_.embed(batch, tokens, batch.rows(), state.x);
    for (int32_t layer = 0; layer < config_.layers; ++layer) {
      LayerInputs layer_inputs = inputs;
      if (sums != nullptr) layer_inputs.experts = experts_of((*sums)[layer]);
      forward_layer(batch, weights_.layer(batch, layer), state, state.x, layer_inputs);
      if (sums != nullptr) add_moments(batch, layer, state, inputs, (*sums)[layer]);
      meter->step();
    }
  }

  static const ExpertSums* experts_of(const LayerSums& sums) {
    return sums.experts.empty() ? nullptr : sums.experts.data();
  }

  static void add_moments(const Batch& batch, int32_t layer, const LayerState& state, const LayerInputs& inputs,
                          const LayerSums& sums) {
    if (!sums.any_moment()) return;
    accumulate_input_moments(batch, layer, {inputs.attention, state.attended, inputs.mlp, inputs.down}, sums);
  }

  void calibrate_batch(const Batch& batch, const int32_t* tokens, bool keep, const std::vector<LayerSums>& sums,
                       int32_t lowest, double* losses, GradientBuffers* buffers, Meter* meter) {
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
    const BackwardScratch shared(batch);
    weights_.embed(batch, tokens, batch.rows(), state_of(0).x);
    for (int32_t layer = 0; layer < config_.layers; ++layer) {
      float* out = layer + 1 < config_.layers ? state_of(layer + 1).x : dx;
      LayerInputs inputs = sums[layer].any_moment() ? shared.inputs() : LayerInputs{};
      inputs.experts = experts_of(sums[layer]);
      forward_layer(batch, weights_.layer(batch, layer), state_of(layer), out, inputs);
      add_moments(batch, layer, state_of(layer), inputs, sums[layer]);
      meter->step();
    }
    head_backward(batch, weights_.head(batch), dx, tokens, losses, dy);
    meter->step();
    for (int32_t layer = config_.layers - 1; layer >= lowest; --layer) {
      const LayerWeights weights = weights_.layer(batch, layer);
      const LayerState state = state_of(layer);
      if (!keep) forward_layer(batch, weights, state, dx);
      backward_layer(batch, weights, state, shared, dy, dx, sums[layer]);
      std::swap(dy, dx);
      meter->step();
    }
  }

  const LanguageModelConfig config_;
  const WeightProvider provider_;
  const Memory memory_;
  Weights weights_;
};

bool plausible_router(const MoeConfig& m) {
  const bool groups = m.groups <= 1 || (m.experts % m.groups == 0 && m.top_groups > 0 && m.top_groups <= m.groups &&
                                        m.experts / m.groups * m.top_groups >= m.top_k);
  return m.experts > 0 && m.top_k > 0 && m.top_k <= m.experts && m.intermediate > 0 && groups &&
         (!m.scale_input || (m.score == RouterScore::sigmoid && !m.renormalise));
}

bool plausible_layers(const LanguageModelConfig& c) {
  for (int32_t i = 0; i < c.layers; ++i) {
    const LayerTraits t = traits_of(c, i);
    if (t.width < 0 || t.width > c.intermediate || (t.width == 0 && !t.routed)) return false;
    if (t.routed && (!plausible_router(c.moe) || c.mlp.plain || c.attention.parallel || c.norms.of_sum)) return false;
  }
  return true;
}

bool plausible(const LanguageModelConfig& c) {
  const bool sizes = c.layers > 0 && c.hidden > 0 && c.heads > 0 && c.kv_heads > 0 && c.heads % c.kv_heads == 0 &&
                     c.head_dim > 0 && c.intermediate >= 0 && c.vocab > 0 && c.max_positions > 0 && c.rope_theta > 0;
  const int32_t rotated = c.rotary.dim > 0 ? c.rotary.dim : c.head_dim;
  bool turns = c.traits == nullptr;
  for (int32_t i = 0; c.traits != nullptr && i < c.layers; ++i) turns |= c.traits[i].rotary != LayerRotary::none;
  const bool rotary = !turns || (rotated % 2 == 0 && rotated <= c.head_dim);
  const bool longrope =
      c.rope_type != RopeType::longrope || (c.rotary.short_factors != nullptr && c.rotary.long_factors != nullptr);
  // One norm takes the place of the other, and a sum that is normalised has no other scale.
  const bool norms = !c.norms.of_sum || (!c.norms.after && !c.attention.parallel && c.residual_scale == 0);
  const bool growth = c.attention.growth.rate == 0 || c.attention.growth.length > 0;
  const EmbeddingParts& e = c.embedding;
  const bool positions = e.positions == 0 || (e.position_offset >= (e.padding >= 0 ? 1 : 0));
  const bool mask = !c.masked || (c.mask_token >= 0 && c.mask_token < c.vocab);
  return sizes && plausible_layers(c) && rotary && longrope && growth && norms && positions && mask && e.width >= 0;
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
  if (config.precision == Precision::bf16 && cpu::bf16::available() == cpu::bf16::Instructions::none) {
    status.code = StatusCode::unsupported;
    std::snprintf(status.message, sizeof status.message,
                  "this processor has no instructions for products in bf16 (AVX512-BF16 or AMX)");
    return status;
  }
  *out = new (std::nothrow) CpuLanguageModel(config, provider, memory);
  if (*out == nullptr) status.code = StatusCode::out_of_memory;
  return status;
}

}  // namespace lq::lm
