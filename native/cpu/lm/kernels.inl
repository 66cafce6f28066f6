// The kernels, written once and compiled for each instruction set. The including file opens its namespace. As in
// ../kernels, no symbol may be shared between the builds: nothing of the standard library is used, since the linker
// would keep one build of its inline functions for all.
//
// Sums are declared as simd reductions because strict floating point forbids the compiler to reorder them by itself.

namespace {

// exp(x) to 2 ulp for x in [-87, 88], clamped outside: Cody-Waite reduction by ln 2 and a degree-6 polynomial.
// Branch-free so that loops over it vectorise, which the library's function does not.
[[gnu::always_inline]] inline float fast_exp(float x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer held in the low bits
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const uint32_t exponent = (__builtin_bit_cast(uint32_t, shifted) + 127u) << 23;
  return p * __builtin_bit_cast(float, exponent);
}

constexpr float kTwiceRoot = 1.59576912160573071f;  // 2 sqrt(2 / pi)
constexpr float kRootHalf = 0.707106781186547524f;

void zero(float* s, int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; ++j) s[j] = 0.0f;
}

// The largest of x and at_least, in lanes of its own because no compiler may reorder comparisons that could see a NaN.
float largest(const float* x, int64_t n, float at_least) {
  constexpr int64_t kLanes = 32;
  float lanes[kLanes];
  for (float& lane : lanes) lane = at_least;
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
#pragma omp simd
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] = x[j + k] > lanes[k] ? x[j + k] : lanes[k];
  }
  for (; j < n; ++j) lanes[0] = x[j] > lanes[0] ? x[j] : lanes[0];
  for (const float lane : lanes) at_least = lane > at_least ? lane : at_least;
  return at_least;
}

void rms_norm(const float* x, const float* weight, int64_t rows, int64_t n, float eps, float* out) {
  for (int64_t i = 0; i < rows; ++i, x += n, out += n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; ++j) sum += x[j] * x[j];
    const float scale = 1.0f / __builtin_sqrtf(sum / static_cast<float>(n) + eps);
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) out[j] = weight[j] * (x[j] * scale);
  }
}

void rms_norm_backward(const float* x, const float* weight, const float* dy, const float* residual,
                                   int64_t rows, int64_t n, float eps, float* dx) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* xi = x + i * n;
    const float* di = dy + i * n;
    float* out = dx + i * n;
    float sum = 0, inner = 0;
#pragma omp simd reduction(+ : sum, inner)
    for (int64_t j = 0; j < n; ++j) {
      sum += xi[j] * xi[j];
      inner += di[j] * weight[j] * xi[j];
    }
    const float scale = 1.0f / __builtin_sqrtf(sum / static_cast<float>(n) + eps);
    const float back = inner * scale * scale * scale / static_cast<float>(n);
    if (residual != nullptr) {
      const float* ri = residual + i * n;
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) out[j] = ri[j] + (di[j] * weight[j] * scale - xi[j] * back);
    } else {
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) out[j] = di[j] * weight[j] * scale - xi[j] * back;
    }
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, int64_t rows, int64_t n, float eps, float* out) {
  for (int64_t i = 0; i < rows; ++i, x += n, out += n) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; ++j) sum += x[j];
    const float mean = sum / static_cast<float>(n);
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < n; ++j) squares += (x[j] - mean) * (x[j] - mean);
    const float scale = 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) out[j] = weight[j] * ((x[j] - mean) * scale) + bias[j];
  }
}

void layer_norm_backward(const float* x, const float* weight, const float* dy, const float* residual, int64_t rows,
                         int64_t n, float eps, float* dx) {
  for (int64_t i = 0; i < rows; ++i) {
    const float* xi = x + i * n;
    const float* di = dy + i * n;
    float* out = dx + i * n;
    float sum = 0, total = 0;
#pragma omp simd reduction(+ : sum, total)
    for (int64_t j = 0; j < n; ++j) {
      sum += xi[j];
      total += di[j] * weight[j];
    }
    const float mean = sum / static_cast<float>(n), mean_d = total / static_cast<float>(n);
    float squares = 0, inner = 0;
#pragma omp simd reduction(+ : squares, inner)
    for (int64_t j = 0; j < n; ++j) {
      squares += (xi[j] - mean) * (xi[j] - mean);
      inner += di[j] * weight[j] * (xi[j] - mean);
    }
    const float scale = 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
    const float back = inner * scale * scale * scale / static_cast<float>(n);
    const float* ri = residual == nullptr ? nullptr : residual + i * n;
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
      out[j] = (ri == nullptr ? 0.0f : ri[j]) + (di[j] * weight[j] - mean_d) * scale - (xi[j] - mean) * back;
    }
  }
}

void rotate(float* row, int64_t heads, int64_t dim, int64_t rotated, const float* cosine, const float* sine,
            bool inverse) {
  const int64_t half = rotated / 2;
  const float sign = inverse ? -1.0f : 1.0f;
  for (int64_t h = 0; h < heads; ++h) {
    float* low = row + h * dim;
    float* high = low + half;
#pragma omp simd
    for (int64_t j = 0; j < half; ++j) {
      const float a = low[j], b = high[j], s = sign * sine[j];
      low[j] = a * cosine[j] - b * s;
      high[j] = b * cosine[j] + a * s;
    }
  }
}

void rotate_pairs(float* row, int64_t heads, int64_t dim, int64_t rotated, const float* cosine, const float* sine,
                  bool inverse) {
  const float sign = inverse ? -1.0f : 1.0f;
  for (int64_t h = 0; h < heads; ++h) {
    float* x = row + h * dim;
#pragma omp simd
    for (int64_t j = 0; j < rotated / 2; ++j) {
      const float a = x[2 * j], b = x[2 * j + 1], s = sign * sine[j];
      x[2 * j] = a * cosine[j] - b * s;
      x[2 * j + 1] = b * cosine[j] + a * s;
    }
  }
}

// An activation, and its slope. Results are returned: the compiler does not vectorise loops that take addresses of what
// they declare.
template <Activation F>
[[gnu::always_inline]] inline float activation(float x) {
  if constexpr (F == Activation::silu) {
    return x * (1.0f / (1.0f + fast_exp(-x)));
  } else if constexpr (F == Activation::gelu_tanh) {
    // (1 + tanh u) / 2 is the logistic function of 2 u.
    return x * (1.0f / (1.0f + fast_exp(-kTwiceRoot * (x + 0.044715f * x * x * x))));
  } else if constexpr (F == Activation::gelu) {
    return x * (0.5f * (1.0f + __builtin_erff(x * kRootHalf)));
  } else if constexpr (F == Activation::gelu_quick) {
    return x * (1.0f / (1.0f + fast_exp(-1.702f * x)));
  } else if constexpr (F == Activation::identity) {
    return x;
  } else {
    const float positive = x > 0.0f ? x : 0.0f;
    return F == Activation::relu ? positive : positive * positive;
  }
}

template <Activation F>
[[gnu::always_inline]] inline float activation_slope(float x) {
  if constexpr (F == Activation::silu) {
    const float sigmoid = 1.0f / (1.0f + fast_exp(-x));
    return sigmoid + x * sigmoid * (1.0f - sigmoid);
  } else if constexpr (F == Activation::gelu_tanh) {
    const float sigmoid = 1.0f / (1.0f + fast_exp(-kTwiceRoot * (x + 0.044715f * x * x * x)));
    return sigmoid + x * sigmoid * (1.0f - sigmoid) * kTwiceRoot * (1.0f + 3.0f * 0.044715f * x * x);
  } else if constexpr (F == Activation::gelu) {
    constexpr float kDensity = 0.398942280401432678f;
    return 0.5f * (1.0f + __builtin_erff(x * kRootHalf)) + x * kDensity * fast_exp(-0.5f * x * x);
  } else if constexpr (F == Activation::gelu_quick) {
    const float sigmoid = 1.0f / (1.0f + fast_exp(-1.702f * x));
    return sigmoid + x * sigmoid * (1.0f - sigmoid) * 1.702f;
  } else if constexpr (F == Activation::identity) {
    return 1.0f;
  } else {
    return F == Activation::relu ? (x > 0.0f ? 1.0f : 0.0f) : 2.0f * (x > 0.0f ? x : 0.0f);
  }
}

template <Activation F>
void activate_with(const float* gate, const float* up, int64_t n, float* out) {
  if (gate == nullptr) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) out[j] = activation<F>(up[j]);
    return;
  }
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) out[j] = activation<F>(gate[j]) * up[j];
}

template <Activation F>
void activate_backward_with(const float* d, int64_t n, float* gate, float* up, float* act) {
  if (gate == nullptr) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
      const float x = up[j];
      act[j] = activation<F>(x);
      up[j] = d[j] * activation_slope<F>(x);
    }
    return;
  }
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const float g = gate[j], u = up[j], value = activation<F>(g);
    act[j] = value * u;
    gate[j] = d[j] * u * activation_slope<F>(g);
    up[j] = d[j] * value;
  }
}

void activate(Activation f, const float* gate, const float* up, int64_t n, float* out) {
  switch (f) {
    case Activation::silu:
      return activate_with<Activation::silu>(gate, up, n, out);
    case Activation::gelu_tanh:
      return activate_with<Activation::gelu_tanh>(gate, up, n, out);
    case Activation::gelu:
      return activate_with<Activation::gelu>(gate, up, n, out);
    case Activation::relu:
      return activate_with<Activation::relu>(gate, up, n, out);
    case Activation::relu_squared:
      return activate_with<Activation::relu_squared>(gate, up, n, out);
    case Activation::gelu_quick:
      return activate_with<Activation::gelu_quick>(gate, up, n, out);
    case Activation::identity:
      return activate_with<Activation::identity>(gate, up, n, out);
  }
}

void activate_backward(Activation f, const float* d, int64_t n, float* gate, float* up, float* act) {
  switch (f) {
    case Activation::silu:
      return activate_backward_with<Activation::silu>(d, n, gate, up, act);
    case Activation::gelu_tanh:
      return activate_backward_with<Activation::gelu_tanh>(d, n, gate, up, act);
    case Activation::gelu:
      return activate_backward_with<Activation::gelu>(d, n, gate, up, act);
    case Activation::relu:
      return activate_backward_with<Activation::relu>(d, n, gate, up, act);
    case Activation::relu_squared:
      return activate_backward_with<Activation::relu_squared>(d, n, gate, up, act);
    case Activation::gelu_quick:
      return activate_backward_with<Activation::gelu_quick>(d, n, gate, up, act);
    case Activation::identity:
      return activate_backward_with<Activation::identity>(d, n, gate, up, act);
  }
}

void activate_clamped(Clamp c, const float* gate, const float* up, int64_t n, float* out) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const float g = gate[j] > c.limit ? c.limit : gate[j];
    const float low = up[j] < -c.limit ? -c.limit : up[j], u = low > c.limit ? c.limit : low;
    out[j] = (u + 1.0f) * (g / (1.0f + fast_exp(-c.alpha * g)));
  }
}

void activate_clamped_backward(Clamp c, const float* d, int64_t n, float* gate, float* up, float* act) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const float gate_slope = gate[j] > c.limit ? 0.0f : 1.0f;
    const float up_slope = up[j] > c.limit || up[j] < -c.limit ? 0.0f : 1.0f;
    const float g = gate[j] > c.limit ? c.limit : gate[j];
    const float low = up[j] < -c.limit ? -c.limit : up[j], u = low > c.limit ? c.limit : low;
    const float sigmoid = 1.0f / (1.0f + fast_exp(-c.alpha * g));
    const float value = g * sigmoid;
    act[j] = (u + 1.0f) * value;
    gate[j] = gate_slope * d[j] * (u + 1.0f) * (sigmoid + c.alpha * value * (1.0f - sigmoid));
    up[j] = up_slope * d[j] * value;
  }
}

void soft_cap(float* x, int64_t n, float cap) {
  const float twice = 2.0f / cap;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) x[j] = cap * (1.0f - 2.0f / (fast_exp(twice * x[j]) + 1.0f));
}

void soft_cap_backward(const float* capped, int64_t n, float cap, float* d) {
  const float inverse = 1.0f / cap;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) d[j] *= 1.0f - capped[j] * inverse * (capped[j] * inverse);
}

void scale(float factor, int64_t n, float* x) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) x[j] *= factor;
}

void add(const float* x, int64_t n, float* y) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] += x[j];
}

void add_square(const float* g, int64_t n, float* y) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] += g[j] * g[j];
}

double dot(const float* x, const float* y, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += x[j] * y[j];
  return sum;
}

float softmax_range(float* s, int64_t begin, int64_t end, int64_t n) {
  const float maximum = largest(s + begin, end - begin, s[begin]);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = begin; j < end; ++j) {
    const float e = fast_exp(s[j] - maximum);
    s[j] = e;
    sum += e;
  }
  const float scale = 1.0f / sum;
#pragma omp simd
  for (int64_t j = begin; j < end; ++j) s[j] *= scale;
  zero(s, 0, begin);
  zero(s, end, n);
  return maximum + __builtin_logf(sum);
}

void softmax_again(float* s, int64_t begin, int64_t end, int64_t n, float lse) {
#pragma omp simd
  for (int64_t j = begin; j < end; ++j) s[j] = fast_exp(s[j] - lse);
  zero(s, 0, begin);
  zero(s, end, n);
}

void softmax_backward(const float* p, float delta, float scale, int64_t n, float* dp) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) dp[j] = p[j] * (dp[j] - delta) * scale;
}

void accumulate(const float* x, int64_t n, LogSumExp* state) {
  const float maximum = largest(x, n, state->maximum);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += fast_exp(x[j] - maximum);
  state->sum = state->sum * __builtin_exp(static_cast<double>(state->maximum) - maximum) + sum;
  state->maximum = maximum;
}

void accumulate_divergence(const float* x, const float* y, int64_t n, RunningDivergence* state) {
  const float maximum = largest(x, n, state->first.maximum);
  float sum = 0, weighted = 0;
#pragma omp simd reduction(+ : sum, weighted)
  for (int64_t j = 0; j < n; ++j) {
    const float e = fast_exp(x[j] - maximum);
    sum += e;
    weighted += e * (x[j] - y[j]);
  }
  const double shrink = __builtin_exp(static_cast<double>(state->first.maximum) - maximum);
  state->first.sum = state->first.sum * shrink + sum;
  state->weighted = state->weighted * shrink + weighted;
  state->first.maximum = maximum;
}

void scaled_softmax(float* x, int64_t n, float lse, float scale) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) x[j] = fast_exp(x[j] - lse) * scale;
}

}  // namespace

const Kernels table = {
    rms_norm,  rms_norm_backward, layer_norm, layer_norm_backward, rotate, rotate_pairs, activate, activate_backward,
    activate_clamped, activate_clamped_backward, soft_cap,
    soft_cap_backward, scale, add, add_square, dot, softmax_range, softmax_again, softmax_backward, accumulate,
    accumulate_divergence, scaled_softmax};
