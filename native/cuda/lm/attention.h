// Grouped-query attention, causal or in both directions, forward and backward, in tiles on tensor cores: scores are
// never stored, the log-sum-exp of each query is (FlashAttention, arXiv 2205.14135 and 2307.08691, written from the
// papers' algorithms).
#pragma once

#include "lm/product.h"
#include "lm/shape.h"

namespace lq::cuda {

// What both directions read. qkv rows are [q | k | v], rotated; `planes` of it say how accurate the arithmetic is.
struct Attention {
  const Shape& shape;
  int32_t window;  // tokens a query attends to, its own included; 0: all. In both directions, as many to either side
  const float* slopes;  // [heads]: slope * (position of the key - own one) is added to scores; null: none
  const float* sinks;   // [heads]: a further logit of each softmax, which attends to nothing; null: none
  int64_t sequences;
  int64_t context;
  Operand qkv;  // [sequences * context, shape.qkv]
};

// out [rows, shape.q] planes; lse [sequences, heads, context].
void attention_forward(const Stream& stream, const Attention& attention, uint16_t* out, int64_t out_plane, float* lse);

// d_qkv [rows, shape.qkv], fp32 with two planes and bf16 with one, from the gradient of out. delta [sequences, heads,
// context] is scratch.
void attention_backward(const Stream& stream, const Attention& attention, const Operand& out, const Operand& d_out,
                        const float* lse, float* delta, void* d_qkv);

}  // namespace lq::cuda
