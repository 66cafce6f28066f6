#include "lm/activation.h"
#include "lm/rows.cuh"

namespace lq::cuda {
namespace {

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

struct GateLayout {
  Activation function;
  bool gated;
  const float* bias;
  int64_t inner;

  __device__ int64_t width() const { return gated ? 2 * inner : inner; }
};

// Two columns a thread; blockIdx.x is the row.
template <typename Value>
__device__ inline void load_gates(const GateLayout& z, const Value* row, int64_t i, float2* gate, float2* up) {
  const int64_t up_at = z.gated ? z.inner + i : i;
  *up = load_pair(row + up_at);
  if (z.bias != nullptr) {
    const float2 b = load_pair(z.bias + up_at);
    up->x += b.x;
    up->y += b.y;
  }
  if (!z.gated) return;
  *gate = load_pair(row + i);
  if (z.bias == nullptr) return;
  const float2 b = load_pair(z.bias + i);
  gate->x += b.x;
  gate->y += b.y;
}

template <int P, typename Value>
__global__ void __launch_bounds__(kRowThreads)
    activate_kernel(const GateLayout z, const Value* values, Bf16* act, int64_t plane) {
  const int64_t row = blockIdx.x, i = (static_cast<int64_t>(blockIdx.y) * kRowThreads + threadIdx.x) * 2;
  if (i >= z.inner) return;
  float2 gate, up;
  load_gates(z, values + row * z.width(), i, &gate, &up);
  const float a = z.gated ? activation(z.function, gate.x).value * up.x : activation(z.function, up.x).value;
  const float b = z.gated ? activation(z.function, gate.y).value * up.y : activation(z.function, up.y).value;
  store_planes<P>(act + row * z.inner + i, plane, a, b);
}

template <int P, typename Value>
__global__ void __launch_bounds__(kRowThreads)
    activate_backward_kernel(const GateLayout z, const Value* values, const Value* d_act, Bf16* d_gates,
                             int64_t d_plane, Bf16* act, int64_t plane) {
  const int64_t row = blockIdx.x, i = (static_cast<int64_t>(blockIdx.y) * kRowThreads + threadIdx.x) * 2;
  if (i >= z.inner) return;
  float2 gate, up;
  load_gates(z, values + row * z.width(), i, &gate, &up);
  const float2 d = load_pair(d_act + row * z.inner + i);
  Bf16* of_act = act + row * z.inner + i;
  Bf16* to = d_gates + row * z.width() + i;
  if (!z.gated) {
    const Slope a = activation(z.function, up.x), b = activation(z.function, up.y);
    store_planes<P>(of_act, plane, a.value, b.value);
    store_planes<P>(to, d_plane, d.x * a.slope, d.y * b.slope);
    return;
  }
  const Slope a = activation(z.function, gate.x), b = activation(z.function, gate.y);
  store_planes<P>(of_act, plane, a.value * up.x, b.value * up.y);
  store_planes<P>(to, d_plane, d.x * up.x * a.slope, d.y * up.y * b.slope);
  store_planes<P>(to + z.inner, d_plane, d.x * a.value, d.y * b.value);
}

dim3 grid_of(const Gates& g) { return dim3(static_cast<unsigned>(g.rows), blocks_for(g.inner, kRowThreads * 2)); }

}  // namespace

void activate(const Stream& stream, const Gates& g, const Planes& act) {
  const GateLayout z{g.function, g.gated, g.bias, g.inner};
  const auto run = [&](auto kernel, auto* values) {
    kernel<<<grid_of(g), kRowThreads, 0, stream.get()>>>(z, values, bf16(act.data), act.plane);
    check_launch("activation");
  };
  if (act.count == 2) return run(activate_kernel<2, float>, static_cast<const float*>(g.values));
  run(activate_kernel<1, Bf16>, static_cast<const Bf16*>(g.values));
}

void activate_backward(const Stream& stream, const Gates& g, const void* d_act, const Planes& d_gates,
                       const Planes& act) {
  const GateLayout z{g.function, g.gated, g.bias, g.inner};
  const auto run = [&](auto kernel, auto* values) {
    kernel<<<grid_of(g), kRowThreads, 0, stream.get()>>>(z, values, static_cast<decltype(values)>(d_act),
                                                         bf16(d_gates.data), d_gates.plane, bf16(act.data), act.plane);
    check_launch("activation backward");
  };
  if (act.count == 2) return run(activate_backward_kernel<2, float>, static_cast<const float*>(g.values));
  run(activate_backward_kernel<1, Bf16>, static_cast<const Bf16*>(g.values));
}

}  // namespace lq::cuda
