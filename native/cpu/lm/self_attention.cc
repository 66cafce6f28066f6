#include "lm/self_attention.h"

#include <algorithm>

#include "lm/attention.h"
#include "lm/half.h"
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

}  // namespace

void attention_input(const Batch& batch, const LayerWeights& w, const float* x, float* out) {
  const int64_t hidden = batch.config.hidden;
  batch.for_rows([&](int64_t first, int64_t count, int32_t) {
    norm(batch.config, norm_before_attention(w), x + first * hidden, count, hidden, out + first * hidden);
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

void backward_attention(const Batch& batch, const LayerWeights& w, const LayerState& s, const BackwardScratch& shared,
                        float* dx, const LayerSums& sums, std::vector<GradientFactors>* gradients) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, q_size = batch.q_size(), kv_size = batch.kv_size();
  const bool differ = outputs_differ(c);
  const float* d_attention = differ ? shared.d_attention : shared.d_middle;
  batch.for_rows([&](int64_t first, int64_t count, int32_t) {
    if (differ) {
      join_backward(batch, attention_output(c, w),
                    s.attention_output == nullptr ? nullptr : s.attention_output + first * hidden,
                    shared.d_middle + first * hidden, count, shared.d_attention + first * hidden);
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
  add_gradient(sums, c, WeightKind::q, shared.d_attended, shared.attention_input, gradients);
  add_gradient(sums, c, WeightKind::k, shared.dk, shared.attention_input, gradients);
  add_gradient(sums, c, WeightKind::v, shared.dv, shared.attention_input, gradients);
  add_gradient(sums, c, WeightKind::o, d_attention, s.attended, gradients);
}

}  // namespace lq::lm
