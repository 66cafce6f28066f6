// The nonlinearity of an MLP: f(gate) up, or f(up) where there is no gate.
#pragma once

#include "lm/planes.h"
#include "lm/shape.h"

namespace lq::cuda {

// Values [rows, gate | up] or [rows, up], each `inner` wide, and their biases in the same order, or null.
struct Gates {
  Activation function;
  bool gated;
  const void* values;
  const float* bias;
  int64_t rows, inner;
};

// act [rows, inner].
void activate(const Stream& stream, const Gates& gates, const Planes& act);

// From the gradient of act (values): that of gate and up, laid out as they are, and act again.
void activate_backward(const Stream& stream, const Gates& gates, const void* d_act, const Planes& d_gates,
                       const Planes& act);

// out [rows, width] = f(x + bias), and, from the gradient d of that, the gradient of x; a null bias is 0.
void apply(const Stream& stream, Activation f, const float* x, const float* bias, int64_t rows, int64_t width,
           float* out);
void apply_backward(const Stream& stream, Activation f, const float* x, const float* bias, int64_t rows, int64_t width,
                    const float* d, const Planes& out);

}  // namespace lq::cuda
