// The stages between products. Activations that feed a product are planes (lm/product.h); what a product leaves is a
// "value" array: fp32 when activations have two planes, bf16 when they have one. Rows are dense at their padded width.
#pragma once

#include "lm/product.h"
#include "lm/shape.h"

namespace lq::cuda {

// A device array in planes that a stage writes.
struct Planes {
  uint16_t* data;
  int64_t plane;  // elements from one plane to the next
  int count;

  Operand operand(int64_t stride) const { return {data, stride, plane, count}; }
};

// x [rows, hidden] = rows of the embedding table [vocab, hidden].
void embed(const Stream& stream, const Operand& table, const int32_t* tokens, int64_t rows, int64_t hidden, float* x);

// out = weight * x / rms(x), where the mean of squares is over the first n of `width` columns.
void rms_norm(const Stream& stream, const float* x, const float* weight, int64_t rows, int64_t n, int64_t width,
              float eps, const Planes& out);

// Gradient of rms_norm's input plus residual (may be null): fp32 dx and the same in planes. dy is fp32 or bf16.
void rms_norm_backward(const Stream& stream, const float* x, const float* weight, const void* dy, bool dy_bf16,
                       const float* residual, int64_t rows, int64_t n, int64_t width, float eps, float* dx,
                       const Planes& out);

// Biases, head norms (both may be null) and rotation of a row [q | k | v].
struct Positions {
  const Shape& shape;
  int64_t context;
  const float* cosine;  // [context, head_dim / 2]
  const float* sine;
  const float* bias;    // [qkv]
  const float* q_norm;  // [head]
  const float* k_norm;
};
// raw, values [rows, qkv], becomes qkv in planes. They may be one array when values are bf16.
void position_heads(const Stream& stream, const Positions& positions, int64_t rows, const void* raw, const Planes& qkv);
// Gradient d [rows, qkv] (values) of the result becomes that of raw, in planes; they may be one array likewise.
void position_heads_backward(const Stream& stream, const Positions& positions, int64_t rows, const void* raw,
                             const void* d, const Planes& out);

// act [rows, inner] = silu(gate) up of values [rows, gate | up]; bias [gate | up] or null.
void swiglu(const Stream& stream, const void* gate_up, const float* bias, int64_t rows, int64_t inner,
            const Planes& act);
// From the gradient of act (values): that of gate and up, and act again.
void swiglu_backward(const Stream& stream, const void* gate_up, const float* bias, const void* d_act, int64_t rows,
                     int64_t inner, const Planes& d_gate_up, const Planes& act);

// x [rows, width] += bias [width].
void add_bias(const Stream& stream, const float* bias, int64_t rows, int64_t width, float* x);

// out = x in planes, count a multiple of 2.
void split(const Stream& stream, const float* x, int64_t count, const Planes& out);

// Running log-sum-exp of each row of logits, and its target's logit, over pieces of the vocabulary.
struct CrossEntropy {
  float* top;     // [rows]
  float* sum;     // [rows]
  float* target;  // [rows]
};
// Adds logits [rows, width of stride] of the words [begin, begin + width); the first piece has begin 0.
void add_logits(const Stream& stream, const float* logits, int64_t stride, const int32_t* targets, int64_t rows,
                int64_t begin, int64_t width, const CrossEntropy& state);
// What two models' logits of the same words give, row by row, over pieces of the vocabulary: cross entropies of both,
// the sum of exp(first - its top) (first - second), and the first words with the largest logits.
struct RunningDivergence {
  CrossEntropy first, second;
  float* weighted;                    // [rows]
  int32_t *first_word, *second_word;  // [rows]
};
// Adds logits of both sides, each [rows, width of stride]; the first piece has begin 0.
void add_divergence(const Stream& stream, const float* first, const float* second, int64_t stride,
                    const int32_t* targets, int64_t rows, int64_t begin, int64_t width, const RunningDivergence& state);

// Gradient of the mean cross entropy of context - 1 predictions in planes [rows, stride], zero for rows without a
// target.
void cross_entropy_backward(const Stream& stream, const float* logits, int64_t stride, const int32_t* targets,
                            int64_t rows, int64_t begin, int64_t width, float scale, const CrossEntropy& state,
                            const Planes& out);

}  // namespace lq::cuda
