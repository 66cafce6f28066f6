// What happens to the pairs of a routed layer between products: rows of tokens gathered by expert, the nonlinearity of
// experts, and what they give added up by token. Sorted pairs and their weights are those of lm/routing.h.
#pragma once

#include "lm/planes.h"
#include "lm/routing.h"
#include "lq/language_model.h"

namespace lq::cuda {

// out [count, width] in planes = rows of x, in planes too, of the sorted pairs [first, first + count); times their
// weights where `weights` [pairs] is given.
void gather(const Stream& stream, const Operand& x, const int32_t* by_expert, int top_k, const float* weights,
            int64_t count, const Planes& out);

// The gates of `rows` pairs, values [rows, gate | up], or of tokens, and what they are read with.
struct ExpertGates {
  Activation function;
  float limit, alpha;  // limit 0: the function; else clamped (MoeConfig)
  const void* values;
  const float* bias;     // [experts, gate | up], or null
  const int32_t* owner;  // [rows], the expert of each; null: the first
  int64_t rows, inner;
};

// act [rows, inner].
void activate_experts(const Stream& stream, const ExpertGates& gates, const Planes& act);

// Of f(gates) down' + bias times a weight a row: d_act (values) is the gradient of what is weighed with respect to act.
// Leaves that of the gates and act, both times the weight, and d_weights, that of the weight. `index` [rows] says where
// a row's weight is, null: at its own place; null weights are 1, and then d_weights is left alone.
struct Weighed {
  const float* weights;
  const int32_t* index;
  float* d_weights;
  // [rows, hidden], the gradient of what is weighed, and a bias of it [experts, hidden]; null: no bias
  Operand d;
  const float* down_bias;
  int64_t hidden;
};
void activate_experts_backward(const Stream& stream, const ExpertGates& gates, const void* d_act,
                               const Weighed& weighed, const Planes& d_gates, const Planes& act);

// Where sums over a token's pairs go: out [rows, hidden] = onto + scale times the sum; onto null: 0, or out itself.
struct PairSum {
  int64_t rows, hidden;
  float scale;
  const float* onto;
  float* out;
};
// The sums over each token's pairs of weight (y + bias); y [pairs, hidden] (values) is sorted, weights null: 1, bias
// [experts, hidden] null: 0.
void add_pairs(const Stream& stream, const Routes& routes, int top_k, const float* weights, const float* bias,
               int planes, const void* y, const PairSum& sum);

// d_weights [pairs] = inner products of y [pairs, hidden] (values), sorted, and the token's row of x.
void dot_pairs(const Stream& stream, const Routes& routes, int top_k, const Operand& x, const void* y, int64_t rows,
               int64_t hidden, float* d_weights);

// open [rows] = sigmoid of the product of each row of x and gate [hidden].
void open_gate(const Stream& stream, const Operand& x, const float* gate, int64_t rows, int64_t hidden, float* open);
// x [rows, width] *= factors [rows].
void scale_rows(const Stream& stream, const float* factors, int64_t rows, int64_t width, float* x);
// dx [rows, hidden] += d_open open (1 - open) gate.
void open_gate_backward(const Stream& stream, const float* gate, const float* open, const float* d_open, int64_t rows,
                        int64_t hidden, float* dx);

}  // namespace lq::cuda
