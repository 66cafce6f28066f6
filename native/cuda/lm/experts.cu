#include "lm/activation.cuh"
#include "lm/experts.h"
#include "lm/rows.cuh"

namespace lq::cuda {
namespace {

const Bf16* bf16(const uint16_t* p) { return reinterpret_cast<const Bf16*>(p); }
using cuda::bf16;

// A block a sorted pair.
template <int P>
__global__ void __launch_bounds__(kRowThreads)
    gather_kernel(const Bf16* x, int64_t stride, int64_t x_plane, const int32_t* by_expert, int top_k,
                  const float* weights, Bf16* out, int64_t plane) {
  const int64_t pair = by_expert[blockIdx.x];
  const Bf16* from = x + pair / top_k * stride;
  Bf16* to = out + blockIdx.x * stride;
  const float weight = weights == nullptr ? 1.0f : weights[pair];
  for (int64_t i = threadIdx.x * 8; i < stride; i += kRowThreads * 8) {
    Eight x = load_planes_eight<P>(from + i, x_plane);
#pragma unroll
    for (float& each : x.at) each *= weight;
    store_planes<P>(to + i, plane, x);
  }
}

struct ExpertLayout {
  Activation function;
  float limit, alpha;
  const float* bias;
  const int32_t* owner;
  int64_t inner;
};

// d(act) / d(gate) and d(act) / d(up), and act.
struct GateSlopes {
  float act, of_gate, of_up;
};
__device__ inline GateSlopes slopes_of(const ExpertLayout& z, float gate, float up) {
  if (z.limit <= 0.0f) {
    const Slope f = activation(z.function, gate);
    return {f.value * up, f.slope * up, f.value};
  }
  const float g = fminf(gate, z.limit), u = fminf(fmaxf(up, -z.limit), z.limit);
  const float sigmoid = 1.0f / (1.0f + expf(-z.alpha * g)), value = g * sigmoid;
  // Nothing flows through what was cut.
  const float of_gate = gate > z.limit ? 0.0f : (u + 1.0f) * (sigmoid + z.alpha * value * (1.0f - sigmoid));
  return {(u + 1.0f) * value, of_gate, fabsf(up) > z.limit ? 0.0f : value};
}

template <typename Value>
__device__ inline float2 gate_and_up(const ExpertLayout& z, const Value* values, int64_t row, int64_t i) {
  const Value* at = values + row * 2 * z.inner + i;
  float2 out{load_value(at), load_value(at + z.inner)};
  if (z.bias == nullptr) return out;
  const float* bias = z.bias + (z.owner == nullptr ? 0 : z.owner[row]) * 2 * z.inner + i;
  out.x += bias[0];
  out.y += bias[z.inner];
  return out;
}

// Eight columns a thread; blockIdx.x is the row.
template <int P, typename Value>
__global__ void __launch_bounds__(kEightThreads)
    activate_experts_kernel(const ExpertLayout z, const Value* values, Bf16* act, int64_t plane) {
  const int64_t row = blockIdx.x, i = (static_cast<int64_t>(blockIdx.y) * kEightThreads + threadIdx.x) * 8;
  if (i >= z.inner) return;
  const Value* at = values + row * 2 * z.inner + i;
  Eight gate = load_eight(at), up = load_eight(at + z.inner);
  if (z.bias != nullptr) {
    const float* bias = z.bias + (z.owner == nullptr ? 0 : z.owner[row]) * 2 * z.inner + i;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      gate.at[k] += bias[k];
      up.at[k] += bias[z.inner + k];
    }
  }
#pragma unroll
  for (int k = 0; k < 8; ++k) gate.at[k] = slopes_of(z, gate.at[k], up.at[k]).act;
  store_planes<P>(act + row * z.inner + i, plane, gate);
}

// A block a row.
template <int P, typename Value>
__global__ void __launch_bounds__(kRowThreads)
    activate_experts_backward_kernel(const ExpertLayout z, const Value* values, const Value* d_act, const Weighed w,
                                     Bf16* d_gates, int64_t d_plane, Bf16* act, int64_t plane) {
  const int64_t row = blockIdx.x;
  const int64_t at = w.index == nullptr ? row : w.index[row];
  const float weight = w.weights == nullptr ? 1.0f : w.weights[at];
  float inner = 0.0f;
  for (int64_t i = threadIdx.x; i < z.inner; i += kRowThreads) {
    const float2 g = gate_and_up(z, values, row, i);
    const GateSlopes s = slopes_of(z, g.x, g.y);
    const float d = load_value(d_act + row * z.inner + i);
    inner += d * s.act;
    Bf16* to = d_gates + row * 2 * z.inner + i;
    store_planes<P>(to, d_plane, weight * d * s.of_gate);
    store_planes<P>(to + z.inner, d_plane, weight * d * s.of_up);
    store_planes<P>(act + row * z.inner + i, plane, weight * s.act);
  }
  if (w.weights == nullptr) return;
  if (w.down_bias != nullptr) {
    const float* bias = w.down_bias + (z.owner == nullptr ? 0 : z.owner[row]) * w.hidden;
    const Bf16* d = reinterpret_cast<const Bf16*>(w.d.data) + row * w.d.stride;
    for (int64_t i = threadIdx.x; i < w.hidden; i += kRowThreads) inner += bias[i] * load_planes<P>(d + i, w.d.plane);
  }
  inner = block_sum(inner);
  if (threadIdx.x == 0) w.d_weights[at] = inner;
}

// A block a token.
template <typename Value>
__global__ void __launch_bounds__(kRowThreads)
    add_pairs_kernel(const Routes r, int top_k, const float* weights, const float* bias, const Value* y, int64_t hidden,
                     float scale, const float* onto, float* out) {
  const int64_t row = blockIdx.x;
  for (int64_t i = threadIdx.x * 8; i < hidden; i += kRowThreads * 8) {
    Eight sum{};
    for (int k = 0; k < top_k; ++k) {
      const int64_t pair = row * top_k + k;
      Eight x = load_eight(y + r.place[pair] * hidden + i);
      if (bias != nullptr) {
        const Eight by = load_eight(bias + r.experts[pair] * hidden + i);
#pragma unroll
        for (int j = 0; j < 8; ++j) x.at[j] += by.at[j];
      }
      const float weight = weights == nullptr ? 1.0f : weights[pair];
#pragma unroll
      for (int j = 0; j < 8; ++j) sum.at[j] += weight * x.at[j];
    }
    Eight to{};
    if (onto != nullptr) to = load_eight(onto + row * hidden + i);
#pragma unroll
    for (int j = 0; j < 8; ++j) to.at[j] += scale * sum.at[j];
    store_eight(out + row * hidden + i, to);
  }
}

template <int P, typename Value>
__global__ void __launch_bounds__(kRowThreads)
    dot_pairs_kernel(const Routes r, int top_k, const Bf16* x, int64_t stride, int64_t plane, const Value* y,
                     int64_t hidden, float* d_weights) {
  const int64_t pair = blockIdx.x;
  const Bf16* row = x + pair / top_k * stride;
  const Value* of = y + r.place[pair] * hidden;
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < hidden; i += kRowThreads)
    sum += load_value(of + i) * load_planes<P>(row + i, plane);
  sum = block_sum(sum);
  if (threadIdx.x == 0) d_weights[pair] = sum;
}

template <int P>
__global__ void __launch_bounds__(kRowThreads)
    open_kernel(const Bf16* x, int64_t stride, int64_t plane, const float* gate, int64_t hidden, float* open) {
  const Bf16* row = x + blockIdx.x * stride;
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < hidden; i += kRowThreads) sum += gate[i] * load_planes<P>(row + i, plane);
  sum = block_sum(sum);
  if (threadIdx.x == 0) open[blockIdx.x] = 1.0f / (1.0f + expf(-sum));
}

__global__ void __launch_bounds__(kRowThreads) scale_rows_kernel(const float* factors, int64_t width, float* x) {
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads) x[blockIdx.x * width + i] *= factors[blockIdx.x];
}

__global__ void __launch_bounds__(kRowThreads)
    open_backward_kernel(const float* gate, const float* open, const float* d_open, int64_t hidden, float* dx) {
  const float o = open[blockIdx.x], d = d_open[blockIdx.x] * o * (1.0f - o);
  for (int64_t i = threadIdx.x; i < hidden; i += kRowThreads) dx[blockIdx.x * hidden + i] += d * gate[i];
}

ExpertLayout layout_of(const ExpertGates& g) { return {g.function, g.limit, g.alpha, g.bias, g.owner, g.inner}; }

}  // namespace

void gather(const Stream& stream, const Operand& x, const int32_t* by_expert, int top_k, const float* weights,
            int64_t count, const Planes& out) {
  if (count == 0) return;
  const auto kernel = out.count == 2 ? gather_kernel<2> : gather_kernel<1>;
  kernel<<<static_cast<unsigned>(count), kRowThreads, 0, stream.get()>>>(bf16(x.data), x.stride, x.plane, by_expert,
                                                                         top_k, weights, bf16(out.data), out.plane);
  check_launch("gathering tokens");
}

void activate_experts(const Stream& stream, const ExpertGates& g, const Planes& act) {
  if (g.rows == 0) return;
  const dim3 grid(static_cast<unsigned>(g.rows), blocks_for(g.inner, kEightThreads * 8));
  const auto run = [&](auto kernel, auto* values) {
    kernel<<<grid, kEightThreads, 0, stream.get()>>>(layout_of(g), values, bf16(act.data), act.plane);
    check_launch("activation of experts");
  };
  if (act.count == 2) return run(activate_experts_kernel<2, float>, static_cast<const float*>(g.values));
  run(activate_experts_kernel<1, Bf16>, static_cast<const Bf16*>(g.values));
}

void activate_experts_backward(const Stream& stream, const ExpertGates& g, const void* d_act, const Weighed& weighed,
                               const Planes& d_gates, const Planes& act) {
  const auto run = [&](auto kernel, auto* values) {
    kernel<<<static_cast<unsigned>(g.rows), kRowThreads, 0, stream.get()>>>(
        layout_of(g), values, static_cast<decltype(values)>(d_act), weighed, bf16(d_gates.data), d_gates.plane,
        bf16(act.data), act.plane);
    check_launch("activation of experts backward");
  };
  if (act.count == 2) return run(activate_experts_backward_kernel<2, float>, static_cast<const float*>(g.values));
  run(activate_experts_backward_kernel<1, Bf16>, static_cast<const Bf16*>(g.values));
}

void add_pairs(const Stream& stream, const Routes& routes, int top_k, const float* weights, const float* bias,
               int planes, const void* y, const PairSum& sum) {
  const auto run = [&](auto kernel, auto* values) {
    kernel<<<static_cast<unsigned>(sum.rows), kRowThreads, 0, stream.get()>>>(routes, top_k, weights, bias, values,
                                                                              sum.hidden, sum.scale, sum.onto, sum.out);
    check_launch("adding what experts gave");
  };
  if (planes == 2) return run(add_pairs_kernel<float>, static_cast<const float*>(y));
  run(add_pairs_kernel<Bf16>, static_cast<const Bf16*>(y));
}

void dot_pairs(const Stream& stream, const Routes& routes, int top_k, const Operand& x, const void* y, int64_t rows,
               int64_t hidden, float* d_weights) {
  const auto run = [&](auto kernel, auto* values) {
    kernel<<<static_cast<unsigned>(rows * top_k), kRowThreads, 0, stream.get()>>>(routes, top_k, bf16(x.data), x.stride,
                                                                                  x.plane, values, hidden, d_weights);
    check_launch("gradients of weights");
  };
  if (x.planes == 2) return run(dot_pairs_kernel<2, float>, static_cast<const float*>(y));
  run(dot_pairs_kernel<1, Bf16>, static_cast<const Bf16*>(y));
}

void open_gate(const Stream& stream, const Operand& x, const float* gate, int64_t rows, int64_t hidden, float* open) {
  const auto kernel = x.planes == 2 ? open_kernel<2> : open_kernel<1>;
  kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(bf16(x.data), x.stride, x.plane, gate, hidden,
                                                                        open);
  check_launch("gate of the shared expert");
}

void scale_rows(const Stream& stream, const float* factors, int64_t rows, int64_t width, float* x) {
  scale_rows_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(factors, width, x);
  check_launch("gate of the shared expert");
}

void open_gate_backward(const Stream& stream, const float* gate, const float* open, const float* d_open, int64_t rows,
                        int64_t hidden, float* dx) {
  open_backward_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(gate, open, d_open, hidden, dx);
  check_launch("gate of the shared expert");
}

}  // namespace lq::cuda
