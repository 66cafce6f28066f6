#include "lm/layer.h"

#include <algorithm>

#include "lm/attention.h"
#include "lm/kernels.h"

namespace lq::lm {
namespace {

// Rotates rows [first, first + count) of a projection; with a norm, raw holds its input and x receives the result.
void position_heads(const Batch& batch, int64_t first, int64_t count, int64_t heads, const float* norm, float* raw,
                    float* x) {
  const int64_t dim = batch.config.head_dim, n = heads * dim;
  if (norm != nullptr) {
    kernels().rms_norm(raw + first * n, norm, count * heads, dim, batch.config.rms_eps, x + first * n);
  }
  for (int64_t row = first; row < first + count; ++row) {
    const int64_t at = row % batch.context * batch.rotary.half;
    kernels().rotate(x + row * n, heads, dim, &batch.rotary.cosine[at], &batch.rotary.sine[at], false);
  }
}

// The transpose of position_heads on gradients, in place of dx.
void position_heads_backward(const Batch& batch, int64_t first, int64_t count, int64_t heads, const float* norm,
                             const float* raw, float* dx) {
  const int64_t dim = batch.config.head_dim, n = heads * dim;
  for (int64_t row = first; row < first + count; ++row) {
    const int64_t at = row % batch.context * batch.rotary.half;
    kernels().rotate(dx + row * n, heads, dim, &batch.rotary.cosine[at], &batch.rotary.sine[at], true);
  }
  if (norm != nullptr) {
    kernels().rms_norm_backward(raw + first * n, norm, dx + first * n, nullptr, count * heads, dim,
                                batch.config.rms_eps, dx + first * n);
  }
}

// y = x W^T + bias.
void project(const Batch& batch, const float* x, const float* weight, const float* bias, int64_t rows, int64_t in,
             int64_t out, float* y) {
  if (bias != nullptr) fill_rows(bias, rows, out, y);
  batch.linear(x, weight, rows, in, out, bias != nullptr, y);
}

// y = residual + x W^T + bias; y may be residual.
void project_residual(const Batch& batch, const float* x, const float* weight, const float* bias, const float* residual,
                      int64_t rows, int64_t in, int64_t out, float* y) {
  if (y != residual) std::copy_n(residual, rows * out, y);
  if (bias != nullptr) {
    for (int64_t i = 0; i < rows; ++i) kernels().add(bias, out, y + i * out);
  }
  batch.linear(x, weight, rows, in, out, true, y);
}

void attend(const Batch& batch, const LayerState& s) {
  const LanguageModelConfig& c = batch.config;
  batch.for_each(batch.sequences * c.kv_heads, [&](int64_t i, int32_t slot) {
    const int64_t sequence = i / c.kv_heads, row = sequence * batch.context;
    attention_forward(batch, i % c.kv_heads, s.q + row * batch.q_size(), s.k + row * batch.kv_size(),
                      s.v + row * batch.kv_size(), s.attended + row * batch.q_size(),
                      s.lse == nullptr ? nullptr : s.lse + row * c.heads,
                      batch.scratch(slot, attention_scratch(batch)));
  });
}

void attend_backward(const Batch& batch, const LayerState& s, const BackwardScratch& shared) {
  const LanguageModelConfig& c = batch.config;
  batch.for_each(batch.sequences * c.kv_heads, [&](int64_t i, int32_t slot) {
    const int64_t sequence = i / c.kv_heads, row = sequence * batch.context;
    const int64_t q_at = row * batch.q_size(), kv_at = row * batch.kv_size();
    attention_backward(batch, i % c.kv_heads, s.q + q_at, s.k + kv_at, s.v + kv_at, s.attended + q_at,
                       s.lse + row * c.heads, shared.d_attended + q_at, shared.dk + kv_at, shared.dv + kv_at,
                       batch.scratch(slot, attention_scratch(batch)));
  });
}

}  // namespace

int64_t state_floats(const LanguageModelConfig& c, bool backward) {
  const int64_t q = static_cast<int64_t>(c.heads) * c.head_dim, kv = static_cast<int64_t>(c.kv_heads) * c.head_dim;
  const int64_t raw = c.qk_norm ? q + kv : 0;
  const int64_t always = c.hidden + raw + 2 * q + 2 * kv;
  return backward ? always + c.heads + c.hidden + 2 * static_cast<int64_t>(c.intermediate) : always;
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
  s.q_raw = c.qk_norm ? take(batch.q_size()) : nullptr;
  s.k_raw = c.qk_norm ? take(batch.kv_size()) : nullptr;
  s.attended = take(batch.q_size());
  s.middle = backward ? take(c.hidden) : s.x;
  if (backward) {
    s.lse = take(c.heads);
    s.gate = take(c.intermediate);
    s.up = take(c.intermediate);
  }
  return s;
}

LayerInputBuffers::LayerInputBuffers(const Batch& batch) : buffer_(floats(batch.config) * batch.rows()) {
  const int64_t width = batch.rows() * batch.config.hidden;
  inputs = {buffer_.data(), buffer_.data() + width, buffer_.data() + 2 * width};
}

void attention_input(const Batch& batch, const LayerWeights& w, const float* x, float* out) {
  const int64_t hidden = batch.config.hidden;
  batch.for_rows([&](int64_t first, int64_t count, int32_t) {
    kernels().rms_norm(x + first * hidden, w.input_norm, count, hidden, batch.config.rms_eps, out + first * hidden);
  });
}

void mlp_input(const Batch& batch, const LayerWeights& w, const float* middle, float* out) {
  const int64_t hidden = batch.config.hidden;
  batch.for_rows([&](int64_t first, int64_t count, int32_t) {
    kernels().rms_norm(middle + first * hidden, w.post_attention_norm, count, hidden, batch.config.rms_eps,
                       out + first * hidden);
  });
}

void forward_attention(const Batch& batch, const LayerWeights& w, const LayerState& s, const LayerInputs& inputs,
                       bool project_output) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, q_size = batch.q_size(), kv_size = batch.kv_size();
  float* q_raw = s.q_raw != nullptr ? s.q_raw : s.q;
  float* k_raw = s.k_raw != nullptr ? s.k_raw : s.k;
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    float* normed =
        inputs.attention != nullptr ? inputs.attention + first * hidden : batch.scratch(slot, count * hidden);
    kernels().rms_norm(s.x + first * hidden, w.input_norm, count, hidden, c.rms_eps, normed);
    project(batch, normed, w.q, w.q_bias, count, hidden, q_size, q_raw + first * q_size);
    project(batch, normed, w.k, w.k_bias, count, hidden, kv_size, k_raw + first * kv_size);
    project(batch, normed, w.v, w.v_bias, count, hidden, kv_size, s.v + first * kv_size);
    position_heads(batch, first, count, c.heads, w.q_norm, q_raw, s.q);
    position_heads(batch, first, count, c.kv_heads, w.k_norm, k_raw, s.k);
  });
  attend(batch, s);
  if (!project_output) return;
  batch.for_rows([&](int64_t first, int64_t count, int32_t) {
    project_residual(batch, s.attended + first * q_size, w.o, w.o_bias, s.x + first * hidden, count, q_size, hidden,
                     s.middle + first * hidden);
  });
}

void forward_mlp(const Batch& batch, const LayerWeights& w, const LayerState& s, const LayerInputs& inputs,
                 float* out) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, inner = c.intermediate;
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    const float* middle = s.middle + first * hidden;
    float* scratch = batch.scratch(slot, count * (hidden + 3 * inner));
    float* normed = inputs.mlp != nullptr ? inputs.mlp + first * hidden : scratch;
    float* act = inputs.down != nullptr ? inputs.down + first * inner : scratch + count * hidden;
    float* gate = s.gate != nullptr ? s.gate + first * inner : scratch + count * (hidden + inner);
    float* up = s.up != nullptr ? s.up + first * inner : scratch + count * (hidden + 2 * inner);
    kernels().rms_norm(middle, w.post_attention_norm, count, hidden, c.rms_eps, normed);
    project(batch, normed, w.gate, w.gate_bias, count, hidden, inner, gate);
    project(batch, normed, w.up, w.up_bias, count, hidden, inner, up);
    kernels().swiglu(gate, up, count * inner, act);
    if (out == nullptr) return;
    project_residual(batch, act, w.down, w.down_bias, middle, count, inner, hidden, out + first * hidden);
  });
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
}

int64_t BackwardScratch::floats(const LanguageModelConfig& c) {
  return 3 * static_cast<int64_t>(c.hidden) + static_cast<int64_t>(c.heads + 2 * c.kv_heads) * c.head_dim +
         c.intermediate;
}

void backward_layer(const Batch& batch, const LayerWeights& w, const LayerState& s, const BackwardScratch& shared,
                    const float* dy, float* dx, const LayerSums& sums) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, inner = c.intermediate, q_size = batch.q_size(), kv_size = batch.kv_size();
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    float* gate = s.gate + first * inner;
    float* up = s.up + first * inner;
    float* d_act = batch.scratch(slot, count * (inner + hidden));
    float* d_normed = d_act + count * inner;
    batch.linear_backward(dy + first * hidden, w.down, count, inner, hidden, false, d_act);
    kernels().swiglu_backward(d_act, count * inner, gate, up, shared.act + first * inner);
    batch.linear_backward(gate, w.gate, count, hidden, inner, false, d_normed);
    batch.linear_backward(up, w.up, count, hidden, inner, true, d_normed);
    kernels().rms_norm(s.middle + first * hidden, w.post_attention_norm, count, hidden, c.rms_eps,
                       shared.mlp_input + first * hidden);
    float* d_middle = shared.d_middle + first * hidden;
    kernels().rms_norm_backward(s.middle + first * hidden, w.post_attention_norm, d_normed, dy + first * hidden, count,
                                hidden, c.rms_eps, d_middle);
    batch.linear_backward(d_middle, w.o, count, q_size, hidden, false, shared.d_attended + first * q_size);
  });
  attend_backward(batch, s, shared);
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    float* dq = shared.d_attended + first * q_size;
    position_heads_backward(batch, first, count, c.heads, w.q_norm, s.q_raw, shared.d_attended);
    position_heads_backward(batch, first, count, c.kv_heads, w.k_norm, s.k_raw, shared.dk);
    float* d_normed = batch.scratch(slot, count * hidden);
    batch.linear_backward(dq, w.q, count, hidden, q_size, false, d_normed);
    batch.linear_backward(shared.dk + first * kv_size, w.k, count, hidden, kv_size, true, d_normed);
    batch.linear_backward(shared.dv + first * kv_size, w.v, count, hidden, kv_size, true, d_normed);
    const float* x = s.x + first * hidden;
    kernels().rms_norm(x, w.input_norm, count, hidden, c.rms_eps, shared.attention_input + first * hidden);
    kernels().rms_norm_backward(x, w.input_norm, d_normed, shared.d_middle + first * hidden, count, hidden, c.rms_eps,
                                dx + first * hidden);
  });
  const auto gradient = [&](size_t i, const float* d, const float* x, int64_t rows, int64_t cols) {
    return GradientFactors{d, x, rows, cols, sums.squares[i], sums.row_squares[i]};
  };
  accumulate_squares(
      batch,
      {gradient(0, shared.d_attended, shared.attention_input, q_size, hidden),
       gradient(1, shared.dk, shared.attention_input, kv_size, hidden),
       gradient(2, shared.dv, shared.attention_input, kv_size, hidden),
       gradient(3, shared.d_middle, s.attended, hidden, q_size), gradient(4, s.gate, shared.mlp_input, inner, hidden),
       gradient(5, s.up, shared.mlp_input, inner, hidden), gradient(6, dy, shared.act, hidden, inner)});
}

}  // namespace lq::lm
