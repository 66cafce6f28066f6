// Final norm, transform, output projection and cross entropy, streamed over predictions and vocabulary.
#pragma once

#include <cstdint>
#include <vector>

#include "lm/batch.h"
#include "lm/norm.h"

namespace lq::lm {

struct HeadWeights {
  NormWeights norm;                 // [hidden]; null: none
  const float *dense, *dense_bias;  // [width, hidden], [width]: the transform; null: none
  NormWeights dense_norm;           // [width]; null: none
  const float* weight;              // [vocab, width]
  const float* bias;                // [vocab]; null: none
};

// What is predicted: as many places in each sequence, row by row.
class Predictions {
 public:
  // Of tokens [rows]. Throws Failure{invalid_argument} when sequences of a masked model differ or predict nothing.
  Predictions(const Batch& batch, const int32_t* tokens);

  int64_t each() const { return each_; }
  // Prediction i of a sequence: the row it is made from, and the token it should be.
  int64_t row(int64_t sequence, int64_t i) const { return rows_[sequence * each_ + i]; }
  int32_t target(int64_t sequence, int64_t i) const { return targets_[sequence * each_ + i]; }

 private:
  int64_t each_;
  std::vector<int64_t> rows_;
  std::vector<int32_t> targets_;
};

// losses [sequences]: mean cross entropy of the predictions. tokens [rows], x [rows, hidden].
void head_losses(const Batch& batch, const HeadWeights& head, const float* x, const int32_t* tokens, double* losses);

// The same, and dx [rows, hidden]: the gradient of each sequence's mean loss with respect to x.
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
