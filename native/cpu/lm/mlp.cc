#include "lm/mlp.h"

#include <algorithm>

#include "lm/half.h"
#include "lm/kernels.h"
#include "lm/norm.h"
#include "lm/routed_mlp.h"

namespace lq::lm {
namespace {

// Columns of gate and up at a time: what becomes of them stays in a core's cache. No multiple of a power of two that
// would lay rows over one another there.
constexpr int64_t kColumns = 480;

// What the half reads: what attention made of the block's input, or that itself.
const float* mlp_source(const LanguageModelConfig& c, const LayerState& s) {
  return c.attention.parallel ? s.x : s.middle;
}

}  // namespace

void mlp_input(const Batch& batch, const LayerWeights& w, const float* x, float* out) {
  const int64_t hidden = batch.config.hidden;
  batch.for_rows([&](int64_t first, int64_t count, int32_t) {
    norm(batch.config, norm_before_mlp(batch.config, w), x + first * hidden, count, hidden, out + first * hidden);
  });
}

void forward_mlp(const Batch& batch, const LayerWeights& w, const LayerState& s, const LayerInputs& inputs,
                 float* out) {
  if (w.traits.routed) return forward_routed_mlp(batch, w, s, inputs, out);
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, inner = w.traits.width;
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    const float* middle = s.middle + first * hidden;
    const float* x = mlp_source(c, s) + first * hidden;
    float* scratch = batch.scratch(slot, count * (hidden + 2 * kColumns));
    float* normed = inputs.mlp != nullptr ? inputs.mlp + first * hidden : scratch;
    float* gate = c.mlp.plain ? nullptr : scratch + count * hidden;
    float* up = scratch + count * (hidden + kColumns);
    norm(c, norm_before_mlp(c, w), x, count, hidden, normed);
    const Batch::Input input = batch.input(normed, count, hidden);
    const Batch::Pieces act = batch.pieces(count, inner);
    for (int64_t from = 0; from < inner; from += kColumns) {
      const int64_t width = std::min(kColumns, inner - from);
      const auto keep = [&](const float* piece, float* whole) {
        for (int64_t i = 0; whole != nullptr && i < count; ++i) {
          std::copy_n(piece + i * width, width, whole + (first + i) * inner + from);
        }
      };
      if (gate != nullptr) {
        project(batch, input, w.gate, w.gate_bias, inner, {from, width}, gate);
        keep(gate, s.gate);
      }
      project(batch, input, w.up, w.up_bias, inner, {from, width}, up);
      keep(up, s.up);
      kernels().activate(c.mlp.activation, gate, up, count * width, up);
      keep(up, inputs.down);
      if (out != nullptr) act.set(from, width, up);
    }
    if (out == nullptr) return;
    float* kept = s.mlp_output == nullptr ? nullptr : s.mlp_output + first * hidden;
    // The normalised input has done its work: its place in the scratch is free.
    join(batch, mlp_output(c, w), act.whole(), middle, kept, scratch, out + first * hidden);
  });
}

void backward_mlp(const Batch& batch, const LayerWeights& w, const LayerState& s, const BackwardScratch& shared,
                  const float* dy, const LayerSums& sums, std::vector<GradientFactors>* gradients) {
  if (w.traits.routed) return backward_routed_mlp(batch, w, s, shared, dy, sums, gradients);
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, inner = w.traits.width;
  const bool differ = outputs_differ(c);
  const float* d_mlp = differ ? shared.d_mlp : dy;
  const float* d_residual = c.norms.of_sum ? d_mlp : dy;
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    float* gate = s.gate == nullptr ? nullptr : s.gate + first * inner;
    float* up = s.up + first * inner;
    float* d_act = batch.scratch(slot, count * (inner + hidden));
    float* d_normed = d_act + count * inner;
    if (differ) {
      join_backward(batch, mlp_output(c, w), s.mlp_output == nullptr ? nullptr : s.mlp_output + first * hidden,
                    dy + first * hidden, count, shared.d_mlp + first * hidden);
    }
    batch.linear_backward(d_mlp + first * hidden, w.down, count, inner, hidden, false, d_act);
    kernels().activate_backward(c.mlp.activation, d_act, count * inner, gate, up, shared.act + first * inner);
    batch.linear_backward(up, w.up, count, hidden, inner, false, d_normed);
    if (gate != nullptr) batch.linear_backward(gate, w.gate, count, hidden, inner, true, d_normed);
    const float* x = mlp_source(c, s) + first * hidden;
    norm(c, norm_before_mlp(c, w), x, count, hidden, shared.mlp_input + first * hidden);
    norm_backward(c, norm_before_mlp(c, w), x, d_normed, d_residual + first * hidden, count, hidden,
                  shared.d_middle + first * hidden);
  });
  add_gradient(sums, c, {inner, hidden}, WeightKind::gate, s.gate, shared.mlp_input, gradients);
  add_gradient(sums, c, {inner, hidden}, WeightKind::up, s.up, shared.mlp_input, gradients);
  add_gradient(sums, c, {hidden, inner}, WeightKind::down, d_mlp, shared.act, gradients);
}

}  // namespace lq::lm
