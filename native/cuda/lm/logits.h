// Cross entropies and divergences of logits that come in pieces of the vocabulary.
#pragma once

#include "lm/planes.h"

namespace lq::cuda {

// What becomes of products of the head: z = scale (z + bias), then cap tanh(z / cap) where the cap is above 0.
struct LogitForm {
  const float* bias;  // of the words at hand; null: none
  float scale, cap;
  bool plain() const { return bias == nullptr && scale == 1.0f && cap == 0.0f; }
};
void finish_logits(const Stream& stream, const LogitForm& form, float* logits, int64_t rows, int64_t stride);

// Running log-sum-exp of each row of logits, and its target's logit, over pieces of the vocabulary.
struct CrossEntropy {
  float* top;     // [rows]
  float* sum;     // [rows]
  float* target;  // [rows]
};
// Adds logits [rows, width of stride] of the words [begin, begin + width); the first piece has begin 0.
void add_logits(const Stream& stream, const float* logits, int64_t stride, const int32_t* targets, int64_t rows,
                int64_t begin, int64_t width, const CrossEntropy& state);
// What two models' logits of the same words give, row by row, over pieces of the vocabulary: cross entropies of both,
// the sum of exp(first - its top) (first - second), and the first words with the largest logits.
struct RunningDivergence {
  CrossEntropy first, second;
  float* weighted;                    // [rows]
  int32_t *first_word, *second_word;  // [rows]
};
// Adds logits of both sides, each [rows, width of stride]; the first piece has begin 0.
void add_divergence(const Stream& stream, const float* first, const float* second, int64_t stride,
                    const int32_t* targets, int64_t rows, int64_t begin, int64_t width, const RunningDivergence& state);

// Gradient of the mean cross entropy of context - 1 predictions in planes [rows, stride], zero for rows without a
// target; with a cap above 0, of what soft_cap made the logits of.
void cross_entropy_backward(const Stream& stream, const float* logits, int64_t stride, const int32_t* targets,
                            int64_t rows, int64_t begin, int64_t width, float scale, const LogitForm& form,
                            const CrossEntropy& state, const Planes& out);

}  // namespace lq::cuda
