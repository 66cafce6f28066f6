#include "lm/language_model.h"

#include "lm/calibration.h"
#include "lm/comparison.h"
#include "lm/hidden_states.h"
#include "lm/layer_pass.h"

namespace lq::cuda {
namespace {

// Losses of a model whose blocks do not all stay on the device: all sequences go through one block after another, so
// that each is brought once.
void losses_by_block(Model* model, const RotaryOnDevice& rotary, const int32_t* tokens, int64_t sequences,
                     int32_t context, double* losses, const Watch& watch, Meter* meter) {
  const LanguageModelConfig& c = model->shape.config;
  const int64_t rows = sequences * context, hidden = model->shape.hidden;
  HiddenStates states(model->stream(), rows, hidden, HiddenStates::fit(rows, hidden, Model::usable_bytes()));
  // Calls work(batch, memory, state, first) with the state's x at hand, and keeps what it leaves there.
  const auto for_states = [&](const auto& work) {
    model->for_batches(rotary, sequences, context, Keep::nothing,
                       [&](const BatchContext& b, const BatchMemory& m, int64_t first) {
                         meter->begin(b.sequences, c.layers + 1, 1);
                         BlockState s = m.blocks[0];
                         s.x = states.bring(first * context, b.rows(), s.x);
                         if (!c.attention.parallel) s.middle = s.x;
                         work(b, m, s, first);
                       });
  };
  const EmbeddingWeights& embedding = model->weights().embedding(watch);
  for_states([&](const BatchContext& b, const BatchMemory& m, const BlockState& s, int64_t first) {
    model->embed_tokens(embedding, tokens + first * context, b.rows(), context, m.tokens, m.positions, s.x);
    states.keep(first * context, b.rows(), s.x);
  });
  for (int32_t layer = 0; layer < c.layers; ++layer) {
    const BlockWeights& weights = model->weights().block(layer, watch);
    for_states([&](const BatchContext& b, const BatchMemory&, const BlockState& s, int64_t first) {
      forward_block(b, weights, s, s.x);
      states.keep(first * context, b.rows(), s.x);
      meter->step();
    });
  }
  const TableWeights& head = model->weights().head(watch);
  for_states([&](const BatchContext& b, const BatchMemory& m, const BlockState& s, int64_t first) {
    model->upload_targets(b, m, tokens + first * context);
    head_losses(b, head, s.x, m.targets, m.head);
    model->collect_losses(b, Predictions(c, tokens + first * context, b.sequences, context), m.head.entropy,
                          losses + first);
    meter->step();
  });
}

class CudaLanguageModel final : public LanguageModel {
 public:
  CudaLanguageModel(const LanguageModelConfig& config, const WeightProvider& provider)
      : provider_(provider), model_(config, provider) {}

  Status losses(const int32_t* tokens, int64_t sequences, int32_t context, double* losses,
                const Control& control) override {
    return model_.run(control, [&](const Watch& watch) {
      model_.check_tokens(tokens, sequences * context, context, model_.shape.config.masked ? 1 : 2);
      model_.prepare(watch);
      Meter meter(model_.stream(), watch, sequences);
      const RotaryOnDevice rotary(model_.stream(), model_.shape.config, context);
      if (model_.brings_blocks()) {
        return losses_by_block(&model_, rotary, tokens, sequences, context, losses, watch, &meter);
      }
      model_.for_batches(
          rotary, sequences, context, Keep::nothing, [&](const BatchContext& b, const BatchMemory& m, int64_t first) {
            meter.begin(b.sequences, model_.shape.config.layers + 1, 1);
            const float* x = model_.forward(b, m, Keep::nothing, tokens + first * context, watch, &meter);
            head_losses(b, model_.weights().head(watch), x, m.targets, m.head);
            const Predictions predictions(model_.shape.config, tokens + first * context, b.sequences, context);
            model_.collect_losses(b, predictions, m.head.entropy, losses + first);
            meter.step();
          });
    });
  }

  Status logits(const int32_t* tokens, int32_t context, float* out, const Control& control) override {
    return model_.run(control, [&](const Watch& watch) {
      model_.check_tokens(tokens, context, context, 1);
      model_.prepare(watch);
      Meter meter(model_.stream(), watch, 1);
      const RotaryOnDevice rotary(model_.stream(), model_.shape.config, context);
      model_.for_batches(rotary, 1, context, Keep::nothing, [&](const BatchContext& b, const BatchMemory& m, int64_t) {
        meter.begin(1, model_.shape.config.layers + 1, 1);
        const float* x = model_.forward(b, m, Keep::nothing, tokens, watch, &meter);
        head_logits(b, model_.weights().head(watch), x, m.head, out);
        meter.step();
      });
    });
  }

  Status calibrate(const int32_t* tokens, int64_t sequences, int32_t context, const CalibrationSink& sink,
                   double* losses, const Control& control) override {
    return model_.run(control, [&](const Watch& watch) {
      cuda::calibrate(&model_, tokens, sequences, context, sink, losses, watch);
    });
  }

  Status divergence(LanguageModel* other, const int32_t* tokens, int64_t sequences, int32_t context,
                    const Divergence& out, const Control& control) override {
    // The interface promises a model of this backend.
    Model* second = &static_cast<CudaLanguageModel*>(other)->model_;
    return model_.run(control, [&](const Watch& watch) {
      if (second->shape.config.vocab != model_.shape.config.vocab) {
        fail(StatusCode::invalid_argument, "models with different vocabularies cannot be compared");
      }
      model_.check_tokens(tokens, sequences * context, context, model_.shape.config.masked ? 1 : 2);
      try {
        compare(&model_, second, tokens, sequences, context, out, watch);
      } catch (const NeedsTwoPlanes&) {
        // Whichever it was: run() takes care of this one.
        second->use_two_planes();
        throw;
      }
    });
  }

  Status open_layer_pass(const int32_t* tokens, int64_t sequences, int32_t context, LayerPass** out) override {
    return guarded([&] {
      model_.select();
      model_.check_tokens(tokens, sequences * context, context, 1);
      *out = create_layer_pass(model_.shape.config, provider_, {tokens, tokens + sequences * context}, context);
    });
  }

  void destroy() override {
    // Errors of a device that is gone have nobody to go to.
    cudaSetDevice(model_.device());
    delete this;
  }

 private:
  const WeightProvider provider_;
  Model model_;
};

}  // namespace

LanguageModel* create_language_model(const LanguageModelConfig& config, const WeightProvider& provider) {
  return new CudaLanguageModel(config, provider);
}

}  // namespace lq::cuda
