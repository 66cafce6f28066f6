// Nonlinearities and their derivatives.
#pragma once

#include <cmath>

#include "lq/language_model.h"

namespace lq::cuda {

struct Slope {
  float value, slope;  // f(x) and its derivative
};

// One branch for a whole launch: the arrays are what takes the time.
__device__ inline Slope activation(Activation f, float x) {
  switch (f) {
    case Activation::silu: {
      const float sigmoid = 1.0f / (1.0f + expf(-x)), value = x * sigmoid;
      return {value, sigmoid + value * (1.0f - sigmoid)};
    }
    case Activation::gelu_tanh: {
      // (1 + tanh u) / 2 is the logistic function of 2 u.
      constexpr float kTwice = 1.59576912160573071f;  // 2 sqrt(2 / pi)
      const float sigmoid = 1.0f / (1.0f + expf(-kTwice * (x + 0.044715f * x * x * x)));
      const float value = x * sigmoid;
      return {value, sigmoid + value * (1.0f - sigmoid) * kTwice * (1.0f + 3.0f * 0.044715f * x * x)};
    }
    case Activation::gelu: {
      constexpr float kRootHalf = 0.707106781186547524f, kDensity = 0.398942280401432678f;
      const float share = 0.5f * (1.0f + erff(x * kRootHalf));
      return {x * share, share + x * kDensity * expf(-0.5f * x * x)};
    }
    case Activation::gelu_quick: {
      const float sigmoid = 1.0f / (1.0f + expf(-1.702f * x)), value = x * sigmoid;
      return {value, sigmoid + 1.702f * value * (1.0f - sigmoid)};
    }
    case Activation::identity:
      return {x, 1.0f};
    case Activation::relu:
      return {fmaxf(x, 0.0f), x > 0.0f ? 1.0f : 0.0f};
    case Activation::relu_squared: {
      const float positive = fmaxf(x, 0.0f);
      return {positive * positive, 2.0f * positive};
    }
  }
  return {NAN, NAN};
}

}  // namespace lq::cuda
