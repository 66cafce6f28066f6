#include "lm/routed_mlp.h"

#include <algorithm>
#include <cmath>

#include "lm/experts.h"
#include "lm/half.h"
#include "lm/kernels.h"
#include "lm/norm.h"

namespace lq::lm {
namespace {

// How much of what the shared expert gives is taken for a token.
float openness(const LayerWeights& w, const float* normed, int64_t hidden) {
  return static_cast<float>(1.0 / (1.0 + std::exp(-kernels().dot(normed, w.shared_gate, hidden))));
}

}  // namespace

void forward_routed_mlp(const Batch& batch, const LayerWeights& w, const LayerState& s, const LayerInputs& inputs,
                        float* out) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, inner = w.traits.width;
  float* normed = inputs.mlp != nullptr ? inputs.mlp : batch.shared(Shared::normed, batch.rows() * hidden);
  batch.for_rows([&](int64_t first, int64_t count, int32_t) {
    norm(c, norm_before_mlp(c, w), s.middle + first * hidden, count, hidden, normed + first * hidden);
  });
  Routing routing;
  float* pairs = nullptr;
  if (out != nullptr) {
    routing = route(batch, w, normed);
    pairs = batch.shared(Shared::pairs, batch.rows() * c.moe.top_k * hidden);
    forward_experts(batch, routing, w.experts, normed, inputs.experts, pairs);
  }
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    const float* x = normed + first * hidden;
    float* scratch = batch.scratch(slot, count * (hidden + 3 * inner));
    float* raw = scratch;
    if (inner == 0) {
      std::fill_n(raw, count * hidden, 0.0f);
    } else {
      float* act = inputs.down != nullptr ? inputs.down + first * inner : scratch + count * hidden;
      float* gate = s.gate != nullptr ? s.gate + first * inner : scratch + count * (hidden + inner);
      float* up = s.up != nullptr ? s.up + first * inner : scratch + count * (hidden + 2 * inner);
      const Batch::Input input = batch.input(x, count, hidden);
      project(batch, input, w.gate, w.gate_bias, inner, gate);
      project(batch, input, w.up, w.up_bias, inner, up);
      kernels().activate(c.mlp.activation, gate, up, count * inner, act);
      if (out == nullptr) return;
      project(batch, act, w.down, w.down_bias, count, inner, hidden, raw);
      for (int64_t i = 0; i < count && w.shared_gate != nullptr; ++i) {
        kernels().scale(openness(w, x + i * hidden, hidden), hidden, raw + i * hidden);
      }
    }
    if (out == nullptr) return;
    add_pairs(batch, routing, pairs, first, count, raw);
    float* kept = s.mlp_output == nullptr ? nullptr : s.mlp_output + first * hidden;
    join_raw(batch, mlp_output(c, w), s.middle + first * hidden, count, kept, raw, out + first * hidden);
  });
}

void backward_routed_mlp(const Batch& batch, const LayerWeights& w, const LayerState& s, const BackwardScratch& shared,
                         const float* dy, const LayerSums& sums, std::vector<GradientFactors>* gradients) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, inner = w.traits.width, rows = batch.rows();
  const float* d_mlp = outputs_differ(c) ? shared.d_mlp : dy;
  batch.for_rows([&](int64_t first, int64_t count, int32_t) {
    if (outputs_differ(c)) {
      join_backward(batch, mlp_output(c, w), s.mlp_output == nullptr ? nullptr : s.mlp_output + first * hidden,
                    dy + first * hidden, count, shared.d_mlp + first * hidden);
    }
    norm(c, norm_before_mlp(c, w), s.middle + first * hidden, count, hidden, shared.mlp_input + first * hidden);
  });
  const Routing routing = route(batch, w, shared.mlp_input);
  float* pairs = batch.shared(Shared::pairs, rows * c.moe.top_k * hidden);
  float* d_weights = batch.shared(Shared::pair_weights, rows * c.moe.top_k);
  backward_experts(batch, routing, w.experts, shared.mlp_input, d_mlp,
                   sums.experts.empty() ? nullptr : sums.experts.data(), pairs, d_weights);
  float* d_shared = w.shared_gate != nullptr ? batch.shared(Shared::gradient, rows * hidden) : nullptr;
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    const float* x = shared.mlp_input + first * hidden;
    float* d_normed = batch.scratch(slot, count * (hidden + std::max(inner, route_scratch(c))));
    float* scratch = d_normed + count * hidden;
    std::fill_n(d_normed, count * hidden, 0.0f);
    if (inner > 0) {
      float *gate = s.gate + first * inner, *up = s.up + first * inner, *act = shared.act + first * inner;
      const float* d_out = d_mlp + first * hidden;
      batch.linear_backward(d_out, w.down, count, inner, hidden, false, scratch);
      kernels().activate_backward(c.mlp.activation, scratch, count * inner, gate, up, act);
      for (int64_t i = 0; i < count && w.shared_gate != nullptr; ++i) {
        const float open = openness(w, x + i * hidden, hidden);
        double d_open = kernels().dot(scratch + i * inner, act + i * inner, inner);
        if (w.down_bias != nullptr) d_open += kernels().dot(d_out + i * hidden, w.down_bias, hidden);
        const auto d_logit = static_cast<float>(d_open) * open * (1.0f - open);
        kernels().scale(open, inner, gate + i * inner);
        kernels().scale(open, inner, up + i * inner);
        float* d_down = d_shared + (first + i) * hidden;
        for (int64_t j = 0; j < hidden; ++j) {
          d_down[j] = open * d_out[i * hidden + j];
          d_normed[i * hidden + j] += d_logit * w.shared_gate[j];
        }
      }
      batch.linear_backward(gate, w.gate, count, hidden, inner, true, d_normed);
      batch.linear_backward(up, w.up, count, hidden, inner, true, d_normed);
    }
    add_pairs(batch, routing, pairs, first, count, d_normed);
    route_backward(batch, w.router, routing, d_weights, first, count, scratch, d_normed);
    norm_backward(c, norm_before_mlp(c, w), s.middle + first * hidden, d_normed, dy + first * hidden, count, hidden,
                  shared.d_middle + first * hidden);
  });
  if (inner == 0) return;
  add_gradient(sums, c, {inner, hidden}, WeightKind::gate, s.gate, shared.mlp_input, gradients);
  add_gradient(sums, c, {inner, hidden}, WeightKind::up, s.up, shared.mlp_input, gradients);
  add_gradient(sums, c, {hidden, inner}, WeightKind::down, d_shared != nullptr ? d_shared : d_mlp, shared.act,
               gradients);
}

}  // namespace lq::lm
