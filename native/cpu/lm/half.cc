#include "lm/half.h"

#include <algorithm>

#include "lm/kernels.h"

namespace lq::lm {
namespace {

// y = residual + x W^T + bias; y may be residual.
void project_residual(const Batch& batch, const Batch::Input& x, const float* weight, const float* bias,
                      const float* residual, int64_t out, float* y) {
  if (y != residual) std::copy_n(residual, x.rows * out, y);
  if (bias != nullptr) {
    for (int64_t i = 0; i < x.rows; ++i) kernels().add(bias, out, y + i * out);
  }
  batch.linear(x, weight, out, {0, out}, true, y);
}

float residual_scale(const LanguageModelConfig& c) {
  return c.residual_scale > 0 ? static_cast<float>(c.residual_scale) : 1.0f;
}

}  // namespace

void project(const Batch& batch, const float* x, const float* weight, const float* bias, int64_t rows, int64_t in,
             int64_t out, float* y) {
  project(batch, batch.input(x, rows, in), weight, bias, out, y);
}

void project(const Batch& batch, const Batch::Input& x, const float* weight, const float* bias, int64_t out, float* y) {
  project(batch, x, weight, bias, out, {0, out}, y);
}

void project(const Batch& batch, const Batch::Input& x, const float* weight, const float* bias, int64_t out,
             cpu::bf16::Span columns, float* y) {
  if (bias != nullptr) fill_rows(bias + columns.from, x.rows, columns.count, y);
  batch.linear(x, weight, out, columns, bias != nullptr, y);
}

HalfOutput attention_output(const LanguageModelConfig& c, const LayerWeights& w) {
  return {w.o, w.o_bias, {w.attention_output_norm, w.attention_output_norm_bias}, c.norms.of_sum, residual_scale(c)};
}
HalfOutput mlp_output(const LanguageModelConfig& c, const LayerWeights& w) {
  return {w.down, w.down_bias, {w.mlp_output_norm, w.mlp_output_norm_bias}, c.norms.of_sum, residual_scale(c)};
}

void join(const Batch& batch, const HalfOutput& half, const Batch::Input& x, const float* residual, float* kept,
          float* scratch, float* y) {
  const int64_t hidden = batch.config.hidden;
  if (half.plain()) return project_residual(batch, x, half.weight, half.bias, residual, hidden, y);
  project(batch, x, half.weight, half.bias, hidden, scratch);
  join_raw(batch, half, residual, x.rows, kept, scratch, y);
}

void join_raw(const Batch& batch, const HalfOutput& half, const float* residual, int64_t rows, float* kept, float* raw,
              float* y) {
  const LanguageModelConfig& c = batch.config;
  const int64_t count = rows * c.hidden;
  if (half.norm.weight != nullptr && !half.of_sum) {
    if (kept != nullptr) std::copy_n(raw, count, kept);
    norm(c, half.norm, raw, rows, c.hidden, raw);
  }
  if (y != residual) std::copy_n(residual, count, y);
  for (int64_t i = 0; i < count; ++i) y[i] += half.scale * raw[i];
  if (half.norm.weight == nullptr || !half.of_sum) return;
  if (kept != nullptr) std::copy_n(y, count, kept);
  norm(c, half.norm, y, rows, c.hidden, y);
}

void join_backward(const Batch& batch, const HalfOutput& half, const float* kept, const float* dy, int64_t rows,
                   float* d) {
  const LanguageModelConfig& c = batch.config;
  std::copy_n(dy, rows * c.hidden, d);
  if (half.scale != 1.0f) kernels().scale(half.scale, rows * c.hidden, d);
  if (half.norm.weight != nullptr) norm_backward(c, half.norm, kept, d, nullptr, rows, c.hidden, d);
}

int64_t output_floats(const LanguageModelConfig& c) { return c.norms.after || c.norms.of_sum ? c.hidden : 0; }
bool outputs_differ(const LanguageModelConfig& c) { return output_floats(c) > 0 || residual_scale(c) != 1.0f; }

NormWeights norm_before_attention(const LayerWeights& w) { return {w.input_norm, w.input_norm_bias}; }
NormWeights norm_before_mlp(const LanguageModelConfig& c, const LayerWeights& w) {
  return c.attention.shared_norm ? norm_before_attention(w)
                                 : NormWeights{w.post_attention_norm, w.post_attention_norm_bias};
}

}  // namespace lq::lm
