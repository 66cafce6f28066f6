#include "lm/routing.h"
#include "lm/rows.cuh"

namespace lq::cuda {
namespace {

constexpr int kRouteWarps = 4;  // rows a block, with two arrays of experts each in shared memory
constexpr int kRouteThreads = kRouteWarps * 32;

__device__ inline float warp_max(float x) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  return x;
}

struct Best {
  float value;
  int index;
};
// The largest over a warp, of equal ones the first.
__device__ inline Best warp_best(Best b) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const float value = __shfl_xor_sync(~0u, b.value, step);
    const int index = __shfl_xor_sync(~0u, b.index, step);
    if (value > b.value || (value == b.value && index < b.index)) b = {value, index};
  }
  return b;
}
__device__ inline Best best_of(const float* values, int n, int lane) {
  Best best{-INFINITY, n};
  for (int i = lane; i < n; i += 32) {
    if (values[i] > best.value) best = {values[i], i};
  }
  return warp_best(best);
}

// A row's scores: what is made of its logits.
struct Scores {
  const float* logits;
  const float* bias;
  RouterScore kind;
  float top, sum;  // of a softmax over all experts

  __device__ float logit(int e) const { return logits[e] + (bias == nullptr ? 0.0f : bias[e]); }
  __device__ float operator()(int e) const {
    const float x = logit(e);
    if (kind == RouterScore::softmax) return expf(x - top) / sum;
    if (kind == RouterScore::sigmoid) return 1.0f / (1.0f + expf(-x));
    return x;
  }
};
__device__ inline Scores scores_of(const Router& r, int64_t row, int lane) {
  Scores s{r.logits + row * r.stride, r.bias, r.config.score, 0.0f, 1.0f};
  if (s.kind != RouterScore::softmax) return s;
  float top = -INFINITY, sum = 0.0f;
  for (int e = lane; e < r.config.experts; e += 32) top = fmaxf(top, s.logit(e));
  s.top = warp_max(top);
  for (int e = lane; e < r.config.experts; e += 32) sum += expf(s.logit(e) - s.top);
  s.sum = warp_sum(sum);
  return s;
}

// Scores of a row's chosen experts as they are weighed, before renormalisation and scale.
__device__ inline void weigh(const Router& r, const Scores& scores, const int32_t* experts, float* chosen) {
  const int top_k = r.config.top_k;
  for (int k = 0; k < top_k; ++k) chosen[k] = scores(experts[k]);
  if (r.config.score != RouterScore::softmax_of_chosen) return;
  float top = -INFINITY, sum = 0.0f;
  for (int k = 0; k < top_k; ++k) top = fmaxf(top, chosen[k]);
  for (int k = 0; k < top_k; ++k) sum += chosen[k] = expf(chosen[k] - top);
  for (int k = 0; k < top_k; ++k) chosen[k] /= sum;
}
__device__ inline float scale_of(const MoeConfig& m) { return m.scale > 0 ? static_cast<float>(m.scale) : 1.0f; }

// Rules out the experts of all groups but the best, a group being worth its two best (DeepSeek-V3, section 2.1.2).
__device__ inline void keep_groups(const MoeConfig& m, int lane, float* choice, float* worth) {
  const int size = m.experts / m.groups;
  for (int g = lane; g < m.groups; g += 32) {
    float best = -INFINITY, second = -INFINITY;
    for (int e = g * size; e < (g + 1) * size; ++e) {
      const float x = choice[e];
      second = fmaxf(second, fminf(best, x));
      best = fmaxf(best, x);
    }
    worth[g] = best + second;
  }
  __syncwarp();
  // A kept group is marked by what none is worth.
  for (int i = 0; i < m.top_groups; ++i) {
    Best best{-INFINITY, m.groups};
    for (int g = lane; g < m.groups; g += 32) {
      if (worth[g] != INFINITY && worth[g] > best.value) best = {worth[g], g};
    }
    best = warp_best(best);
    if (lane == 0 && best.index < m.groups) worth[best.index] = INFINITY;
    __syncwarp();
  }
  for (int e = lane; e < m.experts; e += 32) {
    if (worth[e / size] != INFINITY) choice[e] = -INFINITY;
  }
  __syncwarp();
}

__global__ void __launch_bounds__(kRouteThreads) route_kernel(const Router r, const Routes out) {
  extern __shared__ float memory[];
  const MoeConfig& m = r.config;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRouteWarps + warp;
  if (row >= r.rows) return;
  float* choice = memory + warp * 2 * m.experts;
  float* other = choice + m.experts;
  const Scores scores = scores_of(r, row, lane);
  for (int e = lane; e < m.experts; e += 32) choice[e] = scores(e) + (r.correction == nullptr ? 0.0f : r.correction[e]);
  __syncwarp();
  if (m.groups > 1) keep_groups(m, lane, choice, other);
  int32_t* experts = out.experts + row * m.top_k;
  for (int k = 0; k < m.top_k; ++k) {
    const Best best = best_of(choice, m.experts, lane);
    if (lane == 0) {
      // Where logits are no numbers none is larger than another.
      const int index = min(best.index, m.experts - 1);
      experts[k] = index;
      choice[index] = -INFINITY;
    }
    __syncwarp();
  }
  if (lane != 0) return;
  weigh(r, scores, experts, other);
  float sum = 0.0f;
  for (int k = 0; k < m.top_k; ++k) sum += other[k];
  for (int k = 0; k < m.top_k; ++k) {
    out.weights[row * m.top_k + k] = other[k] / (m.renormalise ? sum : 1.0f) * scale_of(m);
  }
}

template <int P>
__global__ void __launch_bounds__(kRouteThreads)
    route_backward_kernel(const Router r, const Routes routes, const float* d, int64_t width, Bf16* out,
                          int64_t plane) {
  extern __shared__ float memory[];
  const MoeConfig& m = r.config;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRouteWarps + warp;
  if (row >= r.rows) return;
  float* chosen = memory + warp * 2 * m.experts;
  float* gradient = chosen + m.experts;
  const int32_t* experts = routes.experts + row * m.top_k;
  const Scores scores = scores_of(r, row, lane);
  if (lane == 0) {
    weigh(r, scores, experts, chosen);
    for (int k = 0; k < m.top_k; ++k) gradient[k] = d[row * m.top_k + k] * scale_of(m);
    if (m.renormalise) {
      float sum = 0.0f, inner = 0.0f;
      for (int k = 0; k < m.top_k; ++k) {
        sum += chosen[k];
        inner += chosen[k] * gradient[k];
      }
      for (int k = 0; k < m.top_k; ++k) gradient[k] = (gradient[k] - inner / sum) / sum;
    }
  }
  __syncwarp();
  float mean = 0.0f;
  for (int k = 0; k < m.top_k; ++k) mean += chosen[k] * gradient[k];
  for (int e = lane; e < width; e += 32) {
    float x = e < m.experts && m.score == RouterScore::softmax ? -scores(e) * mean : 0.0f;
    for (int k = 0; k < m.top_k; ++k) {
      if (experts[k] != e) continue;
      const float p = chosen[k], g = gradient[k];
      x += m.score == RouterScore::softmax   ? p * g
           : m.score == RouterScore::sigmoid ? g * p * (1.0f - p)
                                             : p * (g - mean);
    }
    store_planes<P>(out + row * width + e, plane, x);
  }
}

// A block a chunk of pairs, a thread a pair: the experts' pairs in it and, added up, in all.
__global__ void __launch_bounds__(kRowThreads) count_kernel(const Routes r, int64_t pairs, int experts) {
  extern __shared__ int of_chunk[];
  for (int e = threadIdx.x; e < experts; e += kRowThreads) of_chunk[e] = 0;
  __syncthreads();
  const int64_t pair = static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (pair < pairs) atomicAdd(of_chunk + r.experts[pair], 1);
  __syncthreads();
  for (int e = threadIdx.x; e < experts; e += kRowThreads) {
    r.begins[static_cast<int64_t>(e) * gridDim.x + blockIdx.x] = of_chunk[e];
    if (of_chunk[e] > 0) atomicAdd(r.counts + e, of_chunk[e]);
  }
}

// A warp an expert: its counts by chunk become where those begin.
__global__ void __launch_bounds__(32) begin_kernel(const Routes r, int64_t chunks) {
  const int expert = blockIdx.x, lane = threadIdx.x;
  int begin = 0;
  for (int e = lane; e < expert; e += 32) begin += r.counts[e];
  begin = __reduce_add_sync(~0u, begin);
  int32_t* own = r.begins + expert * chunks;
  for (int64_t first = 0; first < chunks; first += 32) {
    const int64_t at = first + lane;
    const int count = at < chunks ? own[at] : 0;
    int through = count;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int below = __shfl_up_sync(~0u, through, step);
      if (lane >= step) through += below;
    }
    if (at < chunks) own[at] = begin + through - count;
    begin += __shfl_sync(~0u, through, 31);
  }
}

// A block a chunk, a thread a pair.
__global__ void __launch_bounds__(kRowThreads) sort_kernel(const Routes r, int64_t pairs, int experts) {
  extern __shared__ int of_warps[];  // [warps, experts]
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int i = threadIdx.x; i < kRowWarps * experts; i += kRowThreads) of_warps[i] = 0;
  __syncthreads();
  const int64_t pair = static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  const int expert = pair < pairs ? r.experts[pair] : -1;
  const unsigned same = __match_any_sync(~0u, expert), before = same & ((1u << lane) - 1);
  if (expert >= 0 && before == 0) of_warps[warp * experts + expert] = __popc(same);
  __syncthreads();
  if (expert < 0) return;
  int at = r.begins[static_cast<int64_t>(expert) * gridDim.x + blockIdx.x] + __popc(before);
  for (int w = 0; w < warp; ++w) at += of_warps[w * experts + expert];
  r.by_expert[at] = static_cast<int32_t>(pair);
  r.place[pair] = at;
  r.owner[at] = expert;
}

// A block an expert, a thread a sequence.
__global__ void begins_kernel(const Routes r, int top_k, int64_t sequences, int64_t context, int32_t* begins) {
  int first = 0;
  for (int e = 0; e < static_cast<int>(blockIdx.x); ++e) first += r.counts[e];
  const int end = first + r.counts[blockIdx.x];
  for (int64_t s = threadIdx.x; s <= sequences; s += blockDim.x) {
    int low = first, high = end;  // the first sorted pair of a row from s * context on
    while (low < high) {
      const int middle = (low + high) / 2;
      if (r.by_expert[middle] / top_k < s * context) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    begins[blockIdx.x * (sequences + 1) + s] = low - first;
  }
}

__global__ void __launch_bounds__(kRowThreads)
    lone_kernel(const Router r, const int32_t* by_expert, int expert, int64_t count, float* weights) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t pair = by_expert[i];
  const Scores scores{r.logits + pair / r.config.top_k * r.stride, r.bias, RouterScore::sigmoid, 0.0f, 1.0f};
  weights[pair] = scores(expert) * scale_of(r.config);
}

int shared_bytes(const MoeConfig& m) { return kRouteWarps * 2 * m.experts * static_cast<int>(sizeof(float)); }

}  // namespace

int64_t route_chunks(int64_t pairs) { return ceil_div(pairs, kRowThreads); }

void route(const Stream& stream, const Router& r, const Routes& routes) {
  const int64_t pairs = r.rows * r.config.top_k;
  const auto experts = static_cast<unsigned>(r.config.experts);
  route_kernel<<<blocks_for(r.rows, kRouteWarps), kRouteThreads, shared_bytes(r.config), stream.get()>>>(r, routes);
  check_launch("routing");
  const auto chunks = static_cast<unsigned>(route_chunks(pairs));
  check(cudaMemsetAsync(routes.counts, 0, experts * sizeof(int32_t), stream.get()), "clearing device memory");
  const int words = r.config.experts * static_cast<int>(sizeof(int32_t));
  count_kernel<<<chunks, kRowThreads, words, stream.get()>>>(routes, pairs, r.config.experts);
  check_launch("routing");
  begin_kernel<<<experts, 32, 0, stream.get()>>>(routes, chunks);
  check_launch("routing");
  sort_kernel<<<chunks, kRowThreads, kRowWarps * words, stream.get()>>>(routes, pairs, r.config.experts);
  check_launch("routing");
}

void route_backward(const Stream& stream, const Router& r, const Routes& routes, const float* d, const Planes& d_logits,
                    int64_t width) {
  const auto kernel = d_logits.count == 2 ? route_backward_kernel<2> : route_backward_kernel<1>;
  kernel<<<blocks_for(r.rows, kRouteWarps), kRouteThreads, shared_bytes(r.config), stream.get()>>>(
      r, routes, d, width, bf16(d_logits.data), d_logits.plane);
  check_launch("routing backward");
}

void lone_weights(const Stream& stream, const Router& router, const int32_t* by_expert, int32_t expert, int64_t count,
                  float* weights) {
  if (count == 0) return;
  lone_kernel<<<blocks_for(count, kRowThreads), kRowThreads, 0, stream.get()>>>(router, by_expert, expert, count,
                                                                                weights);
  check_launch("weights of an expert");
}

void sequence_begins(const Stream& stream, const Router& r, const Routes& routes, int64_t sequences, int64_t context,
                     int32_t* begins) {
  begins_kernel<<<static_cast<unsigned>(r.config.experts), 128, 0, stream.get()>>>(routes, r.config.top_k, sequences,
                                                                                   context, begins);
  check_launch("routing");
}

}  // namespace lq::cuda
