// The MLP half of a block: forward, and backward with what its squared weight gradients are made of.
#pragma once

#include <vector>

#include "lm/batch.h"
#include "lm/layer.h"
#include "lm/sums.h"

namespace lq::lm {

// The normalised input of gate and up, of the half's input x: out [rows, hidden].
void mlp_input(const Batch& batch, const LayerWeights& weights, const float* x, float* out);

// Goes on from state.middle to out [rows, hidden], or with null only as far as the input of down. In a parallel block
// the half reads state.x, which may be out but not state.middle.
void forward_mlp(const Batch& batch, const LayerWeights& weights, const LayerState& state, const LayerInputs& inputs,
                 float* out);

// shared.d_middle = gradient of what the half reads and adds to, given dy of the block's output: of state.middle, or in
// a parallel block of state.x but for what goes through attention. state.gate and state.up become their gradients;
// appends the factors of the gradients that are wanted.
void backward_mlp(const Batch& batch, const LayerWeights& weights, const LayerState& state,
                  const BackwardScratch& shared, const float* dy, const LayerSums& sums,
                  std::vector<GradientFactors>* gradients);

}  // namespace lq::lm
