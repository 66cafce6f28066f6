#include "lm/logits.h"
#include "lm/rows.cuh"

namespace lq::cuda {
namespace {

__global__ void __launch_bounds__(kRowThreads)
    finish_kernel(const LogitForm form, float* logits, int64_t count, int64_t stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (i >= count) return;
  const float z = form.scale * (logits[i] + (form.bias == nullptr ? 0.0f : form.bias[i % stride]));
  logits[i] = form.cap > 0.0f ? form.cap * tanhf(z / form.cap) : z;
}

// A block a row.
__global__ void __launch_bounds__(kRowThreads)
    add_logits_kernel(const float* logits, int64_t stride, const int32_t* targets, int64_t begin, int64_t width,
                      const CrossEntropy state) {
  const int64_t row = blockIdx.x;
  const float* z = logits + row * stride;
  float top = -INFINITY;
  // Rows lie on 16 bytes.
  for (int64_t i = threadIdx.x * 4; i < width; i += kRowThreads * 4) {
    const float4 x = *reinterpret_cast<const float4*>(z + i);
    const float at[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) top = fmaxf(top, i + k < width ? at[k] : -INFINITY);
  }
  const float before = begin == 0 ? -INFINITY : state.top[row];
  top = fmaxf(block_max(top), before);
  float sum = 0.0f;
  for (int64_t i = threadIdx.x * 4; i < width; i += kRowThreads * 4) {
    const float4 x = *reinterpret_cast<const float4*>(z + i);
    const float at[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) sum += i + k < width ? expf(at[k] - top) : 0.0f;
  }
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
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads) top = fmaxf(top, z[i]);
  top = block_max(top);
  *before = begin == 0 ? -INFINITY : state.top[row];
  if (top > *before) {
    if (threadIdx.x == 0) found = 0x7fffffff;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < width; i += kRowThreads) {
      if (z[i] == top) atomicMin(&found, static_cast<int>(i));
    }
    __syncthreads();
    if (threadIdx.x == 0) word[row] = static_cast<int32_t>(begin + found);
    __syncthreads();
  }
  return fmaxf(top, *before);
}

// A block a row.
__global__ void __launch_bounds__(kRowThreads)
    add_divergence_kernel(const float* first, const float* second, int64_t stride, const int32_t* targets,
                          int64_t begin, int64_t width, const RunningDivergence state) {
  const int64_t row = blockIdx.x;
  const float *a = first + row * stride, *b = second + row * stride;
  float before_a, before_b;
  const float top_a = add_side(a, begin, width, state.first, state.first_word, &before_a);
  const float top_b = add_side(b, begin, width, state.second, state.second_word, &before_b);
  float sum_a = 0.0f, sum_b = 0.0f, weighted = 0.0f;
  for (int64_t i = threadIdx.x; i < width; i += kRowThreads) {
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
__global__ void __launch_bounds__(kRowThreads)
    cross_entropy_backward_kernel(const float* logits, int64_t stride, const int32_t* targets, int64_t begin,
                                  int64_t width, float scale, const LogitForm form, const CrossEntropy state, Bf16* out,
                                  int64_t plane) {
  const int64_t row = blockIdx.x;
  const int32_t target = targets[row];
  const float top = state.top[row], share = target < 0 ? 0.0f : scale / state.sum[row];
  for (int64_t i = threadIdx.x; i < stride; i += kRowThreads) {
    float d = 0.0f;
    if (target >= 0 && i < width) {
      const float z = logits[row * stride + i];
      d = expf(z - top) * share - (begin + i == target ? scale : 0.0f);
      if (form.cap > 0.0f) d *= 1.0f - z / form.cap * (z / form.cap);
      d *= form.scale;
    }
    store_planes<P>(out + row * stride + i, plane, d);
  }
}

}  // namespace

void finish_logits(const Stream& stream, const LogitForm& form, float* logits, int64_t rows, int64_t stride) {
  if (form.plain()) return;
  const int64_t count = rows * stride;
  finish_kernel<<<blocks_for(count, kRowThreads), kRowThreads, 0, stream.get()>>>(form, logits, count, stride);
  check_launch("logits");
}

void add_logits(const Stream& stream, const float* logits, int64_t stride, const int32_t* targets, int64_t rows,
                int64_t begin, int64_t width, const CrossEntropy& state) {
  add_logits_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(logits, stride, targets, begin,
                                                                                   width, state);
  check_launch("cross entropy");
}

void add_divergence(const Stream& stream, const float* first, const float* second, int64_t stride,
                    const int32_t* targets, int64_t rows, int64_t begin, int64_t width,
                    const RunningDivergence& state) {
  add_divergence_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(first, second, stride, targets,
                                                                                       begin, width, state);
  check_launch("divergence");
}

void cross_entropy_backward(const Stream& stream, const float* logits, int64_t stride, const int32_t* targets,
                            int64_t rows, int64_t begin, int64_t width, float scale, const LogitForm& form,
                            const CrossEntropy& state, const Planes& out) {
  const auto kernel = out.count == 2 ? cross_entropy_backward_kernel<2> : cross_entropy_backward_kernel<1>;
  kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(logits, stride, targets, begin, width, scale,
                                                                        form, state, bf16(out.data), out.plane);
  check_launch("cross entropy backward");
}

}  // namespace lq::cuda
