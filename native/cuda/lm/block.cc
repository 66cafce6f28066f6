#include "lm/block.h"

#include "lm/activation.h"
#include "lm/residual.h"
#include "lm/routed_mlp.h"

namespace lq::cuda {
namespace {

int64_t value_bytes(const BatchContext& b) { return b.values_bf16() ? 2 : 4; }

Positions positions_of(const BatchContext& b, const BlockWeights& w, const BlockState& s) {
  const Rotary* rotary = w.traits.rotary == LayerRotary::none    ? nullptr
                         : w.traits.rotary == LayerRotary::local ? &b.local_rotary
                                                                 : &b.rotary;
  return {b.shape,
          b.context,
          rotary,
          w.qkv_bias.get(),
          w.q_norm.get(),
          w.k_norm.get(),
          w.q_norm_bias.get(),
          w.k_norm_bias.get(),
          s.head_sums};
}
Attention attention_of(const BatchContext& b, const BlockWeights& w, const BlockState& s) {
  return {b.shape, w.traits.window, b.slopes, w.sinks.get(), b.sequences, b.context, s.qkv.operand(b.shape.qkv)};
}
Gates gates_of(const BatchContext& b, const BlockWeights& w, const BlockState& s) {
  const LanguageModelConfig& c = b.shape.config;
  return {c.mlp.activation, !c.mlp.plain, s.gates, w.gates_bias.get(), b.rows(), b.shape.of(w.traits).inner};
}
Norm attention_norm(const BatchContext& b, const BlockWeights& w) {
  return norm_of(b.shape, w.input_norm, w.input_norm_bias);
}
Norm mlp_norm(const BatchContext& b, const BlockWeights& w) {
  if (b.shape.config.attention.shared_norm) return attention_norm(b, w);
  return norm_of(b.shape, w.post_attention_norm, w.post_attention_norm_bias);
}

// What the MLP reads: what attention made of the block's input, or that itself.
float* mlp_source(const BatchContext& b, const BlockState& s) {
  return b.shape.config.attention.parallel ? s.x : s.middle;
}

// The last product of a half, and what becomes of its result before it joins the residual stream.
struct Half {
  const StackedMatrix& weight;
  const DeviceBuffer<float>& bias;
  const DeviceBuffer<float>&norm, &norm_bias;  // empty: none
  float* output;                               // where the result is kept; null where it joins plainly
  int64_t inner;
};
Half attention_half(const BatchContext& b, const BlockWeights& w, const BlockState& s) {
  return {w.o, w.o_bias, w.attention_output_norm, w.attention_output_norm_bias, s.attention_output, b.shape.q};
}
Half mlp_half(const BatchContext& b, const BlockWeights& w, const BlockState& s) {
  return {w.down, w.down_bias, w.mlp_output_norm, w.mlp_output_norm_bias, s.mlp_output, b.shape.of(w.traits).inner};
}

// out = residual + scale * norm(x weight' + bias), or norm(residual + x weight' + bias); out may be residual.
void join(const BatchContext& b, const Half& half, const Operand& x, const float* residual, float* out) {
  const int64_t hidden = b.shape.hidden, count = b.rows() * hidden;
  const auto copy = [&](float* to) {
    check(cudaMemcpyAsync(to, residual, static_cast<size_t>(count) * sizeof(float), cudaMemcpyDeviceToDevice,
                          b.stream.get()),
          "copying on the device");
  };
  if (b.shape.config.norms.of_sum) {
    copy(half.output);
    multiply(b, x, b.rows(), half.weight, half.inner, {half.output, hidden, false, true});
    if (half.bias.get() != nullptr) add_bias(b.stream, half.bias.get(), b.rows(), hidden, half.output);
    return add_normalized(b.stream, norm_of(b.shape, half.norm, half.norm_bias), half.output, b.rows(), 1.0f, nullptr,
                          out);
  }
  if (half.output != nullptr) {
    multiply(b, x, b.rows(), half.weight, half.inner, {half.output, hidden, false, false});
    if (half.bias.get() != nullptr) add_bias(b.stream, half.bias.get(), b.rows(), hidden, half.output);
    return add_normalized(b.stream, norm_of(b.shape, half.norm, half.norm_bias), half.output, b.rows(),
                          b.shape.residual_scale(), residual, out);
  }
  if (out != residual) copy(out);
  if (half.bias.get() != nullptr) add_bias(b.stream, half.bias.get(), b.rows(), hidden, out);
  multiply(b, x, b.rows(), half.weight, half.inner, {out, hidden, false, true});
}

// The gradient of the product's result, given that of the half's, dy [rows, hidden] and its planes; with norms of sums
// that is the gradient of the residual too, and dy becomes it.
Operand join_backward(const BatchContext& b, const Half& half, float* dy, const Planes& dy_planes,
                      const Planes& d_output) {
  const int64_t hidden = b.shape.hidden;
  if (half.output == nullptr) return dy_planes.operand(hidden);
  normalize_backward(b.stream, norm_of(b.shape, half.norm, half.norm_bias), half.output, b.rows(),
                     {dy, false, b.shape.residual_scale(), nullptr, b.shape.config.norms.of_sum ? dy : nullptr},
                     d_output);
  return d_output.operand(hidden);
}

}  // namespace

void multiply(const BatchContext& b, const Operand& x, int64_t rows, const StackedMatrix& weight, int64_t inner,
              Target out) {
  for (const StackedMatrix::Part& part : weight.parts) {
    if (part.packed) {
      part.packed->times_transposed(b.products, x, rows, out, b.workspace);
    } else {
      b.products.times_transposed(x, part.operand, rows, part.rows, inner, out);
    }
    out.data = static_cast<uint8_t*>(out.data) + part.rows * (out.bf16 ? 2 : 4);
  }
}

BlockState place_block(const BatchContext& b, bool backward, Arena* arena) {
  const int64_t rows = b.rows(), hidden = b.shape.hidden, inner = b.shape.inner;
  const LanguageModelConfig& c = b.shape.config;
  const bool in_place = b.values_bf16() && !(backward && b.shape.keeps_raw());
  BlockState s{};
  s.x = arena->floats(rows * hidden);
  s.normed = arena->planes(rows * hidden, b.planes);
  s.qkv = arena->planes(rows * b.shape.qkv, b.planes);
  s.raw = in_place ? s.qkv.data : arena->bytes(rows * b.shape.qkv * value_bytes(b));
  s.head_sums = b.shape.norms_together() ? arena->floats(rows * 4) : nullptr;
  s.attended = arena->planes(rows * b.shape.q, b.planes);
  s.lse = arena->floats(rows * c.heads);
  s.middle = backward || c.attention.parallel ? arena->floats(rows * hidden) : s.x;
  s.middle_normed = backward ? arena->planes(rows * hidden, b.planes) : s.normed;
  s.gates = arena->bytes(rows * b.shape.gates * value_bytes(b));
  s.act = arena->planes(rows * inner, b.planes);
  if (!b.shape.joins_plainly()) {
    s.attention_output = arena->floats(rows * hidden);
    s.mlp_output = backward && b.shape.keeps_outputs() ? arena->floats(rows * hidden) : s.attention_output;
  }
  return s;
}

BackwardState place_backward(const BatchContext& b, Arena* arena) {
  const int64_t rows = b.rows(), hidden = b.shape.hidden, inner = b.shape.inner;
  BackwardState s{};
  s.dy = arena->planes(rows * hidden, b.planes);
  s.d_middle = arena->planes(rows * hidden, b.planes);
  if (!b.shape.joins_plainly()) s.d_output = arena->planes(rows * hidden, b.planes);
  s.d_residual = arena->floats(rows * hidden);
  s.d_act = arena->bytes(rows * inner * value_bytes(b));
  s.d_gates = arena->planes(rows * b.shape.gates, b.planes);
  s.d_normed = arena->bytes(rows * hidden * value_bytes(b));
  s.d_attended = arena->planes(rows * b.shape.q, b.planes);
  s.d_attended_values = b.values_bf16() ? s.d_attended.data : arena->bytes(rows * b.shape.q * value_bytes(b));
  s.delta = arena->floats(rows * b.shape.config.heads);
  s.d_qkv = arena->planes(rows * b.shape.qkv, b.planes);
  s.d_qkv_values = b.values_bf16() ? s.d_qkv.data : arena->bytes(rows * b.shape.qkv * value_bytes(b));
  return s;
}

void attention_input(const BatchContext& b, const BlockWeights& w, const BlockState& s) {
  normalize(b.stream, attention_norm(b, w), s.x, b.rows(), s.normed);
}

void mlp_input(const BatchContext& b, const BlockWeights& w, const BlockState& s) {
  normalize(b.stream, mlp_norm(b, w), mlp_source(b, s), b.rows(), s.middle_normed);
}

void forward_attention(const BatchContext& b, const BlockWeights& w, const BlockState& s, bool project) {
  const Shape& z = b.shape;
  attention_input(b, w, s);
  multiply(b, s.normed.operand(z.hidden), b.rows(), w.qkv, z.hidden, {s.raw, z.qkv, b.values_bf16(), false});
  position_heads(b.stream, positions_of(b, w, s), b.rows(), s.raw, s.qkv);
  attention_forward(b.stream, attention_of(b, w, s), s.attended.data, s.attended.plane, s.lse);
  if (project) join(b, attention_half(b, w, s), s.attended.operand(z.q), s.x, s.middle);
}

void forward_mlp(const BatchContext& b, const BlockWeights& w, const BlockState& s, float* out) {
  mlp_input(b, w, s);
  if (w.traits.routed) return forward_routed_mlp(b, w, s, out);
  const Shape z = b.shape.of(w.traits);
  multiply(b, s.middle_normed.operand(z.hidden), b.rows(), w.gates, z.hidden,
           {s.gates, z.gates, b.values_bf16(), false});
  activate(b.stream, gates_of(b, w, s), s.act);
  if (out != nullptr) join(b, mlp_half(b, w, s), s.act.operand(z.inner), s.middle, out);
}

void forward_block(const BatchContext& b, const BlockWeights& w, const BlockState& s, float* out) {
  forward_attention(b, w, s, true);
  forward_mlp(b, w, s, out);
}

void fill_state(const BatchContext& b, const BlockWeights& w, const BlockState& s, float* scratch) {
  forward_attention(b, w, s, true);
  // Only a norm after the MLP makes backward read what it gave.
  forward_mlp(b, w, s, b.shape.keeps_outputs() ? scratch : nullptr);
}

void backward_block(const BatchContext& b, const BlockWeights& w, const BlockState& s, const BackwardState& t,
                    float* dy, const BlockAccumulators& accumulators) {
  const Shape z = b.shape.of(w.traits);
  const int64_t rows = b.rows(), hidden = z.hidden, inner = z.inner;
  const bool bf16 = b.values_bf16();
  const auto square = [&](size_t matrix, const Operand& d, const Operand& x, int64_t out, int64_t in) {
    if (accumulators.own[matrix] == nullptr) return;
    b.products.add_squared_gradients(d, x, out, in, b.sequences, b.context, accumulators.own[matrix]);
  };

  const Operand d_out = join_backward(b, mlp_half(b, w, s), dy, t.dy, t.d_output);
  if (w.traits.routed) {
    backward_routed_mlp(b, w, s, t, d_out, dy, accumulators);
  } else {
    const Operand d_gates = t.d_gates.operand(z.gates), middle_normed = s.middle_normed.operand(hidden);
    b.products.times(d_out, w.down.operand(), rows, inner, hidden, {t.d_act, inner, bf16, false});
    activate_backward(b.stream, gates_of(b, w, s), t.d_act, t.d_gates, s.act);
    square(6, d_out, s.act.operand(inner), hidden, inner);
    square(4, d_gates, middle_normed, inner, hidden);
    square(5, d_gates.from_column(z.gates - inner), middle_normed, inner, hidden);
    b.products.times(d_gates, w.gates.operand(), rows, hidden, z.gates, {t.d_normed, hidden, bf16, false});
    normalize_backward(b.stream, mlp_norm(b, w), mlp_source(b, s), rows, {t.d_normed, bf16, 1.0f, dy, t.d_residual},
                       t.d_middle);
  }

  // Beside the MLP, attention's output has the gradient of the block's.
  const bool parallel = z.config.attention.parallel;
  const Operand d_middle =
      join_backward(b, attention_half(b, w, s), parallel ? dy : t.d_residual, parallel ? t.dy : t.d_middle, t.d_output);
  square(3, d_middle, s.attended.operand(z.q), hidden, z.q);
  b.products.times(d_middle, w.o.operand(), rows, z.q, hidden, {t.d_attended_values, z.q, bf16, false});
  if (!bf16) split(b.stream, static_cast<const float*>(t.d_attended_values), rows * z.q, 1.0f, t.d_attended);
  attention_backward(b.stream, attention_of(b, w, s), s.attended.operand(z.q), t.d_attended.operand(z.q), s.lse,
                     t.delta, t.d_qkv_values);
  position_heads_backward(b.stream, positions_of(b, w, s), rows, s.raw, t.d_qkv_values, t.d_qkv);

  const Operand d_qkv = t.d_qkv.operand(z.qkv), normed = s.normed.operand(hidden);
  square(0, d_qkv, normed, z.q, hidden);
  square(1, d_qkv.from_column(z.q), normed, z.kv, hidden);
  square(2, d_qkv.from_column(z.q + z.kv), normed, z.kv, hidden);
  b.products.times(d_qkv, w.qkv.operand(), rows, hidden, z.qkv, {t.d_normed, hidden, bf16, false});
  normalize_backward(b.stream, attention_norm(b, w), s.x, rows, {t.d_normed, bf16, 1.0f, t.d_residual, dy}, t.dy);
}

}  // namespace lq::cuda
