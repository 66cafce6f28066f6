// The weights at work, in fp32: those of one block, of the embedding or of the head, asked for as a batch reaches them.
#pragma once

#include "lm/batch.h"
#include "lm/head.h"
#include "lm/layer.h"

namespace lq::lm {

class Weights {
 public:
  Weights(const LanguageModelConfig& config, const WeightProvider& provider) : config_(config), provider_(provider) {}

  // What these return is valid until the next call of any of them; its experts come when they are asked for. All throw
  // Failure with the provider's status.
  LayerWeights layer(const Batch& batch, int32_t layer);
  HeadWeights head(const Batch& batch);
  // x [tokens, hidden] = the embeddings of tokens.
  void embed(const Batch& batch, const int32_t* tokens, int64_t count, float* x);

  void release() {
    arena_ = Buffer();
    expert_arena_ = Buffer();
  }

 private:
  void add_positions(const Batch& batch, const int32_t* tokens, int64_t count, int64_t size, const float* table,
                     float* x) const;
  void load(int32_t layer, WeightKind kind, int32_t expert, int64_t count, float* out);

  // The experts of the layer at work.
  class Experts final : public ExpertSource {
   public:
    explicit Experts(Weights* weights) : weights_(weights) {}
    void load(const Batch& batch, const int32_t* experts, int64_t count, ExpertWeights* out) override;
    int32_t layer = 0;

   private:
    Weights* weights_;
  };

  const LanguageModelConfig config_;
  const WeightProvider provider_;
  Buffer arena_, expert_arena_;
  Experts experts_{this};
};

}  // namespace lq::lm
