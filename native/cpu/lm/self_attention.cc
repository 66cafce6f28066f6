#include "lm/self_attention.h"

#include <algorithm>
#include <cmath>

#include "lm/attention.h"
#include "lm/half.h"
#include "lm/kernels.h"
#include "lm/norm.h"

namespace lq::lm {
namespace {

// Queries or keys of a layer: how many heads, how they are normalised, how they turn.
struct Heads {
  int64_t count;
  NormWeights norm;           // null: none
  const RotaryTable* rotary;  // null: none
  const QueryGrowth* growth;  // null: none
};

Heads heads_of(const Batch& batch, const LayerWeights& w, bool keys) {
  const LanguageModelConfig& c = batch.config;
  const RotaryTable* rotary = w.traits.rotary == LayerRotary::none    ? nullptr
                              : w.traits.rotary == LayerRotary::local ? &batch.local_rotary
                                                                      : &batch.rotary;
  const QueryGrowth& g = c.attention.growth;
  const bool grows = g.rate != 0 && (rotary == nullptr || !g.unrotated);
  return keys ? Heads{c.kv_heads, {w.k_norm, w.k_norm_bias}, rotary, nullptr}
              : Heads{c.heads, {w.q_norm, w.q_norm_bias}, rotary, grows ? &g : nullptr};
}

// Calls fn(row of `rows` rows of `size`, their number, the norm) for what a norm of heads is of, in rows of all heads:
// each head alike, all of them together, or each head with its own weight.
template <typename Fn>
void for_norms(const LanguageModelConfig& c, int64_t rows, const Heads& heads, const Fn& fn) {
  const int64_t dim = c.head_dim, n = heads.count * dim;
  switch (c.attention.head_norm) {
    case HeadNorm::each:
    case HeadNorm::bare:
    case HeadNorm::rotated:
    case HeadNorm::layer:
      return fn(int64_t{0}, rows * heads.count, dim, heads.norm);
    case HeadNorm::together:
      return fn(int64_t{0}, rows, n, heads.norm);
    case HeadNorm::layer_own:
      for (int64_t i = 0; i < rows * heads.count; ++i) {
        const int64_t at = i % heads.count * dim;
        fn(i * dim, int64_t{1}, dim, NormWeights{heads.norm.weight + at, heads.norm.bias + at});
      }
  }
}

void rotate(const Batch& batch, int64_t first, int64_t count, const Heads& heads, float* x, bool inverse) {
  if (heads.rotary == nullptr) return;
  const int64_t dim = batch.config.head_dim, half = heads.rotary->half;
  const auto turn = batch.config.rotary.interleaved ? kernels().rotate_pairs : kernels().rotate;
  for (int64_t row = first; row < first + count; ++row) {
    const int64_t at = row % batch.context * half;
    turn(x + row * heads.count * dim, heads.count, dim, 2 * half, &heads.rotary->cosine[at], &heads.rotary->sine[at],
         inverse);
  }
}

// Multiplies rows of queries by what they have grown to at their position; the transpose is the same.
void grow(const Batch& batch, int64_t first, int64_t count, const Heads& heads, float* x) {
  if (heads.growth == nullptr) return;
  const int64_t n = heads.count * batch.config.head_dim;
  for (int64_t row = first; row < first + count; ++row) {
    kernels().scale(static_cast<float>(growth_at(*heads.growth, row % batch.context)), n, x + row * n);
  }
}

// Cuts n values to [-limit, limit].
void clamp(float limit, int64_t n, float* x) {
  for (int64_t i = 0; i < n; ++i) x[i] = std::clamp(x[i], -limit, limit);
}
// Nothing flows through what was cut.
void clamp_backward(float limit, const float* clamped, int64_t n, float* d) {
  for (int64_t i = 0; i < n; ++i) {
    if (std::fabs(clamped[i]) >= limit) d[i] = 0.0f;
  }
}

// Positions rows [first, first + count) of a projection: x receives what becomes of raw, which may be x when nothing of
// it is needed later. Backward needs what the norm reads, which raw is left as.
void position_heads(const Batch& batch, int64_t first, int64_t count, const Heads& heads, float* raw, float* x) {
  const LanguageModelConfig& c = batch.config;
  const int64_t n = heads.count * c.head_dim;
  if (c.attention.clamp > 0) clamp(static_cast<float>(c.attention.clamp), count * n, raw + first * n);
  const bool turned_first = c.attention.head_norm == HeadNorm::rotated;
  if (turned_first) rotate(batch, first, count, heads, raw, false);
  if (heads.norm.weight != nullptr) {
    for_norms(c, count, heads, [&](int64_t at, int64_t rows, int64_t size, const NormWeights& w) {
      norm(c, w, raw + first * n + at, rows, size, x + first * n + at);
    });
  } else if (raw != x) {
    std::copy_n(raw + first * n, count * n, x + first * n);
  }
  if (!turned_first) rotate(batch, first, count, heads, x, false);
  grow(batch, first, count, heads, x);
}

// The transpose of position_heads on gradients, in place of dx.
void position_heads_backward(const Batch& batch, int64_t first, int64_t count, const Heads& heads, const float* raw,
                             float* dx) {
  const LanguageModelConfig& c = batch.config;
  const int64_t n = heads.count * c.head_dim;
  const bool turned_first = c.attention.head_norm == HeadNorm::rotated;
  grow(batch, first, count, heads, dx);
  if (!turned_first) rotate(batch, first, count, heads, dx, true);
  if (heads.norm.weight != nullptr) {
    for_norms(c, count, heads, [&](int64_t at, int64_t rows, int64_t size, const NormWeights& w) {
      float* d = dx + first * n + at;
      norm_backward(c, w, raw + first * n + at, d, nullptr, rows, size, d);
    });
  }
  if (turned_first) rotate(batch, first, count, heads, dx, true);
  if (c.attention.clamp > 0) {
    clamp_backward(static_cast<float>(c.attention.clamp), raw + first * n, count * n, dx + first * n);
  }
}

AttentionPattern pattern_of(const LayerWeights& w) { return {w.traits.window, w.sinks}; }

void attend(const Batch& batch, const LayerWeights& w, const LayerState& s) {
  const LanguageModelConfig& c = batch.config;
  batch.for_each(batch.sequences * c.kv_heads, [&](int64_t i, int32_t slot) {
    const int64_t sequence = i / c.kv_heads, row = sequence * batch.context;
    attention_forward(batch, pattern_of(w), i % c.kv_heads, s.q + row * batch.q_size(), s.k + row * batch.kv_size(),
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
    attention_backward(batch, pattern_of(w), i % c.kv_heads, s.q + q_at, s.k + kv_at, s.v + kv_at, s.attended + q_at,
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
    const Batch::Input input = batch.input(normed, count, hidden);
    project(batch, input, w.q, w.q_bias, q_size, q_raw + first * q_size);
    project(batch, input, w.k, w.k_bias, kv_size, k_raw + first * kv_size);
    project(batch, input, w.v, w.v_bias, kv_size, s.v + first * kv_size);
    if (c.attention.clamp > 0) clamp(static_cast<float>(c.attention.clamp), count * kv_size, s.v + first * kv_size);
    position_heads(batch, first, count, heads_of(batch, w, false), q_raw, s.q);
    position_heads(batch, first, count, heads_of(batch, w, true), k_raw, s.k);
  });
  attend(batch, w, s);
  if (!project_output) return;
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    float* kept = s.attention_output == nullptr ? nullptr : s.attention_output + first * hidden;
    join(batch, attention_output(c, w), batch.input(s.attended + first * q_size, count, q_size), s.x + first * hidden,
         kept, batch.scratch(slot, count * hidden), s.middle + first * hidden);
  });
}

void backward_attention(const Batch& batch, const LayerWeights& w, const LayerState& s, const BackwardScratch& shared,
                        const float* dy, float* dx, const LayerSums& sums, std::vector<GradientFactors>* gradients) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, q_size = batch.q_size(), kv_size = batch.kv_size();
  const bool differ = outputs_differ(c);
  // What reaches the half from above, and goes past it.
  const float* d_joined = c.attention.parallel ? dy : shared.d_middle;
  const float* d_attention = differ ? shared.d_attention : d_joined;
  const float* d_residual = c.norms.of_sum ? d_attention : shared.d_middle;
  batch.for_rows([&](int64_t first, int64_t count, int32_t) {
    if (differ) {
      join_backward(batch, attention_output(c, w),
                    s.attention_output == nullptr ? nullptr : s.attention_output + first * hidden,
                    d_joined + first * hidden, count, shared.d_attention + first * hidden);
    }
    batch.linear_backward(d_attention + first * hidden, w.o, count, q_size, hidden, false,
                          shared.d_attended + first * q_size);
  });
  attend_backward(batch, w, s, shared);
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    float* dq = shared.d_attended + first * q_size;
    if (c.attention.clamp > 0) {
      clamp_backward(static_cast<float>(c.attention.clamp), s.v + first * kv_size, count * kv_size,
                     shared.dv + first * kv_size);
    }
    position_heads_backward(batch, first, count, heads_of(batch, w, false), s.q_raw, shared.d_attended);
    position_heads_backward(batch, first, count, heads_of(batch, w, true), s.k_raw, shared.dk);
    float* d_normed = batch.scratch(slot, count * hidden);
    batch.linear_backward(dq, w.q, count, hidden, q_size, false, d_normed);
    batch.linear_backward(shared.dk + first * kv_size, w.k, count, hidden, kv_size, true, d_normed);
    batch.linear_backward(shared.dv + first * kv_size, w.v, count, hidden, kv_size, true, d_normed);
    const float* x = s.x + first * hidden;
    norm(c, norm_before_attention(w), x, count, hidden, shared.attention_input + first * hidden);
    norm_backward(c, norm_before_attention(w), x, d_normed, d_residual + first * hidden, count, hidden,
                  dx + first * hidden);
  });
  add_gradient(sums, c, {q_size, hidden}, WeightKind::q, shared.d_attended, shared.attention_input, gradients);
  add_gradient(sums, c, {kv_size, hidden}, WeightKind::k, shared.dk, shared.attention_input, gradients);
  add_gradient(sums, c, {kv_size, hidden}, WeightKind::v, shared.dv, shared.attention_input, gradients);
  add_gradient(sums, c, {hidden, q_size}, WeightKind::o, d_attention, s.attended, gradients);
}

}  // namespace lq::lm
