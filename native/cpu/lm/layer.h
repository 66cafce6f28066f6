// One transformer block over a batch: forward, and backward with squared weight gradients by sequence.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "lm/batch.h"

namespace lq::lm {

// Weights of the block at work, fp32, each null when the architecture lacks it.
struct LayerWeights {
  const float *input_norm, *post_attention_norm;
  const float *q, *k, *v, *o, *gate, *up, *down;
  const float *q_bias, *k_bias, *v_bias, *o_bias, *gate_bias, *up_bias, *down_bias;
  const float *q_norm, *k_norm;
};

// Activations of a block. Backward reads all of them; forward alone passes null for lse, gate and up, and may let
// middle, and the block's output, be x itself.
struct LayerState {
  float* x;              // [rows, hidden], the block's input
  float *q_raw, *k_raw;  // before q/k norm; null without it
  float *q, *k, *v;      // rotated
  float* attended;       // [rows, heads * head_dim]
  float* lse;            // [sequences, heads, context]
  float* middle;         // [rows, hidden], after attention
  float *gate, *up;      // [rows, intermediate], before the activation
};

// Floats of a state by row, lse included, with and without what only backward reads (x and middle are one then).
int64_t state_floats(const LanguageModelConfig& config, bool backward);
// Lays a state out in a buffer of state_floats * rows floats.
LayerState place_state(const Batch& batch, bool backward, float* buffer);

// out [rows, hidden] = block(state.x).
void forward_layer(const Batch& batch, const LayerWeights& weights, const LayerState& state, float* out);

// The weight matrices a gradient can be asked for.
constexpr std::array<WeightKind, 7> kMatrices{WeightKind::q,    WeightKind::k,  WeightKind::v,   WeightKind::o,
                                              WeightKind::gate, WeightKind::up, WeightKind::down};
// Where sums of squared gradients go, in the order above; null skips a matrix.
using LayerAccumulators = std::array<float*, kMatrices.size()>;
struct MatrixShape {
  int64_t rows, cols;
};
MatrixShape matrix_shape(const LanguageModelConfig& config, WeightKind kind);

// Buffers of backward that layers share.
class BackwardScratch {
 public:
  explicit BackwardScratch(const Batch& batch);
  // Floats by row.
  static int64_t floats(const LanguageModelConfig& config);

  float *attention_input, *mlp_input;  // [rows, hidden], the normalised inputs
  float* d_middle;                     // [rows, hidden]
  float* d_attended;                   // [rows, heads * head_dim], then the gradient of q
  float *dk, *dv;                      // [rows, kv_heads * head_dim]
  float* act;                          // [rows, intermediate]

 private:
  Buffer buffer_;
};

// dx [rows, hidden] = gradient of the block's input, given dy of its output; dx must not be dy. state.gate and state.up
// are consumed. Adds to each accumulator the sum over sequences of the squared gradient of its matrix.
void backward_layer(const Batch& batch, const LayerWeights& weights, const LayerState& state,
                    const BackwardScratch& shared, const float* dy, float* dx, const LayerAccumulators& accumulators);

}  // namespace lq::lm
