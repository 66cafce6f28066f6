#include "lm/layer.h"

#include <vector>

#include "lm/half.h"
#include "lm/mlp.h"
#include "lm/self_attention.h"

namespace lq::lm {
namespace {

// Whether backward needs queries and keys as they were before they were turned.
bool keeps_raw(const LanguageModelConfig& c) { return c.qk_norm || c.attention.clamp > 0; }

}  // namespace

int64_t state_floats(const LanguageModelConfig& c, bool backward) {
  const int64_t q = static_cast<int64_t>(c.heads) * c.head_dim, kv = static_cast<int64_t>(c.kv_heads) * c.head_dim;
  const int64_t raw = keeps_raw(c) ? q + kv : 0, gates = c.mlp.plain ? 1 : 2;
  const int64_t always = (c.attention.parallel ? 2 : 1) * int64_t{c.hidden} + raw + 2 * q + 2 * kv;
  return backward
             ? always + c.heads + (c.attention.parallel ? 0 : c.hidden) + gates * c.intermediate + 2 * output_floats(c)
             : always;
}

LayerState place_state(const Batch& batch, bool backward, float* buffer) {
  const LanguageModelConfig& c = batch.config;
  const auto take = [&](int64_t n) {
    float* at = buffer;
    buffer += n * batch.rows();
    return at;
  };
  LayerState s{};
  s.x = take(c.hidden);
  s.q = take(batch.q_size());
  s.k = take(batch.kv_size());
  s.v = take(batch.kv_size());
  s.q_raw = keeps_raw(c) ? take(batch.q_size()) : nullptr;
  s.k_raw = keeps_raw(c) ? take(batch.kv_size()) : nullptr;
  s.attended = take(batch.q_size());
  s.middle = backward || c.attention.parallel ? take(c.hidden) : s.x;
  if (backward) {
    s.lse = take(c.heads);
    s.gate = c.mlp.plain ? nullptr : take(c.intermediate);
    s.up = take(c.intermediate);
    s.attention_output = output_floats(c) > 0 ? take(c.hidden) : nullptr;
    s.mlp_output = output_floats(c) > 0 ? take(c.hidden) : nullptr;
  }
  return s;
}

LayerInputBuffers::LayerInputBuffers(const Batch& batch) : buffer_(floats(batch.config) * batch.rows()) {
  const int64_t width = batch.rows() * batch.config.hidden;
  inputs = {buffer_.data(), buffer_.data() + width, buffer_.data() + 2 * width};
}

void forward_layer(const Batch& batch, const LayerWeights& w, const LayerState& s, float* out,
                   const LayerInputs& inputs) {
  forward_attention(batch, w, s, inputs, true);
  forward_mlp(batch, w, s, inputs, out);
}

BackwardScratch::BackwardScratch(const Batch& batch) : buffer_(floats(batch.config) * batch.rows()) {
  float* at = buffer_.data();
  const auto take = [&](int64_t n) {
    float* taken = at;
    at += n * batch.rows();
    return taken;
  };
  attention_input = take(batch.config.hidden);
  mlp_input = take(batch.config.hidden);
  d_middle = take(batch.config.hidden);
  d_attended = take(batch.q_size());
  dk = take(batch.kv_size());
  dv = take(batch.kv_size());
  act = take(batch.config.intermediate);
  d_attention = outputs_differ(batch.config) ? take(batch.config.hidden) : nullptr;
  d_mlp = outputs_differ(batch.config) ? take(batch.config.hidden) : nullptr;
}

int64_t BackwardScratch::floats(const LanguageModelConfig& c) {
  const int64_t outputs = outputs_differ(c) ? 2 : 0;
  return (3 + outputs) * static_cast<int64_t>(c.hidden) + static_cast<int64_t>(c.heads + 2 * c.kv_heads) * c.head_dim +
         c.intermediate;
}

void backward_layer(const Batch& batch, const LayerWeights& w, const LayerState& s, const BackwardScratch& shared,
                    const float* dy, float* dx, const LayerSums& sums) {
  std::vector<GradientFactors> gradients;
  backward_mlp(batch, w, s, shared, dy, sums, &gradients);
  backward_attention(batch, w, s, shared, dy, dx, sums, &gradients);
  accumulate_squares(batch, gradients);
}

}  // namespace lq::lm
