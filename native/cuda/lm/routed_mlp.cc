#include "lm/routed_mlp.h"

#include <algorithm>

#include "lm/activation.h"
#include "lm/experts.h"
#include "lm/residual.h"

namespace lq::cuda {
namespace {

Router router_of(const BatchContext& b, const BlockWeights& w, const ExpertState& s) {
  return {b.shape.config.moe, s.logits, w.router_bias.get(), w.router_correction.get(), b.rows(), b.shape.experts};
}

// The sorted pairs of an expert.
struct Pairs {
  int32_t expert;
  int64_t first, count;
};
// Calls work(batch, pairs) for every expert that has some, with a batch whose products run beside those of others.
template <typename Work>
void for_experts(const BatchContext& b, const ExpertState& s, const Work& work) {
  b.queues->spread(b.stream, b.shape.config.moe.experts, [&](const ExpertQueues::Queue& queue, int64_t e) {
    const int64_t first = (*s.begin)[e], count = (*s.begin)[e + 1] - first;
    if (count > 0) work(b.on(queue), Pairs{static_cast<int32_t>(e), first, count});
  });
}

void* value_row(const BatchContext& b, void* values, int64_t row, int64_t width) {
  return static_cast<uint8_t*>(values) + row * width * (b.values_bf16() ? 2 : 4);
}

ExpertGates gates_of_experts(const BatchContext& b, const BlockWeights& w, const ExpertState& s, int64_t inner) {
  const MoeConfig& m = b.shape.config.moe;
  return {b.shape.config.mlp.activation,
          static_cast<float>(m.clamp_limit),
          static_cast<float>(m.clamp_alpha),
          s.gates,
          w.expert_gates_bias.get(),
          s.routes.owner,
          b.rows() * m.top_k,
          inner};
}

// Of the MLP that all tokens go through.
ExpertGates gates_of_shared(const BatchContext& b, const BlockWeights& w, const BlockState& s, int64_t inner) {
  return {b.shape.config.mlp.activation, 0.0f, 0.0f, s.gates, w.gates_bias.get(), nullptr, b.rows(), inner};
}

// Rows of every expert times its matrix' (or its matrix), [pairs, inner] to values [pairs, cols]. cuBLAS has one call
// for all, whose kernels are Ampere's: on an H100 it takes half as long again as a call for each.
struct ExpertProduct {
  StackedMatrix ExpertWeights::*matrix;
  bool transposed;
  int64_t inner, cols;
};
void multiply_experts(const BatchContext& b, const BlockWeights& w, const ExpertState& s, const ExpertProduct& p,
                      const Operand& a, void* out) {
  const auto work = [&](const BatchContext& on, const Pairs& pairs) {
    const Target to{value_row(b, out, pairs.first, p.cols), p.cols, b.values_bf16(), false};
    const StackedMatrix& matrix = w.experts[pairs.expert].*p.matrix;
    const Operand rows = a.from_row(pairs.first);
    if (p.transposed) return multiply(on, rows, pairs.count, matrix, p.inner, to);
    on.products.times(rows, matrix.operand(), pairs.count, p.cols, p.inner, to);
  };
  const bool packed = std::any_of(w.experts.begin(), w.experts.end(),
                                  [&](const ExpertWeights& expert) { return (expert.*p.matrix).workspace != nullptr; });
  if (!packed) return for_experts(b, s, work);
  // Packed matrices are of one stream and share the memory they are expanded into: their experts take turns.
  for (int32_t e = 0; e < b.shape.config.moe.experts; ++e) {
    const int64_t first = (*s.begin)[e], count = (*s.begin)[e + 1] - first;
    if (count > 0) work(b, Pairs{e, first, count});
  }
}

// Routes, and what experts read and what they make of it, as far as their activation's input.
void route_and_project(const BatchContext& b, const BlockWeights& w, const Planes& normed, const ExpertState& s) {
  const MoeConfig& m = b.shape.config.moe;
  const Shape z = b.shape.of_expert();
  route_rows(b, w, normed, s);
  gather(b.stream, normed.operand(z.hidden), s.routes.by_expert, m.top_k, m.scale_input ? s.routes.weights : nullptr,
         b.rows() * m.top_k, s.x);
  await_routes(b, s);
  multiply_experts(b, w, s, {&ExpertWeights::gates, true, z.hidden, z.gates}, s.x.operand(z.hidden), s.gates);
}

}  // namespace

ExpertState place_experts(const BatchContext& b, bool backward, Arena* arena) {
  const LanguageModelConfig& c = b.shape.config;
  ExpertState s{};
  if (c.moe.experts == 0) return s;
  const Shape z = b.shape.of_expert();
  const int64_t rows = b.rows(), pairs = rows * c.moe.top_k, value = b.values_bf16() ? 2 : 4;
  const auto words = [&](int64_t count) {
    return static_cast<int32_t*>(arena->bytes(count * static_cast<int64_t>(sizeof(int32_t))));
  };
  s.begin = std::make_shared<std::vector<int64_t>>(c.moe.experts + 1, 0);
  s.logits = arena->floats(rows * z.experts);
  s.routes = {words(pairs), arena->floats(pairs), words(c.moe.experts), words(c.moe.experts * route_chunks(pairs)),
              words(pairs), words(pairs),         words(pairs)};
  s.x = arena->planes(pairs * z.hidden, b.planes);
  s.gates = arena->bytes(pairs * z.gates * value);
  s.act = arena->planes(pairs * z.inner, b.planes);
  s.y = arena->bytes(pairs * z.hidden * value);
  s.sum = arena->floats(rows * z.hidden);
  s.open = arena->floats(rows);
  if (!backward) return s;
  s.begins = words(c.moe.experts * (b.sequences + 1));
  s.d = arena->planes(pairs * z.hidden, b.planes);
  s.d_act = arena->bytes(pairs * z.inner * value);
  s.d_gates = arena->planes(pairs * z.gates, b.planes);
  s.d_weights = arena->floats(pairs);
  s.d_open = arena->floats(rows);
  s.d_logits = arena->planes(rows * z.experts, b.planes);
  return s;
}

void route_rows(const BatchContext& b, const BlockWeights& w, const Planes& normed, const ExpertState& s) {
  const int64_t hidden = b.shape.hidden, experts = b.shape.config.moe.experts;
  multiply(b, normed.operand(hidden), b.rows(), w.router, hidden, {s.logits, b.shape.experts, false, false});
  route(b.stream, router_of(b, w, s), s.routes);
  b.queues->fetch_counts(b.stream, s.routes.counts, experts);
}

void await_routes(const BatchContext& b, const ExpertState& s) {
  const int32_t* counts = b.queues->counts();
  for (int64_t e = 0; e < b.shape.config.moe.experts; ++e) (*s.begin)[e + 1] = (*s.begin)[e] + counts[e];
}

void weigh_rows(const BatchContext& b, const BlockWeights& w, const Planes& normed, const ExpertState& s,
                int32_t expert) {
  const int64_t hidden = b.shape.hidden, first = (*s.begin)[expert], count = (*s.begin)[expert + 1] - first;
  multiply(b, normed.operand(hidden), b.rows(), w.router, hidden, {s.logits, b.shape.experts, false, false});
  lone_weights(b.stream, router_of(b, w, s), s.routes.by_expert + first, expert, count, s.routes.weights);
}

Planes expert_input(const BatchContext& b, const BlockWeights& w, const Planes& normed, const ExpertState& s,
                    int32_t expert, bool down) {
  const MoeConfig& m = b.shape.config.moe;
  const Shape z = b.shape.of_expert();
  const int64_t first = (*s.begin)[expert], count = (*s.begin)[expert + 1] - first;
  gather(b.stream, normed.operand(z.hidden), s.routes.by_expert + first, m.top_k,
         m.scale_input ? s.routes.weights : nullptr, count, s.x);
  if (!down || count == 0) return down ? s.act : s.x;
  multiply(b, s.x.operand(z.hidden), count, w.experts[expert].gates, z.hidden,
           {s.gates, z.gates, b.values_bf16(), false});
  ExpertGates gates = gates_of_experts(b, w, s, z.inner);
  gates.rows = count;
  gates.owner = nullptr;
  if (gates.bias != nullptr) gates.bias += expert * z.gates;
  activate_experts(b.stream, gates, s.act);
  return s.act;
}

void forward_routed_mlp(const BatchContext& b, const BlockWeights& w, const BlockState& s, float* out) {
  const Shape z = b.shape.of(w.traits), ez = b.shape.of_expert();
  const MoeConfig& m = b.shape.config.moe;
  const int64_t rows = b.rows(), hidden = z.hidden;
  const ExpertState& x = s.experts;
  const bool shared = w.traits.width > 0;
  if (shared) {
    multiply(b, s.middle_normed.operand(hidden), rows, w.gates, hidden, {s.gates, z.gates, b.values_bf16(), false});
    activate_experts(b.stream, gates_of_shared(b, w, s, z.inner), s.act);
  }
  if (out == nullptr) return;
  float* sum = b.shape.keeps_outputs() ? s.mlp_output : x.sum;
  // Without a norm of what the half gives it joins the stream as it is added up.
  const bool joins = !b.shape.keeps_outputs() && !shared;
  if (shared) {
    multiply(b, s.act.operand(z.inner), rows, w.down, z.inner, {sum, hidden, false, false});
    if (w.down_bias.get() != nullptr) add_bias(b.stream, w.down_bias.get(), rows, hidden, sum);
    if (w.shared_gate.get() != nullptr) {
      open_gate(b.stream, s.middle_normed.operand(hidden), w.shared_gate.get(), rows, hidden, x.open);
      scale_rows(b.stream, x.open, rows, hidden, sum);
    }
  }
  route_and_project(b, w, s.middle_normed, x);
  activate_experts(b.stream, gates_of_experts(b, w, x, ez.inner), x.act);
  multiply_experts(b, w, x, {&ExpertWeights::down, true, ez.inner, hidden}, x.act.operand(ez.inner), x.y);
  const PairSum to = joins ? PairSum{rows, hidden, b.shape.residual_scale(), s.middle, out}
                           : PairSum{rows, hidden, 1.0f, shared ? sum : nullptr, sum};
  add_pairs(b.stream, x.routes, m.top_k, m.scale_input ? nullptr : x.routes.weights, w.expert_down_bias.get(), b.planes,
            x.y, to);
  if (joins) return;
  add_normalized(b.stream, norm_of(b.shape, w.mlp_output_norm, w.mlp_output_norm_bias), sum, rows,
                 b.shape.residual_scale(), s.middle, out);
}

void backward_routed_mlp(const BatchContext& b, const BlockWeights& w, const BlockState& s, const BackwardState& t,
                         const Operand& d_out, const float* dy, const BlockAccumulators& accumulators) {
  const Shape z = b.shape.of(w.traits), ez = b.shape.of_expert();
  const MoeConfig& m = b.shape.config.moe;
  const int64_t rows = b.rows(), hidden = z.hidden, experts = b.shape.experts;
  const bool bf16 = b.values_bf16();
  const ExpertState& x = s.experts;
  const Operand normed = s.middle_normed.operand(hidden);
  float* d_normed = x.sum;
  const auto square = [&](size_t matrix, const Operand& d, const Operand& of, int64_t out, int64_t in) {
    if (accumulators.own[matrix] == nullptr) return;
    b.products.add_squared_gradients(d, of, out, in, b.sequences, b.context, accumulators.own[matrix]);
  };
  if (w.traits.width > 0) {
    const Operand d_gates = t.d_gates.operand(z.gates);
    b.products.times(d_out, w.down.operand(), rows, z.inner, hidden, {t.d_act, z.inner, bf16, false});
    const bool gated = w.shared_gate.get() != nullptr;
    if (gated) open_gate(b.stream, normed, w.shared_gate.get(), rows, hidden, x.open);
    activate_experts_backward(b.stream, gates_of_shared(b, w, s, z.inner), t.d_act,
                              {gated ? x.open : nullptr, nullptr, x.d_open, d_out, w.down_bias.get(), hidden},
                              t.d_gates, s.act);
    square(6, d_out, s.act.operand(z.inner), hidden, z.inner);
    square(4, d_gates, normed, z.inner, hidden);
    square(5, d_gates.from_column(z.inner), normed, z.inner, hidden);
    b.products.times(d_gates, w.gates.operand(), rows, hidden, z.gates, {d_normed, hidden, false, false});
    if (gated) open_gate_backward(b.stream, w.shared_gate.get(), x.open, x.d_open, rows, hidden, d_normed);
  }

  route_and_project(b, w, s.middle_normed, x);
  const Router router = router_of(b, w, x);
  gather(b.stream, d_out, x.routes.by_expert, m.top_k, nullptr, rows * m.top_k, x.d);
  const Operand d = x.d.operand(hidden);
  multiply_experts(b, w, x, {&ExpertWeights::down, false, hidden, ez.inner}, d, x.d_act);
  // The input was weighed where the weights are, and then they are not met here.
  activate_experts_backward(b.stream, gates_of_experts(b, w, x, ez.inner), x.d_act,
                            {m.scale_input ? nullptr : x.routes.weights, x.routes.by_expert, x.d_weights, d,
                             w.expert_down_bias.get(), hidden},
                            x.d_gates, x.act);
  const Operand d_gates = x.d_gates.operand(ez.gates), act = x.act.operand(ez.inner), of = x.x.operand(hidden);
  sequence_begins(b.stream, router, x.routes, b.sequences, b.context, x.begins);
  multiply_experts(b, w, x, {&ExpertWeights::gates, false, ez.gates, hidden}, d_gates, x.y);
  const auto square_experts = [&](const BatchContext& on, const Pairs& p) {
    const Operand d_gate = d_gates.from_row(p.first), in = of.from_row(p.first);
    const auto add = [&](size_t matrix, const Operand& left, const Operand& right, int64_t out, int64_t in_width) {
      float* to = accumulators.experts[p.expert][matrix];
      if (to == nullptr) return;
      on.products.add_squared_gradients(left, right, out, in_width, b.sequences,
                                        x.begins + p.expert * (b.sequences + 1), to);
    };
    add(6, d.from_row(p.first), act.from_row(p.first), hidden, ez.inner);
    add(4, d_gate, in, ez.inner, hidden);
    add(5, d_gate.from_column(ez.inner), in, ez.inner, hidden);
  };
  if (!accumulators.experts.empty()) for_experts(b, x, square_experts);
  if (m.scale_input) dot_pairs(b.stream, x.routes, m.top_k, normed, x.y, rows, hidden, x.d_weights);
  add_pairs(b.stream, x.routes, m.top_k, m.scale_input ? x.routes.weights : nullptr, nullptr, b.planes, x.y,
            {rows, hidden, 1.0f, w.traits.width > 0 ? d_normed : nullptr, d_normed});
  route_backward(b.stream, router, x.routes, x.d_weights, x.d_logits, experts);
  b.products.times(x.d_logits.operand(experts), w.router.operand(), rows, hidden, experts,
                   {d_normed, hidden, false, true});
  normalize_backward(b.stream, norm_of(b.shape, w.post_attention_norm, w.post_attention_norm_bias), s.middle, rows,
                     {d_normed, false, 1.0f, dy, t.d_residual}, t.d_middle);
}

}  // namespace lq::cuda
