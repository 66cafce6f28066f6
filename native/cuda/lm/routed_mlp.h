// The MLP half of a routed block: the experts each token is sent to, and beside them an MLP that all tokens go through
// when the layer has a width.
//
//   normed -> router -> pairs sorted by expert -> gathered -> [gate | up] -> activation -> down -> weighed sum by token
//
// Products are one an expert, several at once (lm/expert_queues.h); how many tokens each has is asked of the device
// while it gathers them. What lies inside experts is computed again on the way back, so that one state serves all
// blocks of a batch.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "lm/block.h"

namespace lq::cuda {

// out [rows, hidden] = the block's output, of state.middle; null: only as far as the input of the shared down
// projection.
void forward_routed_mlp(const BatchContext& batch, const BlockWeights& weights, const BlockState& state, float* out);

// Leaves in shared.d_residual and shared.d_middle the gradient of the half's input, given d_out of its output before it
// joins the stream and dy [rows, hidden] of what goes past it.
void backward_routed_mlp(const BatchContext& batch, const BlockWeights& weights, const BlockState& state,
                         const BackwardState& shared, const Operand& d_out, const float* dy,
                         const BlockAccumulators& accumulators);

// Sends the rows of normed [rows, hidden] to experts: fills state.experts but for what is gathered, and `begin` once it
// is awaited.
void route_rows(const BatchContext& batch, const BlockWeights& weights, const Planes& normed, const ExpertState& state);
void await_routes(const BatchContext& batch, const ExpertState& state);

// Weighs, as state.experts has routed them, the rows of an expert by another stream's normed input (scale_input).
void weigh_rows(const BatchContext& batch, const BlockWeights& weights, const Planes& normed, const ExpertState& state,
                int32_t expert);

// What an expert reads of the rows that state.experts has routed to it, or, with `down`, what its down projection does;
// in the state's memory until the next call.
Planes expert_input(const BatchContext& batch, const BlockWeights& weights, const Planes& normed,
                    const ExpertState& state, int32_t expert, bool down);

}  // namespace lq::cuda
