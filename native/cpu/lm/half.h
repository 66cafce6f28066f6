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
void project(const Batch& batch, const Batch::Input& x, const float* weight, const float* bias, int64_t out, float* y);
// The same of some columns, y [rows, columns], as Batch::linear has them.
void project(const Batch& batch, const Batch::Input& x, const float* weight, const float* bias, int64_t out,
             cpu::bf16::Span columns, float* y);

// The last projection of a half, with what becomes of it before it joins the residual stream.
struct HalfOutput {
  const float *weight, *bias;
  NormWeights norm;  // null: none
  bool of_sum;       // the norm is of the stream with the half's result in it
  float scale;
  bool plain() const { return norm.weight == nullptr && scale == 1.0f; }
};
HalfOutput attention_output(const LanguageModelConfig& config, const LayerWeights& weights);
HalfOutput mlp_output(const LanguageModelConfig& config, const LayerWeights& weights);

// y = residual + scale * norm(x W^T + bias), or norm(residual + scale * (x W^T + bias)); y may be residual. `kept`
// [rows, hidden] receives the norm's input unless null. scratch has as many floats.
void join(const Batch& batch, const HalfOutput& half, const Batch::Input& x, const float* residual, float* kept,
          float* scratch, float* y);
// The same of a half whose last projection is done: raw [rows, hidden] is its result, and is overwritten.
void join_raw(const Batch& batch, const HalfOutput& half, const float* residual, int64_t rows, float* kept, float* raw,
              float* y);

// d [rows, hidden] = the gradient of the projection's result, given dy of the half's; kept is the norm's input.
// With norms of sums it is the gradient of the residual too, which is dy otherwise.
void join_backward(const Batch& batch, const HalfOutput& half, const float* kept, const float* dy, int64_t rows,
                   float* d);

// Floats a row of what the halves give, when backward needs it.
int64_t output_floats(const LanguageModelConfig& config);
// Whether gradients of what the halves give differ from those of the residual stream.
bool outputs_differ(const LanguageModelConfig& config);

// The norms that the halves read the stream through.
NormWeights norm_before_attention(const LayerWeights& weights);
NormWeights norm_before_mlp(const LanguageModelConfig& config, const LayerWeights& weights);

}  // namespace lq::lm
