// One transformer block over a batch: forward, and backward with squared weight gradients by sequence.
#pragma once

#include <cstdint>

#include "lm/batch.h"
#include "lm/experts.h"
#include "lm/router.h"
#include "lm/sums.h"

namespace lq::lm {

// Weights of the block at work, fp32, each null when the architecture lacks it.
struct LayerWeights {
  const float *input_norm, *input_norm_bias, *post_attention_norm, *post_attention_norm_bias;
  const float *attention_output_norm, *attention_output_norm_bias, *mlp_output_norm, *mlp_output_norm_bias;
  const float *q, *k, *v, *o, *gate, *up, *down;
  const float *q_bias, *k_bias, *v_bias, *o_bias, *gate_bias, *up_bias, *down_bias;
  const float *q_norm, *k_norm, *q_norm_bias, *k_norm_bias;
  const float* sinks;        // [heads]
  RouterWeights router;      // of a routed layer, as what follows
  const float* shared_gate;  // [hidden]
  ExpertSource* experts;
  LayerTraits traits;
};

// Activations of a block. Backward reads all of them; forward alone passes null for lse, gate and up, and may let
// the block's output be x itself, and middle too unless the block is parallel.
struct LayerState {
  float* x;              // [rows, hidden], the block's input
  float *q_raw, *k_raw;  // before q/k norm, clamped; null without either
  float *q, *k, *v;      // rotated
  float* attended;       // [rows, heads * head_dim]
  float* lse;            // [sequences, heads, context]
  float* middle;         // [rows, hidden], after attention
  float *gate, *up;      // [rows, intermediate], before the activation; gate null in an MLP without
  // [rows, hidden], what the halves give or make of the stream, before their norms; null without, and where only
  // forward is wanted
  float *attention_output, *mlp_output;
};

// Floats of a state by row, lse included, with and without what only backward reads (x and middle are one then, but in
// a parallel block).
int64_t state_floats(const LanguageModelConfig& config, bool backward);
// Lays a state out in a buffer of state_floats * rows floats.
LayerState place_state(const Batch& batch, bool backward, float* buffer);

// Where forward leaves the inputs of a block's matrices, [rows, n] each; null: nowhere. The input of o is
// state.attended.
struct LayerInputs {
  float *attention = nullptr, *mlp = nullptr;  // [rows, hidden], normalised
  float* down = nullptr;                       // [rows, width]
  const ExpertSums* experts = nullptr;  // inputs of experts are not left, but added up where their moments are wanted
};

// All of them in a buffer of their own.
struct LayerInputBuffers {
  explicit LayerInputBuffers(const Batch& batch);
  // Floats by row.
  static int64_t floats(const LanguageModelConfig& config) { return 2 * int64_t{config.hidden} + config.intermediate; }
  LayerInputs inputs;

 private:
  Buffer buffer_;
};

// out [rows, hidden] = block(state.x).
void forward_layer(const Batch& batch, const LayerWeights& weights, const LayerState& state, float* out,
                   const LayerInputs& inputs = {});

// Buffers of backward that layers share.
class BackwardScratch {
 public:
  explicit BackwardScratch(const Batch& batch);
  // Buffers for what forward leaves of inputs; backward fills them again.
  LayerInputs inputs() const { return {attention_input, mlp_input, act}; }
  // Floats by row.
  static int64_t floats(const LanguageModelConfig& config);

  float *attention_input, *mlp_input;  // [rows, hidden], the normalised inputs
  float *d_attention, *d_mlp;          // [rows, hidden], gradients of what the halves give
  float* d_middle;                     // [rows, hidden]
  float* d_attended;                   // [rows, heads * head_dim], then the gradient of q
  float *dk, *dv;                      // [rows, kv_heads * head_dim]
  float* act;                          // [rows, intermediate]

 private:
  Buffer buffer_;
};

// dx [rows, hidden] = gradient of the block's input, given dy of its output; dx must not be dy. state.gate and state.up
// are consumed. Adds to the sums of gradients that are wanted.
void backward_layer(const Batch& batch, const LayerWeights& weights, const LayerState& state,
                    const BackwardScratch& shared, const float* dy, float* dx, const LayerSums& sums);

}  // namespace lq::lm
