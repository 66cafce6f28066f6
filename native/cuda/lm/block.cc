#include "lm/block.h"

namespace lq::cuda {
namespace {

int64_t value_bytes(const BatchContext& b) { return b.values_bf16() ? 2 : 4; }

Positions positions_of(const BatchContext& b, const BlockWeights& w) {
  return {b.shape, b.context, b.cosine, b.sine, w.qkv_bias.get(), w.q_norm.get(), w.k_norm.get()};
}

// out [rows, stacked rows] = x [rows, inner] weight', or adds to it.
void multiply(const BatchContext& b, const Operand& x, const StackedMatrix& weight, int64_t inner, Target out) {
  for (const StackedMatrix::Part& part : weight.parts) {
    if (part.packed) {
      part.packed->times_transposed(b.products, x, b.rows(), out, b.workspace);
    } else {
      b.products.times_transposed(x, part.operand, b.rows(), part.rows, inner, out);
    }
    out.data = static_cast<uint8_t*>(out.data) + part.rows * (out.bf16 ? 2 : 4);
  }
}

// out = residual + x weight' + bias; out may be residual.
void project_residual(const BatchContext& b, const Operand& x, const StackedMatrix& weight, const float* bias,
                      int64_t inner, const float* residual, float* out) {
  const int64_t hidden = b.shape.hidden, count = b.rows() * hidden;
  if (out != residual) {
    check(cudaMemcpyAsync(out, residual, static_cast<size_t>(count) * sizeof(float), cudaMemcpyDeviceToDevice,
                          b.stream.get()),
          "copying on the device");
  }
  if (bias != nullptr) add_bias(b.stream, bias, b.rows(), hidden, out);
  multiply(b, x, weight, inner, {out, hidden, false, true});
}

}  // namespace

BlockState place_block(const BatchContext& b, bool backward, Arena* arena) {
  const int64_t rows = b.rows(), hidden = b.shape.hidden, inner = b.shape.inner;
  const bool in_place = b.values_bf16() && !(backward && b.shape.config.qk_norm);
  BlockState s{};
  s.x = arena->floats(rows * hidden);
  s.normed = arena->planes(rows * hidden, b.planes);
  s.qkv = arena->planes(rows * b.shape.qkv, b.planes);
  s.raw = in_place ? s.qkv.data : arena->bytes(rows * b.shape.qkv * value_bytes(b));
  s.attended = arena->planes(rows * b.shape.q, b.planes);
  s.lse = arena->floats(rows * b.shape.config.heads);
  s.middle = backward ? arena->floats(rows * hidden) : s.x;
  s.middle_normed = backward ? arena->planes(rows * hidden, b.planes) : s.normed;
  s.gate_up = arena->bytes(rows * 2 * inner * value_bytes(b));
  s.act = arena->planes(rows * inner, b.planes);
  return s;
}

BackwardState place_backward(const BatchContext& b, Arena* arena) {
  const int64_t rows = b.rows(), hidden = b.shape.hidden, inner = b.shape.inner;
  BackwardState s{};
  s.dy = arena->planes(rows * hidden, b.planes);
  s.d_middle = arena->planes(rows * hidden, b.planes);
  s.d_residual = arena->floats(rows * hidden);
  s.d_act = arena->bytes(rows * inner * value_bytes(b));
  s.d_gate_up = arena->planes(rows * 2 * inner, b.planes);
  s.d_normed = arena->bytes(rows * hidden * value_bytes(b));
  s.d_attended = arena->planes(rows * b.shape.q, b.planes);
  s.d_attended_values = b.values_bf16() ? s.d_attended.data : arena->bytes(rows * b.shape.q * value_bytes(b));
  s.delta = arena->floats(rows * b.shape.config.heads);
  s.d_qkv = arena->planes(rows * b.shape.qkv, b.planes);
  s.d_qkv_values = b.values_bf16() ? s.d_qkv.data : arena->bytes(rows * b.shape.qkv * value_bytes(b));
  return s;
}

void forward_block(const BatchContext& b, const BlockWeights& w, const BlockState& s, float* out) {
  const Shape& z = b.shape;
  const int64_t rows = b.rows(), hidden = z.hidden, inner = z.inner;
  const int64_t n = z.config.hidden;
  const bool bf16 = b.values_bf16();
  rms_norm(b.stream, s.x, w.input_norm.get(), rows, n, hidden, z.config.rms_eps, s.normed);
  multiply(b, s.normed.operand(hidden), w.qkv, hidden, {s.raw, z.qkv, bf16, false});
  position_heads(b.stream, positions_of(b, w), rows, s.raw, s.qkv);
  attention_forward(b.stream, {z, b.sequences, b.context, s.qkv.operand(z.qkv)}, s.attended.data, s.attended.plane,
                    s.lse);
  project_residual(b, s.attended.operand(z.q), w.o, w.o_bias.get(), z.q, s.x, s.middle);
  rms_norm(b.stream, s.middle, w.post_attention_norm.get(), rows, n, hidden, z.config.rms_eps, s.middle_normed);
  multiply(b, s.middle_normed.operand(hidden), w.gate_up, hidden, {s.gate_up, 2 * inner, bf16, false});
  if (out == nullptr) return;
  swiglu(b.stream, s.gate_up, w.gate_up_bias.get(), rows, inner, s.act);
  project_residual(b, s.act.operand(inner), w.down, w.down_bias.get(), inner, s.middle, out);
}

void backward_block(const BatchContext& b, const BlockWeights& w, const BlockState& s, const BackwardState& t,
                    float* dy, const Accumulators& accumulators) {
  const Shape& z = b.shape;
  const int64_t rows = b.rows(), hidden = z.hidden, inner = z.inner, n = z.config.hidden;
  const bool bf16 = b.values_bf16();
  const auto square = [&](size_t matrix, const Operand& d, const Operand& x, int64_t out, int64_t in) {
    if (accumulators[matrix] == nullptr) return;
    b.products.add_squared_gradients(d, x, out, in, b.sequences, b.context, accumulators[matrix]);
  };

  const Operand d_out = t.dy.operand(hidden), d_gate_up = t.d_gate_up.operand(2 * inner);
  b.products.times(d_out, w.down.operand(), rows, inner, hidden, {t.d_act, inner, bf16, false});
  swiglu_backward(b.stream, s.gate_up, w.gate_up_bias.get(), t.d_act, rows, inner, t.d_gate_up, s.act);
  square(6, d_out, s.act.operand(inner), hidden, inner);
  square(4, d_gate_up, s.middle_normed.operand(hidden), inner, hidden);
  square(5, d_gate_up.from_column(inner), s.middle_normed.operand(hidden), inner, hidden);
  b.products.times(d_gate_up, w.gate_up.operand(), rows, hidden, 2 * inner, {t.d_normed, hidden, bf16, false});
  rms_norm_backward(b.stream, s.middle, w.post_attention_norm.get(), t.d_normed, bf16, dy, rows, n, hidden,
                    z.config.rms_eps, t.d_residual, t.d_middle);

  const Operand d_middle = t.d_middle.operand(hidden);
  square(3, d_middle, s.attended.operand(z.q), hidden, z.q);
  b.products.times(d_middle, w.o.operand(), rows, z.q, hidden, {t.d_attended_values, z.q, bf16, false});
  if (!bf16) split(b.stream, static_cast<const float*>(t.d_attended_values), rows * z.q, t.d_attended);
  attention_backward(b.stream, {z, b.sequences, b.context, s.qkv.operand(z.qkv)}, s.attended.operand(z.q),
                     t.d_attended.operand(z.q), s.lse, t.delta, t.d_qkv_values);
  position_heads_backward(b.stream, positions_of(b, w), rows, s.raw, t.d_qkv_values, t.d_qkv);

  const Operand d_qkv = t.d_qkv.operand(z.qkv), normed = s.normed.operand(hidden);
  square(0, d_qkv, normed, z.q, hidden);
  square(1, d_qkv.from_column(z.q), normed, z.kv, hidden);
  square(2, d_qkv.from_column(z.q + z.kv), normed, z.kv, hidden);
  b.products.times(d_qkv, w.qkv.operand(), rows, hidden, z.qkv, {t.d_normed, hidden, bf16, false});
  rms_norm_backward(b.stream, s.x, w.input_norm.get(), t.d_normed, bf16, t.d_residual, rows, n, hidden,
                    z.config.rms_eps, dy, t.dy);
}

}  // namespace lq::cuda
