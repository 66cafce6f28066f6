#include "lm/activation.cuh"
#include "lm/activation.h"
#include "lm/rows.cuh"

namespace lq::cuda {
namespace {

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

__device__ inline void add(Eight* x, const float* bias) {
#pragma unroll
  for (int k = 0; k < 8; ++k) x->at[k] += bias[k];
}

// Eight columns a thread; blockIdx.x is the row.
template <int P, typename Value>
__global__ void __launch_bounds__(kEightThreads)
    activate_kernel(const GateLayout z, const Value* values, Bf16* act, int64_t plane) {
  const int64_t row = blockIdx.x, i = (static_cast<int64_t>(blockIdx.y) * kEightThreads + threadIdx.x) * 8;
  if (i >= z.inner) return;
  const int64_t up_at = z.gated ? z.inner + i : i;
  const Value* from = values + row * z.width();
  Eight up = load_eight(from + up_at);
  if (z.bias != nullptr) add(&up, z.bias + up_at);
  if (z.gated) {
    Eight gate = load_eight(from + i);
    if (z.bias != nullptr) add(&gate, z.bias + i);
#pragma unroll
    for (int k = 0; k < 8; ++k) up.at[k] *= activation(z.function, gate.at[k]).value;
  } else {
#pragma unroll
    for (int k = 0; k < 8; ++k) up.at[k] = activation(z.function, up.at[k]).value;
  }
  store_planes<P>(act + row * z.inner + i, plane, up);
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

// Two columns a thread; blockIdx.x is the row.
__global__ void __launch_bounds__(kRowThreads)
    apply_kernel(Activation f, const float* bias, int64_t width, const float* x, float* out) {
  const int64_t i = (static_cast<int64_t>(blockIdx.y) * kRowThreads + threadIdx.x) * 2, at = blockIdx.x * width + i;
  if (i >= width) return;
  const float2 v = load_pair(x + at), b = bias == nullptr ? float2{0.0f, 0.0f} : load_pair(bias + i);
  store_pair(out + at, activation(f, v.x + b.x).value, activation(f, v.y + b.y).value);
}

template <int P>
__global__ void __launch_bounds__(kRowThreads)
    apply_backward_kernel(Activation f, const float* bias, int64_t width, const float* x, const float* d, Bf16* out,
                          int64_t plane) {
  const int64_t i = (static_cast<int64_t>(blockIdx.y) * kRowThreads + threadIdx.x) * 2, at = blockIdx.x * width + i;
  if (i >= width) return;
  const float2 v = load_pair(x + at), b = bias == nullptr ? float2{0.0f, 0.0f} : load_pair(bias + i);
  const float2 of = load_pair(d + at);
  store_planes<P>(out + at, plane, of.x * activation(f, v.x + b.x).slope, of.y * activation(f, v.y + b.y).slope);
}

dim3 grid_of(const Gates& g) { return dim3(static_cast<unsigned>(g.rows), blocks_for(g.inner, kRowThreads * 2)); }

}  // namespace

void activate(const Stream& stream, const Gates& g, const Planes& act) {
  const GateLayout z{g.function, g.gated, g.bias, g.inner};
  const dim3 grid(static_cast<unsigned>(g.rows), blocks_for(g.inner, kEightThreads * 8));
  const auto run = [&](auto kernel, auto* values) {
    kernel<<<grid, kEightThreads, 0, stream.get()>>>(z, values, bf16(act.data), act.plane);
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

void apply(const Stream& stream, Activation f, const float* x, const float* bias, int64_t rows, int64_t width,
           float* out) {
  const dim3 grid(static_cast<unsigned>(rows), blocks_for(width, kRowThreads * 2));
  apply_kernel<<<grid, kRowThreads, 0, stream.get()>>>(f, bias, width, x, out);
  check_launch("activation");
}

void apply_backward(const Stream& stream, Activation f, const float* x, const float* bias, int64_t rows, int64_t width,
                    const float* d, const Planes& out) {
  const dim3 grid(static_cast<unsigned>(rows), blocks_for(width, kRowThreads * 2));
  const auto kernel = out.count == 2 ? apply_backward_kernel<2> : apply_backward_kernel<1>;
  kernel<<<grid, kRowThreads, 0, stream.get()>>>(f, bias, width, x, d, bf16(out.data), out.plane);
  check_launch("activation backward");
}

}  // namespace lq::cuda
