// Elementwise and row-wise kernels of the transformer, compiled once for each instruction set and chosen once at run
// time as ../kernels are.
//
// Row-major [rows, n]; pointers may alias only where a comment says "in place". All are single-threaded: the model
// hands them row ranges.
#pragma once

#include <cstdint>

#include "lq/language_model.h"

namespace lq::lm {

// Running log-sum-exp over pieces of a row.
struct LogSumExp {
  float maximum;
  double sum;  // of exp(x - maximum)
};
constexpr LogSumExp kEmptyLogSumExp{-3.0e38f, 0.0};
double value(const LogSumExp& state);

// The same of x beside another row y: the log-sum-exp of x, and the sum of exp(x - maximum) (x - y).
struct RunningDivergence {
  LogSumExp first;
  double weighted;
};

// Parameters of the clamped activation.
struct Clamp {
  float limit, alpha;
};

// Every row of y [rows, n] becomes bias, or 0 when bias is null.
void fill_rows(const float* bias, int64_t rows, int64_t n, float* y);

struct Kernels {
  // out = x / sqrt(mean(x^2) + eps) * weight, by rows.
  void (*rms_norm)(const float* x, const float* weight, int64_t rows, int64_t n, float eps, float* out);

  // dx = residual + d(rms_norm)/dx applied to dy; residual null is 0. dx may be residual or dy.
  void (*rms_norm_backward)(const float* x, const float* weight, const float* dy, const float* residual, int64_t rows,
                            int64_t n, float eps, float* dx);

  // out = (x - mean) / sqrt(variance + eps) * weight + bias, by rows.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, int64_t rows, int64_t n, float eps,
                     float* out);
  // As rms_norm_backward.
  void (*layer_norm_backward)(const float* x, const float* weight, const float* dy, const float* residual, int64_t rows,
                              int64_t n, float eps, float* dx);

  // Rotary embedding of the first `rotated` dimensions of every head of one row, in place, half-split layout: pairs are
  // (i, i + rotated/2). cosine and sine are [rotated/2] of the row's position; the inverse rotation (the transpose) is
  // `inverse`.
  void (*rotate)(float* row, int64_t heads, int64_t dim, int64_t rotated, const float* cosine, const float* sine,
                 bool inverse);

  // The same of pairs (2i, 2i + 1).
  void (*rotate_pairs)(float* row, int64_t heads, int64_t dim, int64_t rotated, const float* cosine, const float* sine,
                       bool inverse);

  // out = f(gate) * up, or f(up) when gate is null; out may be up.
  void (*activate)(Activation f, const float* gate, const float* up, int64_t n, float* out);

  // In place: gate (unless null) and up become their gradients; act becomes what activate gives. d is the gradient of
  // act.
  void (*activate_backward)(Activation f, const float* d, int64_t n, float* gate, float* up, float* act);

  // The same of clamped experts: out = (u + 1) g sigmoid(alpha g), g = min(gate, limit), u = up within the limit.
  void (*activate_clamped)(Clamp clamp, const float* gate, const float* up, int64_t n, float* out);
  void (*activate_clamped_backward)(Clamp clamp, const float* d, int64_t n, float* gate, float* up, float* act);

  // x becomes cap tanh(x / cap), in place.
  void (*soft_cap)(float* x, int64_t n, float cap);
  // d *= 1 - (capped / cap)^2, the slope of soft_cap at what gave `capped`.
  void (*soft_cap_backward)(const float* capped, int64_t n, float cap, float* d);

  // x *= scale.
  void (*scale)(float scale, int64_t n, float* x);

  // y += x.
  void (*add)(const float* x, int64_t n, float* y);

  // y += g^2.
  void (*add_square)(const float* g, int64_t n, float* y);

  // Sum of x y.
  double (*dot)(const float* x, const float* y, int64_t n);

  // Softmax of s[begin, end) in place, zero elsewhere in [0, n); returns log(sum(exp(s))).
  float (*softmax_range)(float* s, int64_t begin, int64_t end, int64_t n);

  // s[begin, end) becomes exp(s - lse), zero elsewhere in [0, n), in place.
  void (*softmax_again)(float* s, int64_t begin, int64_t end, int64_t n, float lse);

  // ds = p * (dp - delta) * scale, in place of dp.
  void (*softmax_backward)(const float* p, float delta, float scale, int64_t n, float* dp);

  // Adds a piece of a row to a running log-sum-exp.
  void (*accumulate)(const float* x, int64_t n, LogSumExp* state);

  // Adds pieces of two rows to a running divergence.
  void (*accumulate_divergence)(const float* x, const float* y, int64_t n, RunningDivergence* state);

  // x becomes exp(x - lse) * scale, in place: the gradient of cross entropy but for the target's -scale.
  void (*scaled_softmax)(float* x, int64_t n, float lse, float scale);
};

// Those of the instruction set cpu::isa() chose.
const Kernels& kernels();

namespace baseline {
extern const Kernels table;
}
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}

}  // namespace lq::lm
