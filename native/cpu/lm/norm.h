// The norms of a block by the kind the config names.
#pragma once

#include <algorithm>

#include "lm/batch.h"
#include "lm/kernels.h"

namespace lq::lm {

// Null weight: no norm, what comes in goes out. bias is of layer norms.
struct NormWeights {
  const float* weight = nullptr;
  const float* bias = nullptr;
};

inline void norm(const LanguageModelConfig& c, const NormWeights& w, const float* x, int64_t rows, int64_t n,
                 float* out) {
  if (w.weight == nullptr) {
    if (out != x) std::copy_n(x, rows * n, out);
  } else if (w.bias != nullptr) {
    kernels().layer_norm(x, w.weight, w.bias, rows, n, c.rms_eps, out);
  } else {
    kernels().rms_norm(x, w.weight, rows, n, c.rms_eps, out);
  }
}

// dx = residual + gradient of the norm's input; residual null is 0. dx may be residual or dy.
inline void norm_backward(const LanguageModelConfig& c, const NormWeights& w, const float* x, const float* dy,
                          const float* residual, int64_t rows, int64_t n, float* dx) {
  if (w.weight == nullptr) {
    if (residual == nullptr) {
      if (dx != dy) std::copy_n(dy, rows * n, dx);
    } else if (dx == dy) {
      kernels().add(residual, rows * n, dx);
    } else {
      if (dx != residual) std::copy_n(residual, rows * n, dx);
      kernels().add(dy, rows * n, dx);
    }
  } else if (w.bias != nullptr) {
    kernels().layer_norm_backward(x, w.weight, dy, residual, rows, n, c.rms_eps, dx);
  } else {
    kernels().rms_norm_backward(x, w.weight, dy, residual, rows, n, c.rms_eps, dx);
  }
}

}  // namespace lq::lm
