// The MLP half of a routed block: the experts each token is sent to, and beside them an MLP that all tokens go through
// when the layer has a width. The counterpart of mlp.h.
#pragma once

#include <vector>

#include "lm/batch.h"
#include "lm/layer.h"
#include "lm/sums.h"

namespace lq::lm {

// Goes on from state.middle to out [rows, hidden], or with null only as far as the input of the shared down projection.
// Adds to the second moments of experts that inputs.experts wants.
void forward_routed_mlp(const Batch& batch, const LayerWeights& weights, const LayerState& state,
                        const LayerInputs& inputs, float* out);

// As backward_mlp. Routing and what lies inside experts are computed again, not kept from forward. Squared gradients of
// experts are added at once.
void backward_routed_mlp(const Batch& batch, const LayerWeights& weights, const LayerState& state,
                         const BackwardScratch& shared, const float* dy, const LayerSums& sums,
                         std::vector<GradientFactors>* gradients);

// The routing of the tokens of x [rows, hidden], the half's normalised input.
inline Routing route(const Batch& batch, const LayerWeights& weights, const float* x) {
  return route(batch, weights.router, x);
}

}  // namespace lq::lm
