// The final norm, the head and the cross entropy, over pieces of the vocabulary: logits of a whole batch are never
// held.
#pragma once

#include "lm/block.h"
#include "lm/logits.h"

namespace lq::cuda {

struct HeadState {
  Planes normed;    // [rows, hidden]
  float* logits;    // [rows, piece]
  Planes d_logits;  // [rows, piece]
  float* d_normed;  // [rows, hidden]
  CrossEntropy entropy;
  // Of a transform: its product, the activation of that, and what the final norm gave, [rows, hidden].
  float *dense, *activated;
  Planes before;
};

// Without `backward`, gradients have no room.
HeadState place_head(const BatchContext& batch, bool backward, Arena* arena);

// Cross entropy of every row of x [rows, hidden] left in state.entropy; targets [rows], -1 for rows that predict
// nothing.
void head_losses(const BatchContext& batch, const TableWeights& head, const float* x, const int32_t* targets,
                 const HeadState& state);
// After head_losses: gradient of the mean cross entropy of each sequence's `predictions`. dx may be x.
void head_backward(const BatchContext& batch, const TableWeights& head, const float* x, const int32_t* targets,
                   int64_t predictions, const HeadState& state, float* dx, const Planes& dx_planes);
// Host array [rows, vocab].
void head_logits(const BatchContext& batch, const TableWeights& head, const float* x, const HeadState& state,
                 float* out);

// One side of a comparison. Both sides have the same rows and vocabulary, each its own stream.
struct HeadSide {
  const BatchContext& batch;
  const TableWeights& head;
  const float* x;
  const HeadState& state;
};
RunningDivergence place_divergence(const BatchContext& batch, Arena* arena);
// Fills `out`; nothing of either side is under way when it returns.
void head_divergence(const HeadSide& first, const HeadSide& second, const int32_t* targets,
                     const RunningDivergence& out);

}  // namespace lq::cuda
