// The attention half of a block: forward, and backward with what its squared weight gradients are made of.
#pragma once

#include <vector>

#include "lm/batch.h"
#include "lm/layer.h"
#include "lm/sums.h"

namespace lq::lm {

// The normalised input of q, k and v, of the block's input x: out [rows, hidden].
void attention_input(const Batch& batch, const LayerWeights& weights, const float* x, float* out);

// Fills state.attended from state.x and, when `project`, state.middle.
void forward_attention(const Batch& batch, const LayerWeights& weights, const LayerState& state,
                       const LayerInputs& inputs, bool project);

// dx [rows, hidden] = gradient of the block's input, given shared.d_middle and dy of the block's output; appends the
// factors of the gradients that are wanted.
void backward_attention(const Batch& batch, const LayerWeights& weights, const LayerState& state,
                        const BackwardScratch& shared, const float* dy, float* dx, const LayerSums& sums,
                        std::vector<GradientFactors>* gradients);

}  // namespace lq::lm
