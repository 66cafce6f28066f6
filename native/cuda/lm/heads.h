// What happens to queries, keys and values between their projection and attention: biases, clamping, norms of queries
// and keys, rotation.
#pragma once

#include "lm/planes.h"
#include "lm/shape.h"

namespace lq::cuda {

// Cosines and sines [context, half] on the device: pairs (i, i + half) of a head turn, what is beyond them stays.
struct Rotary {
  const float *cosine, *sine;
  int64_t half;
};

struct Positions {
  const Shape& shape;
  int64_t context;
  const Rotary* rotary;  // null: nothing turns
  const float* bias;     // [qkv], or null
  // Weights of norms: [head], or [q] and [kv] where heads have their own or are normalised together; null without.
  // Their biases, null without.
  const float *q_norm, *k_norm, *q_norm_bias, *k_norm_bias;
  float* sums;  // [rows, 4], scratch of norms over all heads together; else unused
};

// raw, values [rows, qkv], becomes qkv in planes. They may be one array when values are bf16.
void position_heads(const Stream& stream, const Positions& positions, int64_t rows, const void* raw, const Planes& qkv);

// Gradient d [rows, qkv] (values) of the result becomes that of raw, in planes; they may be one array likewise.
void position_heads_backward(const Stream& stream, const Positions& positions, int64_t rows, const void* raw,
                             const void* d, const Planes& out);

}  // namespace lq::cuda
