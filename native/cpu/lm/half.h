// What the two halves of a block, attention and MLP, share: projections, and how a half's result joins the residual
// stream.
#pragma once

#include <cstdint>

#include "lm/batch.h"
#include "lm/layer.h"
#include "lm/norm.h"

namespace lq::lm {

// y [rows, out] = x [rows, in] W^T + bias; null: no bias.
void project(const Batch& batch, const float* x, const float* weight, const float* bias, int64_t rows, int64_t in,
             int64_t out, float* y);

// The last projection of a half, with what becomes of it before it joins the residual stream.
struct HalfOutput {
  const float *weight, *bias;
  const float* norm;  // null: none
  float scale;
  bool plain() const { return norm == nullptr && scale == 1.0f; }
};
HalfOutput attention_output(const LanguageModelConfig& config, const LayerWeights& weights);
HalfOutput mlp_output(const LanguageModelConfig& config, const LayerWeights& weights);

// y = residual + scale * norm(x W^T + bias); y may be residual. `kept` [rows, hidden] receives the norm's input,
// scratch of as many floats is used when it is null.
void join(const Batch& batch, const HalfOutput& half, const float* x, int64_t in, const float* residual, int64_t rows,
          float* kept, float* scratch, float* y);
// The same of a half whose last projection is done: raw [rows, hidden] is its result, and is overwritten.
void join_raw(const Batch& batch, const HalfOutput& half, const float* residual, int64_t rows, float* raw, float* y);

// d [rows, hidden] = the gradient of the projection's result, given dy of the half's; raw is the norm's input.
void join_backward(const Batch& batch, const HalfOutput& half, const float* raw, const float* dy, int64_t rows,
                   float* d);

// Floats a row of what the halves give, when backward needs it.
int64_t output_floats(const LanguageModelConfig& config);
// Whether gradients of what the halves give differ from those of the residual stream.
bool outputs_differ(const LanguageModelConfig& config);

inline NormWeights norm_before_attention(const LayerWeights& w) { return {w.input_norm, w.input_norm_bias}; }
inline NormWeights norm_before_mlp(const LayerWeights& w) {
  return {w.post_attention_norm, w.post_attention_norm_bias};
}

}  // namespace lq::lm
