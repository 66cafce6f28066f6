#include "lm/half.h"

#include <algorithm>

#include "lm/kernels.h"

namespace lq::lm {
namespace {

// y = residual + x W^T + bias; y may be residual.
void project_residual(const Batch& batch, const float* x, const float* weight, const float* bias, const float* residual,
                      int64_t rows, int64_t in, int64_t out, float* y) {
  if (y != residual) std::copy_n(residual, rows * out, y);
  if (bias != nullptr) {
    for (int64_t i = 0; i < rows; ++i) kernels().add(bias, out, y + i * out);
  }
  batch.linear(x, weight, rows, in, out, true, y);
}

float residual_scale(const LanguageModelConfig& c) {
  return c.residual_scale > 0 ? static_cast<float>(c.residual_scale) : 1.0f;
}

}  // namespace

void project(const Batch& batch, const float* x, const float* weight, const float* bias, int64_t rows, int64_t in,
             int64_t out, float* y) {
  if (bias != nullptr) fill_rows(bias, rows, out, y);
  batch.linear(x, weight, rows, in, out, bias != nullptr, y);
}

HalfOutput attention_output(const LanguageModelConfig& c, const LayerWeights& w) {
  return {w.o, w.o_bias, w.attention_output_norm, residual_scale(c)};
}
HalfOutput mlp_output(const LanguageModelConfig& c, const LayerWeights& w) {
  return {w.down, w.down_bias, w.mlp_output_norm, residual_scale(c)};
}

void join(const Batch& batch, const HalfOutput& half, const float* x, int64_t in, const float* residual, int64_t rows,
          float* kept, float* scratch, float* y) {
  const int64_t hidden = batch.config.hidden;
  if (half.plain()) return project_residual(batch, x, half.weight, half.bias, residual, rows, in, hidden, y);
  project(batch, x, half.weight, half.bias, rows, in, hidden, scratch);
  if (kept != nullptr) std::copy_n(scratch, rows * hidden, kept);
  join_raw(batch, half, residual, rows, scratch, y);
}

void join_raw(const Batch& batch, const HalfOutput& half, const float* residual, int64_t rows, float* raw, float* y) {
  const int64_t hidden = batch.config.hidden;
  if (half.norm != nullptr) kernels().rms_norm(raw, half.norm, rows, hidden, batch.config.rms_eps, raw);
  if (y != residual) std::copy_n(residual, rows * hidden, y);
  for (int64_t i = 0; i < rows * hidden; ++i) y[i] += half.scale * raw[i];
}

void join_backward(const Batch& batch, const HalfOutput& half, const float* raw, const float* dy, int64_t rows,
                   float* d) {
  const int64_t hidden = batch.config.hidden;
  std::copy_n(dy, rows * hidden, d);
  if (half.scale != 1.0f) kernels().scale(half.scale, rows * hidden, d);
  if (half.norm != nullptr) {
    kernels().rms_norm_backward(raw, half.norm, d, nullptr, rows, hidden, batch.config.rms_eps, d);
  }
}

int64_t output_floats(const LanguageModelConfig& c) { return c.norm_after ? c.hidden : 0; }
bool outputs_differ(const LanguageModelConfig& c) { return c.norm_after || residual_scale(c) != 1.0f; }

}  // namespace lq::lm
