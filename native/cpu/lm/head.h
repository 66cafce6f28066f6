// Final norm, output projection and cross entropy, streamed over rows and vocabulary.
#pragma once

#include <cstdint>

#include "lm/batch.h"
#include "lm/norm.h"

namespace lq::lm {

struct HeadWeights {
  NormWeights norm;     // [hidden]
  const float* weight;  // [vocab, hidden]
};

// losses [sequences]: mean cross entropy of each token given those before it. tokens [rows], x [rows, hidden].
void head_losses(const Batch& batch, const HeadWeights& head, const float* x, const int32_t* tokens, double* losses);

// The same, and dx [rows, hidden]: the gradient of each sequence's mean loss with respect to x. dx may be x.
void head_backward(const Batch& batch, const HeadWeights& head, const float* x, const int32_t* tokens, double* losses,
                   float* dx);

// One side of a comparison: a model's head and its last block's output [rows, hidden].
struct HeadSide {
  const Batch& batch;
  const HeadWeights& head;
  const float* x;
};
// Losses of both sides and how the second differs from the first. `out` points at the batch's first sequence.
void head_divergence(const HeadSide& first, const HeadSide& second, const int32_t* tokens, const Divergence& out);

// out [rows, vocab].
void head_logits(const Batch& batch, const HeadWeights& head, const float* x, float* out);

}  // namespace lq::lm
