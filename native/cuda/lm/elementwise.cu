#include <cmath>

#include "lm/elementwise.h"
#include "lm/mma.cuh"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kPairsALane = 4;  // rotated pairs of a head of 256, over 32 lanes

unsigned blocks_for(int64_t items, int64_t each) { return static_cast<unsigned>(ceil_div(items, each)); }

Bf16* bf16(uint16_t* p) { return reinterpret_cast<Bf16*>(p); }

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

// Sum over the block, the same in every thread; calls may follow each other.
__device__ inline float block_sum(float x) {
  __shared__ float partial[kWarps];
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += partial[i];
  return sum;
}

__device__ inline float block_max(float x) {
  __shared__ float partial[kWarps];
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  x = partial[0];
#pragma unroll
  for (int i = 1; i < kWarps; ++i) x = fmaxf(x, partial[i]);
  return x;
}

__global__ void __launch_bounds__(kThreads)
    embed_kernel(const Bf16* table, int64_t plane, int planes, const int32_t* tokens, int64_t hidden, float* x) {
  const Bf16* from = table + tokens[blockIdx.x] * hidden;
  float* to = x + blockIdx.x * hidden;
  for (int64_t i = threadIdx.x; i < hidden; i += kThreads) {
    to[i] = __bfloat162float(from[i]) + (planes == 2 ? __bfloat162float(from[plane + i]) : 0.0f);
  }
}

// A block a row, four columns a thread and step.
template <int P>
__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(const float* x, const float* weight, float n, int64_t width, float eps, Bf16* out, int64_t plane) {
  const float* row = x + blockIdx.x * width;
  Bf16* to = out + blockIdx.x * width;
  float sum = 0.0f;
  for (int64_t i = threadIdx.x * 4; i < width; i += kThreads * 4) {
    const float4 v = *reinterpret_cast<const float4*>(row + i);
    sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }
  const float scale = 1.0f / sqrtf(block_sum(sum) / n + eps);
  for (int64_t i = threadIdx.x * 4; i < width; i += kThreads * 4) {
    const float4 v = *reinterpret_cast<const float4*>(row + i);
    const float4 w = *reinterpret_cast<const float4*>(weight + i);
    store_planes<P>(to + i, plane, w.x * (v.x * scale), w.y * (v.y * scale));
    store_planes<P>(to + i + 2, plane, w.z * (v.z * scale), w.w * (v.w * scale));
  }
}

template <int P, typename Gradient>
__global__ void __launch_bounds__(kThreads)
    rms_norm_backward_kernel(const float* x, const float* weight, const Gradient* dy, const float* residual, float n,
                             int64_t width, float eps, float* dx, Bf16* out, int64_t plane) {
  const int64_t at = blockIdx.x * width;
  float squares = 0.0f, inner = 0.0f;
  for (int64_t i = threadIdx.x * 2; i < width; i += kThreads * 2) {
    const float2 v = load_pair(x + at + i), w = load_pair(weight + i), d = load_pair(dy + at + i);
    squares += v.x * v.x + v.y * v.y;
    inner += d.x * w.x * v.x + d.y * w.y * v.y;
  }
  squares = block_sum(squares);
  inner = block_sum(inner);
  const float scale = 1.0f / sqrtf(squares / n + eps);
  const float back = inner * scale * scale * scale / n;
  for (int64_t i = threadIdx.x * 2; i < width; i += kThreads * 2) {
    const float2 v = load_pair(x + at + i), w = load_pair(weight + i), d = load_pair(dy + at + i);
    float a = d.x * w.x * scale - v.x * back, b = d.y * w.y * scale - v.y * back;
    if (residual != nullptr) {
      const float2 r = load_pair(residual + at + i);
      a += r.x;
      b += r.y;
    }
    store_pair(dx + at + i, a, b);
    store_planes<P>(out + at + i, plane, a, b);
  }
}

struct HeadLayout {
  int context, heads, kv_heads, dim, width;  // width: padded dim
  int64_t stride;                            // of a row
  float eps;
  const float *cosine, *sine, *bias, *q_norm, *k_norm;
};

__device__ inline float load_value(const float* p) { return *p; }
__device__ inline float load_value(const Bf16* p) { return __bfloat162float(*p); }

// What a head's norm does, from its values and biases.
template <typename Value>
struct HeadValues {
  float low[kPairsALane], high[kPairsALane];
  float scale = 1.0f;
  const float* norm = nullptr;

  __device__ HeadValues(const HeadLayout& z, const Value* raw, int head, int lane) {
    const int half = z.dim / 2;
    const float* bias = z.bias == nullptr ? nullptr : z.bias + head * z.width;
    norm = head < z.heads ? z.q_norm : head < z.heads + z.kv_heads ? z.k_norm : nullptr;
    float squares = 0.0f;
#pragma unroll
    for (int j = 0; j < kPairsALane; ++j) {
      const int i = lane + j * 32;
      low[j] = high[j] = 0.0f;
      if (i >= half) continue;
      low[j] = load_value(raw + i) + (bias == nullptr ? 0.0f : bias[i]);
      high[j] = load_value(raw + half + i) + (bias == nullptr ? 0.0f : bias[half + i]);
      squares += low[j] * low[j] + high[j] * high[j];
    }
    if (norm != nullptr) scale = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(z.dim) + z.eps);
  }
};

// A warp a row and head.
template <int P, typename Value>
__global__ void __launch_bounds__(kThreads)
    position_kernel(const HeadLayout z, int64_t count, int heads, const Value* raw, Bf16* out, int64_t plane) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (item >= count) return;
  const int lane = threadIdx.x % 32, head = static_cast<int>(item % heads), half = z.dim / 2;
  const int64_t row = item / heads, at = row * z.stride + head * z.width;
  const HeadValues<Value> x(z, raw + at, head, lane);
  const bool rotated = head < z.heads + z.kv_heads;
  const int64_t turn = row % z.context * half;
#pragma unroll
  for (int j = 0; j < kPairsALane; ++j) {
    const int i = lane + j * 32;
    if (i >= half) continue;
    float a = x.low[j] * x.scale, b = x.high[j] * x.scale;
    if (x.norm != nullptr) {
      a *= x.norm[i];
      b *= x.norm[half + i];
    }
    if (rotated) {
      const float c = z.cosine[turn + i], s = z.sine[turn + i], turned = a * c - b * s;
      b = b * c + a * s;
      a = turned;
    }
    store_planes<P>(out + at + i, plane, a);
    store_planes<P>(out + at + half + i, plane, b);
  }
  for (int i = z.dim + lane; i < z.width; i += 32) store_planes<P>(out + at + i, plane, 0.0f);
}

template <int P, typename Value>
__global__ void __launch_bounds__(kThreads)
    position_backward_kernel(const HeadLayout z, int64_t count, int heads, const Value* raw, const Value* d, Bf16* out,
                             int64_t plane) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (item >= count) return;
  const int lane = threadIdx.x % 32, head = static_cast<int>(item % heads), half = z.dim / 2;
  const int64_t row = item / heads, at = row * z.stride + head * z.width;
  const bool rotated = head < z.heads + z.kv_heads;
  const int64_t turn = row % z.context * half;
  float low[kPairsALane], high[kPairsALane];
#pragma unroll
  for (int j = 0; j < kPairsALane; ++j) {
    const int i = lane + j * 32;
    low[j] = high[j] = 0.0f;
    if (i >= half) continue;
    low[j] = load_value(d + at + i);
    high[j] = load_value(d + at + half + i);
    if (rotated) {
      const float c = z.cosine[turn + i], s = z.sine[turn + i], turned = low[j] * c + high[j] * s;
      high[j] = high[j] * c - low[j] * s;
      low[j] = turned;
    }
  }
  if (z.q_norm != nullptr) {
    const HeadValues<Value> x(z, raw + at, head, lane);
    if (x.norm != nullptr) {
      float inner = 0.0f;
#pragma unroll
      for (int j = 0; j < kPairsALane; ++j) {
        const int i = lane + j * 32;
        if (i >= half) continue;
        low[j] *= x.norm[i];
        high[j] *= x.norm[half + i];
        inner += low[j] * x.low[j] + high[j] * x.high[j];
      }
      const float back = warp_sum(inner) * x.scale * x.scale * x.scale / static_cast<float>(z.dim);
#pragma unroll
      for (int j = 0; j < kPairsALane; ++j) {
        low[j] = low[j] * x.scale - x.low[j] * back;
        high[j] = high[j] * x.scale - x.high[j] * back;
      }
    }
  }
#pragma unroll
  for (int j = 0; j < kPairsALane; ++j) {
    const int i = lane + j * 32;
    if (i >= half) continue;
    store_planes<P>(out + at + i, plane, low[j]);
    store_planes<P>(out + at + half + i, plane, high[j]);
  }
  for (int i = z.dim + lane; i < z.width; i += 32) store_planes<P>(out + at + i, plane, 0.0f);
}

struct Gate {
  float silu, slope;  // silu(g) and its derivative
};
__device__ inline Gate gate_of(float g) {
  const float sigmoid = 1.0f / (1.0f + expf(-g));
  const float silu = g * sigmoid;
  return {silu, sigmoid + silu * (1.0f - sigmoid)};
}

// Two columns a thread; blockIdx.x is the row.
template <typename Value>
__device__ inline void load_gate_up(const Value* row, const float* bias, int64_t i, int64_t inner, float2* gate,
                                    float2* up) {
  *gate = load_pair(row + i);
  *up = load_pair(row + inner + i);
  if (bias == nullptr) return;
  const float2 of_gate = load_pair(bias + i), of_up = load_pair(bias + inner + i);
  gate->x += of_gate.x;
  gate->y += of_gate.y;
  up->x += of_up.x;
  up->y += of_up.y;
}

template <int P, typename Value>
__global__ void __launch_bounds__(kThreads)
    swiglu_kernel(const Value* gate_up, const float* bias, int64_t inner, Bf16* act, int64_t plane) {
  const int64_t row = blockIdx.x, i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * 2;
  if (i >= inner) return;
  float2 gate, up;
  load_gate_up(gate_up + row * 2 * inner, bias, i, inner, &gate, &up);
  store_planes<P>(act + row * inner + i, plane, gate_of(gate.x).silu * up.x, gate_of(gate.y).silu * up.y);
}

template <int P, typename Value>
__global__ void __launch_bounds__(kThreads)
    swiglu_backward_kernel(const Value* gate_up, const float* bias, const Value* d_act, int64_t inner, Bf16* d_gate_up,
                           int64_t d_plane, Bf16* act, int64_t plane) {
  const int64_t row = blockIdx.x, i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * 2;
  if (i >= inner) return;
  float2 gate, up;
  load_gate_up(gate_up + row * 2 * inner, bias, i, inner, &gate, &up);
  const float2 d = load_pair(d_act + row * inner + i);
  const Gate a = gate_of(gate.x), b = gate_of(gate.y);
  store_planes<P>(act + row * inner + i, plane, a.silu * up.x, b.silu * up.y);
  Bf16* to = d_gate_up + row * 2 * inner + i;
  store_planes<P>(to, d_plane, d.x * up.x * a.slope, d.y * up.y * b.slope);
  store_planes<P>(to + inner, d_plane, d.x * a.silu, d.y * b.silu);
}

__global__ void __launch_bounds__(kThreads) add_bias_kernel(const float* bias, int64_t width, float* x) {
  for (int64_t i = threadIdx.x; i < width; i += kThreads) x[blockIdx.x * width + i] += bias[i];
}

template <int P>
__global__ void __launch_bounds__(kThreads) split_kernel(const float* x, int64_t count, Bf16* out, int64_t plane) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 2;
  if (i >= count) return;
  const float2 v = load_pair(x + i);
  store_planes<P>(out + i, plane, v.x, v.y);
}

// A block a row.
__global__ void __launch_bounds__(kThreads)
    add_logits_kernel(const float* logits, int64_t stride, const int32_t* targets, int64_t begin, int64_t width,
                      const CrossEntropy state) {
  const int64_t row = blockIdx.x;
  const float* z = logits + row * stride;
  float top = -INFINITY;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) top = fmaxf(top, z[i]);
  const float before = begin == 0 ? -INFINITY : state.top[row];
  top = fmaxf(block_max(top), before);
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) sum += expf(z[i] - top);
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  state.sum[row] = sum + (begin == 0 ? 0.0f : state.sum[row] * expf(before - top));
  state.top[row] = top;
  const int64_t target = targets[row] - begin;
  if (targets[row] >= 0 && target >= 0 && target < width) state.target[row] = z[target];
}

// One side of a divergence: its cross entropy goes on, and the first word with the largest logit so far is kept.
// Returns the new maximum; `before` is the old one.
__device__ float add_side(const float* z, int64_t begin, int64_t width, const CrossEntropy& state, int32_t* word,
                          float* before) {
  __shared__ int found;
  const int64_t row = blockIdx.x;
  float top = -INFINITY;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) top = fmaxf(top, z[i]);
  top = block_max(top);
  *before = begin == 0 ? -INFINITY : state.top[row];
  if (top > *before) {
    if (threadIdx.x == 0) found = 0x7fffffff;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < width; i += kThreads) {
      if (z[i] == top) atomicMin(&found, static_cast<int>(i));
    }
    __syncthreads();
    if (threadIdx.x == 0) word[row] = static_cast<int32_t>(begin + found);
    __syncthreads();
  }
  return fmaxf(top, *before);
}

// A block a row.
__global__ void __launch_bounds__(kThreads)
    add_divergence_kernel(const float* first, const float* second, int64_t stride, const int32_t* targets,
                          int64_t begin, int64_t width, const RunningDivergence state) {
  const int64_t row = blockIdx.x;
  const float *a = first + row * stride, *b = second + row * stride;
  float before_a, before_b;
  const float top_a = add_side(a, begin, width, state.first, state.first_word, &before_a);
  const float top_b = add_side(b, begin, width, state.second, state.second_word, &before_b);
  float sum_a = 0.0f, sum_b = 0.0f, weighted = 0.0f;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) {
    const float e = expf(a[i] - top_a);
    sum_a += e;
    weighted += e * (a[i] - b[i]);
    sum_b += expf(b[i] - top_b);
  }
  sum_a = block_sum(sum_a);
  sum_b = block_sum(sum_b);
  weighted = block_sum(weighted);
  if (threadIdx.x != 0) return;
  const bool go_on = begin > 0;
  const float shrink = go_on ? expf(before_a - top_a) : 0.0f;
  state.first.sum[row] = sum_a + (go_on ? state.first.sum[row] * shrink : 0.0f);
  state.weighted[row] = weighted + (go_on ? state.weighted[row] * shrink : 0.0f);
  state.second.sum[row] = sum_b + (go_on ? state.second.sum[row] * expf(before_b - top_b) : 0.0f);
  state.first.top[row] = top_a;
  state.second.top[row] = top_b;
  const int64_t target = targets[row] - begin;
  if (targets[row] < 0 || target < 0 || target >= width) return;
  state.first.target[row] = a[target];
  state.second.target[row] = b[target];
}

template <int P>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_backward_kernel(const float* logits, int64_t stride, const int32_t* targets, int64_t begin,
                                  int64_t width, float scale, const CrossEntropy state, Bf16* out, int64_t plane) {
  const int64_t row = blockIdx.x;
  const int32_t target = targets[row];
  const float top = state.top[row], share = target < 0 ? 0.0f : scale / state.sum[row];
  for (int64_t i = threadIdx.x; i < stride; i += kThreads) {
    float d = 0.0f;
    if (target >= 0 && i < width) {
      d = expf(logits[row * stride + i] - top) * share - (begin + i == target ? scale : 0.0f);
    }
    store_planes<P>(out + row * stride + i, plane, d);
  }
}

HeadLayout layout_of(const Positions& p) {
  const LanguageModelConfig& c = p.shape.config;
  return {static_cast<int>(p.context),
          c.heads,
          c.kv_heads,
          c.head_dim,
          static_cast<int>(p.shape.head),
          p.shape.qkv,
          c.rms_eps,
          p.cosine,
          p.sine,
          p.bias,
          p.q_norm,
          p.k_norm};
}

}  // namespace

void embed(const Stream& stream, const Operand& table, const int32_t* tokens, int64_t rows, int64_t hidden, float* x) {
  embed_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream.get()>>>(
      reinterpret_cast<const Bf16*>(table.data), table.plane, table.planes, tokens, hidden, x);
  check_launch("embedding");
}

void rms_norm(const Stream& stream, const float* x, const float* weight, int64_t rows, int64_t n, int64_t width,
              float eps, const Planes& out) {
  const auto kernel = out.count == 2 ? rms_norm_kernel<2> : rms_norm_kernel<1>;
  kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream.get()>>>(x, weight, static_cast<float>(n), width, eps,
                                                                     bf16(out.data), out.plane);
  check_launch("norm");
}

void rms_norm_backward(const Stream& stream, const float* x, const float* weight, const void* dy, bool dy_bf16,
                       const float* residual, int64_t rows, int64_t n, int64_t width, float eps, float* dx,
                       const Planes& out) {
  const auto run = [&](auto kernel, auto* gradient) {
    kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream.get()>>>(
        x, weight, gradient, residual, static_cast<float>(n), width, eps, dx, bf16(out.data), out.plane);
    check_launch("norm backward");
  };
  const auto* fp32 = static_cast<const float*>(dy);
  if (dy_bf16) {
    run(rms_norm_backward_kernel<1, Bf16>, static_cast<const Bf16*>(dy));
  } else if (out.count == 2) {
    run(rms_norm_backward_kernel<2, float>, fp32);
  } else {
    run(rms_norm_backward_kernel<1, float>, fp32);
  }
}

void position_heads(const Stream& stream, const Positions& positions, int64_t rows, const void* raw,
                    const Planes& qkv) {
  const HeadLayout z = layout_of(positions);
  // Values that stay where and as they are need no pass.
  const bool in_place = raw == qkv.data && z.bias == nullptr;
  const int heads = z.heads + (in_place ? 1 : 2) * z.kv_heads;
  const int64_t count = rows * heads;
  if (qkv.count == 2) {
    position_kernel<2><<<blocks_for(count, kWarps), kThreads, 0, stream.get()>>>(
        z, count, heads, static_cast<const float*>(raw), bf16(qkv.data), qkv.plane);
  } else {
    position_kernel<1><<<blocks_for(count, kWarps), kThreads, 0, stream.get()>>>(
        z, count, heads, static_cast<const Bf16*>(raw), bf16(qkv.data), qkv.plane);
  }
  check_launch("rotation");
}

void position_heads_backward(const Stream& stream, const Positions& positions, int64_t rows, const void* raw,
                             const void* d, const Planes& out) {
  const HeadLayout z = layout_of(positions);
  const int heads = z.heads + (d == out.data ? 1 : 2) * z.kv_heads;
  const int64_t count = rows * heads;
  if (out.count == 2) {
    position_backward_kernel<2><<<blocks_for(count, kWarps), kThreads, 0, stream.get()>>>(
        z, count, heads, static_cast<const float*>(raw), static_cast<const float*>(d), bf16(out.data), out.plane);
  } else {
    position_backward_kernel<1><<<blocks_for(count, kWarps), kThreads, 0, stream.get()>>>(
        z, count, heads, static_cast<const Bf16*>(raw), static_cast<const Bf16*>(d), bf16(out.data), out.plane);
  }
  check_launch("rotation backward");
}

void swiglu(const Stream& stream, const void* gate_up, const float* bias, int64_t rows, int64_t inner,
            const Planes& act) {
  const dim3 grid(static_cast<unsigned>(rows), blocks_for(inner, kThreads * 2));
  if (act.count == 2) {
    swiglu_kernel<2><<<grid, kThreads, 0, stream.get()>>>(static_cast<const float*>(gate_up), bias, inner,
                                                          bf16(act.data), act.plane);
  } else {
    swiglu_kernel<1><<<grid, kThreads, 0, stream.get()>>>(static_cast<const Bf16*>(gate_up), bias, inner,
                                                          bf16(act.data), act.plane);
  }
  check_launch("swiglu");
}

void swiglu_backward(const Stream& stream, const void* gate_up, const float* bias, const void* d_act, int64_t rows,
                     int64_t inner, const Planes& d_gate_up, const Planes& act) {
  const dim3 grid(static_cast<unsigned>(rows), blocks_for(inner, kThreads * 2));
  if (act.count == 2) {
    swiglu_backward_kernel<2><<<grid, kThreads, 0, stream.get()>>>(
        static_cast<const float*>(gate_up), bias, static_cast<const float*>(d_act), inner, bf16(d_gate_up.data),
        d_gate_up.plane, bf16(act.data), act.plane);
  } else {
    swiglu_backward_kernel<1>
        <<<grid, kThreads, 0, stream.get()>>>(static_cast<const Bf16*>(gate_up), bias, static_cast<const Bf16*>(d_act),
                                              inner, bf16(d_gate_up.data), d_gate_up.plane, bf16(act.data), act.plane);
  }
  check_launch("swiglu backward");
}

void add_bias(const Stream& stream, const float* bias, int64_t rows, int64_t width, float* x) {
  add_bias_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream.get()>>>(bias, width, x);
  check_launch("bias");
}

void split(const Stream& stream, const float* x, int64_t count, const Planes& out) {
  const auto kernel = out.count == 2 ? split_kernel<2> : split_kernel<1>;
  kernel<<<blocks_for(count, kThreads * 2), kThreads, 0, stream.get()>>>(x, count, bf16(out.data), out.plane);
  check_launch("conversion");
}

void add_logits(const Stream& stream, const float* logits, int64_t stride, const int32_t* targets, int64_t rows,
                int64_t begin, int64_t width, const CrossEntropy& state) {
  add_logits_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream.get()>>>(logits, stride, targets, begin, width,
                                                                                state);
  check_launch("cross entropy");
}

void add_divergence(const Stream& stream, const float* first, const float* second, int64_t stride,
                    const int32_t* targets, int64_t rows, int64_t begin, int64_t width,
                    const RunningDivergence& state) {
  add_divergence_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream.get()>>>(first, second, stride, targets,
                                                                                    begin, width, state);
  check_launch("divergence");
}

void cross_entropy_backward(const Stream& stream, const float* logits, int64_t stride, const int32_t* targets,
                            int64_t rows, int64_t begin, int64_t width, float scale, const CrossEntropy& state,
                            const Planes& out) {
  const auto kernel = out.count == 2 ? cross_entropy_backward_kernel<2> : cross_entropy_backward_kernel<1>;
  kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream.get()>>>(logits, stride, targets, begin, width, scale,
                                                                     state, bf16(out.data), out.plane);
  check_launch("cross entropy backward");
}

}  // namespace lq::cuda
