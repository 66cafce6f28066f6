#include "lm/layer.h"

#include <algorithm>

#include "lm/attention.h"
#include "lm/kernels.h"
#include "lm/norm.h"

namespace lq::lm {
namespace {

// Queries or keys of a layer: how many heads, how they are normalised, how they turn.
struct Heads {
  int64_t count;
  const float* norm;          // null: none
  const RotaryTable* rotary;  // null: none
};

Heads heads_of(const Batch& batch, const LayerWeights& w, bool keys) {
  const LanguageModelConfig& c = batch.config;
  const RotaryTable* rotary = w.traits.rotary == LayerRotary::none    ? nullptr
                              : w.traits.rotary == LayerRotary::local ? &batch.local_rotary
                                                                      : &batch.rotary;
  return keys ? Heads{c.kv_heads, w.k_norm, rotary} : Heads{c.heads, w.q_norm, rotary};
}

// Rows of a norm of heads: each head, or all of them together.
struct NormRows {
  int64_t count, size;
};
NormRows norm_rows(const LanguageModelConfig& c, int64_t rows, int64_t heads) {
  return c.qk_norm_full ? NormRows{rows, heads * c.head_dim} : NormRows{rows * heads, c.head_dim};
}

void rotate(const Batch& batch, int64_t first, int64_t count, const Heads& heads, float* x, bool inverse) {
  if (heads.rotary == nullptr) return;
  const int64_t dim = batch.config.head_dim, half = heads.rotary->half;
  for (int64_t row = first; row < first + count; ++row) {
    const int64_t at = row % batch.context * half;
    kernels().rotate(x + row * heads.count * dim, heads.count, dim, 2 * half, &heads.rotary->cosine[at],
                     &heads.rotary->sine[at], inverse);
  }
}

// Positions rows [first, first + count) of a projection; with a norm, raw holds its input and x receives the result.
void position_heads(const Batch& batch, int64_t first, int64_t count, const Heads& heads, float* raw, float* x) {
  const int64_t n = heads.count * batch.config.head_dim;
  if (heads.norm != nullptr) {
    const NormRows rows = norm_rows(batch.config, count, heads.count);
    kernels().rms_norm(raw + first * n, heads.norm, rows.count, rows.size, batch.config.rms_eps, x + first * n);
  }
  rotate(batch, first, count, heads, x, false);
}

// The transpose of position_heads on gradients, in place of dx.
void position_heads_backward(const Batch& batch, int64_t first, int64_t count, const Heads& heads, const float* raw,
                             float* dx) {
  const int64_t n = heads.count * batch.config.head_dim;
  rotate(batch, first, count, heads, dx, true);
  if (heads.norm != nullptr) {
    const NormRows rows = norm_rows(batch.config, count, heads.count);
    kernels().rms_norm_backward(raw + first * n, heads.norm, dx + first * n, nullptr, rows.count, rows.size,
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

// The last projection of a half, with what becomes of it before it joins the residual stream.
struct HalfOutput {
  const float *weight, *bias;
  const float* norm;  // null: none
  float scale;
  bool plain() const { return norm == nullptr && scale == 1.0f; }
};

float residual_scale(const LanguageModelConfig& c) {
  return c.residual_scale > 0 ? static_cast<float>(c.residual_scale) : 1.0f;
}
HalfOutput attention_output(const LanguageModelConfig& c, const LayerWeights& w) {
  return {w.o, w.o_bias, w.attention_output_norm, residual_scale(c)};
}
HalfOutput mlp_output(const LanguageModelConfig& c, const LayerWeights& w) {
  return {w.down, w.down_bias, w.mlp_output_norm, residual_scale(c)};
}

// y = residual + scale * norm(x W^T + bias); y may be residual. `kept` [rows, hidden] receives the norm's input,
// scratch of as many floats is used when it is null.
void join(const Batch& batch, const HalfOutput& half, const float* x, int64_t in, const float* residual, int64_t rows,
          float* kept, float* scratch, float* y) {
  const int64_t hidden = batch.config.hidden;
  if (half.plain()) return project_residual(batch, x, half.weight, half.bias, residual, rows, in, hidden, y);
  float* raw = kept != nullptr ? kept : scratch;
  project(batch, x, half.weight, half.bias, rows, in, hidden, raw);
  float* normed = raw;
  if (half.norm != nullptr) {
    normed = scratch;
    kernels().rms_norm(raw, half.norm, rows, hidden, batch.config.rms_eps, normed);
  }
  if (y != residual) std::copy_n(residual, rows * hidden, y);
  for (int64_t i = 0; i < rows * hidden; ++i) y[i] += half.scale * normed[i];
}

// d [rows, hidden] = the gradient of the projection's result, given dy of the half's.
void join_backward(const Batch& batch, const HalfOutput& half, const float* raw, const float* dy, int64_t rows,
                   float* d) {
  const int64_t hidden = batch.config.hidden;
  std::copy_n(dy, rows * hidden, d);
  if (half.scale != 1.0f) kernels().scale(half.scale, rows * hidden, d);
  if (half.norm != nullptr) {
    kernels().rms_norm_backward(raw, half.norm, d, nullptr, rows, hidden, batch.config.rms_eps, d);
  }
}

NormWeights norm_before_attention(const LayerWeights& w) { return {w.input_norm, w.input_norm_bias}; }
NormWeights norm_before_mlp(const LayerWeights& w) { return {w.post_attention_norm, w.post_attention_norm_bias}; }

void attend(const Batch& batch, const LayerWeights& w, const LayerState& s) {
  const LanguageModelConfig& c = batch.config;
  batch.for_each(batch.sequences * c.kv_heads, [&](int64_t i, int32_t slot) {
    const int64_t sequence = i / c.kv_heads, row = sequence * batch.context;
    attention_forward(batch, w.traits.window, i % c.kv_heads, s.q + row * batch.q_size(), s.k + row * batch.kv_size(),
                      s.v + row * batch.kv_size(), s.attended + row * batch.q_size(),
                      s.lse == nullptr ? nullptr : s.lse + row * c.heads,
                      batch.scratch(slot, attention_scratch(batch)));
  });
}

void attend_backward(const Batch& batch, const LayerWeights& w, const LayerState& s, const BackwardScratch& shared) {
  const LanguageModelConfig& c = batch.config;
  batch.for_each(batch.sequences * c.kv_heads, [&](int64_t i, int32_t slot) {
    const int64_t sequence = i / c.kv_heads, row = sequence * batch.context;
    const int64_t q_at = row * batch.q_size(), kv_at = row * batch.kv_size();
    attention_backward(batch, w.traits.window, i % c.kv_heads, s.q + q_at, s.k + kv_at, s.v + kv_at, s.attended + q_at,
                       s.lse + row * c.heads, shared.d_attended + q_at, shared.dk + kv_at, shared.dv + kv_at,
                       batch.scratch(slot, attention_scratch(batch)));
  });
}

// Floats a row of what the halves give, when backward needs it.
int64_t output_floats(const LanguageModelConfig& c) { return c.norm_after ? c.hidden : 0; }
// The same of gradients that differ from those of the residual stream.
bool outputs_differ(const LanguageModelConfig& c) { return c.norm_after || residual_scale(c) != 1.0f; }

}  // namespace

int64_t state_floats(const LanguageModelConfig& c, bool backward) {
  const int64_t q = static_cast<int64_t>(c.heads) * c.head_dim, kv = static_cast<int64_t>(c.kv_heads) * c.head_dim;
  const int64_t raw = c.qk_norm ? q + kv : 0, gates = c.plain_mlp ? 1 : 2;
  const int64_t always = c.hidden + raw + 2 * q + 2 * kv;
  return backward ? always + c.heads + c.hidden + gates * c.intermediate + 2 * output_floats(c) : always;
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
    s.gate = c.plain_mlp ? nullptr : take(c.intermediate);
    s.up = take(c.intermediate);
    s.attention_output = c.norm_after ? take(c.hidden) : nullptr;
    s.mlp_output = c.norm_after ? take(c.hidden) : nullptr;
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
    norm(batch.config, norm_before_attention(w), x + first * hidden, count, hidden, out + first * hidden);
  });
}

void mlp_input(const Batch& batch, const LayerWeights& w, const float* middle, float* out) {
  const int64_t hidden = batch.config.hidden;
  batch.for_rows([&](int64_t first, int64_t count, int32_t) {
    norm(batch.config, norm_before_mlp(w), middle + first * hidden, count, hidden, out + first * hidden);
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
    norm(c, norm_before_attention(w), s.x + first * hidden, count, hidden, normed);
    project(batch, normed, w.q, w.q_bias, count, hidden, q_size, q_raw + first * q_size);
    project(batch, normed, w.k, w.k_bias, count, hidden, kv_size, k_raw + first * kv_size);
    project(batch, normed, w.v, w.v_bias, count, hidden, kv_size, s.v + first * kv_size);
    position_heads(batch, first, count, heads_of(batch, w, false), q_raw, s.q);
    position_heads(batch, first, count, heads_of(batch, w, true), k_raw, s.k);
  });
  attend(batch, w, s);
  if (!project_output) return;
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    float* kept = s.attention_output == nullptr ? nullptr : s.attention_output + first * hidden;
    join(batch, attention_output(c, w), s.attended + first * q_size, q_size, s.x + first * hidden, count, kept,
         batch.scratch(slot, count * hidden), s.middle + first * hidden);
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
    norm(c, norm_before_mlp(w), middle, count, hidden, normed);
    if (c.plain_mlp) {
      gate = nullptr;
    } else {
      project(batch, normed, w.gate, w.gate_bias, count, hidden, inner, gate);
    }
    project(batch, normed, w.up, w.up_bias, count, hidden, inner, up);
    kernels().activate(c.activation, gate, up, count * inner, act);
    if (out == nullptr) return;
    float* kept = s.mlp_output == nullptr ? nullptr : s.mlp_output + first * hidden;
    // The normalised input has done its work: its place in the scratch is free.
    join(batch, mlp_output(c, w), act, inner, middle, count, kept, scratch, out + first * hidden);
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
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, inner = c.intermediate, q_size = batch.q_size(), kv_size = batch.kv_size();
  const bool differ = outputs_differ(c);
  const float* d_mlp = differ ? shared.d_mlp : dy;
  const float* d_attention = differ ? shared.d_attention : shared.d_middle;
  const auto kept = [&](const float* output, int64_t first) {
    return output == nullptr ? nullptr : output + first * hidden;
  };
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    float* gate = s.gate == nullptr ? nullptr : s.gate + first * inner;
    float* up = s.up + first * inner;
    float* d_act = batch.scratch(slot, count * (inner + hidden));
    float* d_normed = d_act + count * inner;
    if (differ) {
      join_backward(batch, mlp_output(c, w), kept(s.mlp_output, first), dy + first * hidden, count,
                    shared.d_mlp + first * hidden);
    }
    batch.linear_backward(d_mlp + first * hidden, w.down, count, inner, hidden, false, d_act);
    kernels().activate_backward(c.activation, d_act, count * inner, gate, up, shared.act + first * inner);
    batch.linear_backward(up, w.up, count, hidden, inner, false, d_normed);
    if (gate != nullptr) batch.linear_backward(gate, w.gate, count, hidden, inner, true, d_normed);
    const float* middle = s.middle + first * hidden;
    norm(c, norm_before_mlp(w), middle, count, hidden, shared.mlp_input + first * hidden);
    float* d_middle = shared.d_middle + first * hidden;
    norm_backward(c, norm_before_mlp(w), middle, d_normed, dy + first * hidden, count, hidden, d_middle);
    if (differ) {
      join_backward(batch, attention_output(c, w), kept(s.attention_output, first), d_middle, count,
                    shared.d_attention + first * hidden);
    }
    batch.linear_backward(d_attention + first * hidden, w.o, count, q_size, hidden, false,
                          shared.d_attended + first * q_size);
  });
  attend_backward(batch, w, s, shared);
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    float* dq = shared.d_attended + first * q_size;
    position_heads_backward(batch, first, count, heads_of(batch, w, false), s.q_raw, shared.d_attended);
    position_heads_backward(batch, first, count, heads_of(batch, w, true), s.k_raw, shared.dk);
    float* d_normed = batch.scratch(slot, count * hidden);
    batch.linear_backward(dq, w.q, count, hidden, q_size, false, d_normed);
    batch.linear_backward(shared.dk + first * kv_size, w.k, count, hidden, kv_size, true, d_normed);
    batch.linear_backward(shared.dv + first * kv_size, w.v, count, hidden, kv_size, true, d_normed);
    const float* x = s.x + first * hidden;
    norm(c, norm_before_attention(w), x, count, hidden, shared.attention_input + first * hidden);
    norm_backward(c, norm_before_attention(w), x, d_normed, shared.d_middle + first * hidden, count, hidden,
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
       gradient(3, d_attention, s.attended, hidden, q_size), gradient(4, s.gate, shared.mlp_input, inner, hidden),
       gradient(5, s.up, shared.mlp_input, inner, hidden), gradient(6, d_mlp, shared.act, hidden, inner)});
}

}  // namespace lq::lm
