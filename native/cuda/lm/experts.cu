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
  for (int64_t i = threadIdx.x; i < stride; i += kRowThreads) {
    store_planes<P>(to + i, plane, weight * load_planes<P>(from + i, x_plane));
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

template <int P, typename Value>
__global__ void __launch_bounds__(kRowThreads)
    activate_experts_kernel(const ExpertLayout z, const Value* values, Bf16* act, int64_t plane) {
  const int64_t row = blockIdx.x, i = static_cast<int64_t>(blockIdx.y) * kRowThreads + threadIdx.x;
  if (i >= z.inner) return;
  const float2 g = gate_and_up(z, values, row, i);
  store_planes<P>(act + row * z.inner + i, plane, slopes_of(z, g.x, g.y).act);
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
__global__ void __launch_bounds__(kRowThreads)
    add_pairs_kernel(const Routes r, int top_k, const float* weights, const float* bias, const float* y, int64_t hidden,
                     float* out) {
  const int64_t row = blockIdx.x;
  for (int64_t i = threadIdx.x; i < hidden; i += kRowThreads) {
    float sum = 0.0f;
    for (int k = 0; k < top_k; ++k) {
      const int64_t pair = row * top_k + k;
      float x = y[r.place[pair] * hidden + i];
      if (bias != nullptr) x += bias[r.experts[pair] * hidden + i];
      sum += weights == nullptr ? x : weights[pair] * x;
    }
    out[row * hidden + i] += sum;
  }
}

template <int P>
__global__ void __launch_bounds__(kRowThreads)
    dot_pairs_kernel(const Routes r, int top_k, const Bf16* x, int64_t stride, int64_t plane, const float* y,
                     int64_t hidden, float* d_weights) {
  const int64_t pair = blockIdx.x;
  const Bf16* row = x + pair / top_k * stride;
  const float* of = y + r.place[pair] * hidden;
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < hidden; i += kRowThreads) sum += of[i] * load_planes<P>(row + i, plane);
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
  const dim3 grid(static_cast<unsigned>(g.rows), blocks_for(g.inner, kRowThreads));
  const auto run = [&](auto kernel, auto* values) {
    kernel<<<grid, kRowThreads, 0, stream.get()>>>(layout_of(g), values, bf16(act.data), act.plane);
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
               const float* y, int64_t rows, int64_t hidden, float* out) {
  add_pairs_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(routes, top_k, weights, bias, y,
                                                                                  hidden, out);
  check_launch("adding what experts gave");
}

void dot_pairs(const Stream& stream, const Routes& routes, int top_k, const Operand& x, const float* y, int64_t rows,
               int64_t hidden, float* d_weights) {
  const auto kernel = x.planes == 2 ? dot_pairs_kernel<2> : dot_pairs_kernel<1>;
  kernel<<<static_cast<unsigned>(rows * top_k), kRowThreads, 0, stream.get()>>>(routes, top_k, bf16(x.data), x.stride,
                                                                                x.plane, y, hidden, d_weights);
  check_launch("gradients of weights");
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
