#include "lm/norm.h"
#include "lm/rows.cuh"

namespace lq::cuda {
namespace {

// Mean and inverse deviation of a row; without a mean, what RMSNorm divides by. A block a row.
struct RowMoments {
  float mean, scale;
};
__device__ RowMoments moments_of(const Norm& z, const float* row) {
  float mean = 0.0f;
  if (z.centred) {
    float sum = 0.0f;
    for (int64_t i = threadIdx.x * 4; i < z.width; i += kRowThreads * 4) {
      const float4 v = *reinterpret_cast<const float4*>(row + i);
      sum += v.x + v.y + v.z + v.w;
    }
    mean = block_sum(sum) / static_cast<float>(z.n);
  }
  float squares = 0.0f;
  for (int64_t i = threadIdx.x * 4; i < z.width; i += kRowThreads * 4) {
    const float4 v = *reinterpret_cast<const float4*>(row + i);
    const float at[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float d = i + k < z.n ? at[k] - mean : 0.0f;
      squares += d * d;
    }
  }
  return {mean, 1.0f / sqrtf(block_sum(squares) / static_cast<float>(z.n) + z.eps)};
}

// Hands two neighbouring columns of the normalised row at a time to emit(i, x, y).
template <typename Emit>
__device__ void for_normalized(const Norm& z, const float* row, const Emit& emit) {
  RowMoments m{0.0f, 1.0f};
  if (z.weight != nullptr) m = moments_of(z, row);
  for (int64_t i = threadIdx.x * 4; i < z.width; i += kRowThreads * 4) {
    const float4 v = *reinterpret_cast<const float4*>(row + i);
    float at[4] = {v.x, v.y, v.z, v.w};
    if (z.weight != nullptr) {
      const float4 w = *reinterpret_cast<const float4*>(z.weight + i);
      const float by[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
      for (int k = 0; k < 4; ++k) at[k] = by[k] * ((at[k] - m.mean) * m.scale);
    }
    if (z.bias != nullptr) {
      const float4 b = *reinterpret_cast<const float4*>(z.bias + i);
      at[0] += b.x;
      at[1] += b.y;
      at[2] += b.z;
      at[3] += b.w;
    }
    emit(i, at[0], at[1]);
    emit(i + 2, at[2], at[3]);
  }
}

template <int P>
__global__ void __launch_bounds__(kRowThreads)
    normalize_kernel(const Norm z, const float* x, Bf16* out, int64_t plane) {
  Bf16* to = out + blockIdx.x * z.width;
  for_normalized(z, x + blockIdx.x * z.width,
                 [&](int64_t i, float a, float b) { store_planes<P>(to + i, plane, a, b); });
}

__global__ void __launch_bounds__(kRowThreads)
    add_normalized_kernel(const Norm z, const float* x, float scale, const float* residual, float* out) {
  const int64_t at = blockIdx.x * z.width;
  // Every column is read and written by one thread, and the moments are known before any is written.
  for_normalized(z, x + at, [&](int64_t i, float a, float b) {
    const float2 r = residual == nullptr ? float2{0.0f, 0.0f} : load_pair(residual + at + i);
    store_pair(out + at + i, r.x + scale * a, r.y + scale * b);
  });
}

template <int P, typename Gradient>
__global__ void __launch_bounds__(kRowThreads)
    normalize_backward_kernel(const Norm z, const float* x, const Gradient* dy, float factor, const float* residual,
                              float* dx, Bf16* out, int64_t plane) {
  const int64_t row = blockIdx.x * z.width;
  const float n = static_cast<float>(z.n);
  RowMoments m{0.0f, factor};
  float mean_d = 0.0f, back = 0.0f;
  if (z.weight != nullptr) {
    m = moments_of(z, x + row);
    float total = 0.0f, inner = 0.0f;
    for (int64_t i = threadIdx.x * 2; i < z.width; i += kRowThreads * 2) {
      const float2 v = load_pair(x + row + i), w = load_pair(z.weight + i), d = load_pair(dy + row + i);
      // Weights are zero beyond n.
      total += d.x * w.x + d.y * w.y;
      inner += d.x * w.x * (v.x - m.mean) + d.y * w.y * (v.y - m.mean);
    }
    inner = block_sum(inner);
    if (z.centred) mean_d = factor * block_sum(total) / n;
    back = factor * inner * m.scale * m.scale * m.scale / n;
  }
  for (int64_t i = threadIdx.x * 2; i < z.width; i += kRowThreads * 2) {
    const float2 d = load_pair(dy + row + i);
    float a[2];
    if (z.weight == nullptr) {
      a[0] = factor * d.x;
      a[1] = factor * d.y;
    } else {
      const float2 v = load_pair(x + row + i), w = load_pair(z.weight + i);
      a[0] = (factor * d.x * w.x - mean_d) * m.scale - (v.x - m.mean) * back;
      a[1] = (factor * d.y * w.y - mean_d) * m.scale - (v.y - m.mean) * back;
      if (i >= z.n) a[0] = 0.0f;
      if (i + 1 >= z.n) a[1] = 0.0f;
    }
    if (residual != nullptr) {
      const float2 r = load_pair(residual + row + i);
      a[0] += r.x;
      a[1] += r.y;
    }
    if (dx != nullptr) store_pair(dx + row + i, a[0], a[1]);
    store_planes<P>(out + row + i, plane, a[0], a[1]);
  }
}

}  // namespace

void normalize(const Stream& stream, const Norm& norm, const float* x, int64_t rows, const Planes& out) {
  const auto kernel = out.count == 2 ? normalize_kernel<2> : normalize_kernel<1>;
  kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(norm, x, bf16(out.data), out.plane);
  check_launch("norm");
}

void add_normalized(const Stream& stream, const Norm& norm, const float* x, int64_t rows, float scale,
                    const float* residual, float* out) {
  add_normalized_kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(norm, x, scale, residual, out);
  check_launch("norm");
}

void normalize_backward(const Stream& stream, const Norm& norm, const float* x, int64_t rows, const NormGradient& g,
                        const Planes& out) {
  const auto run = [&](auto kernel, auto* dy) {
    kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(norm, x, dy, g.scale, g.residual, g.dx,
                                                                          bf16(out.data), out.plane);
    check_launch("norm backward");
  };
  const auto* fp32 = static_cast<const float*>(g.dy);
  if (g.dy_bf16) {
    run(normalize_backward_kernel<1, Bf16>, static_cast<const Bf16*>(g.dy));
  } else if (out.count == 2) {
    run(normalize_backward_kernel<2, float>, fp32);
  } else {
    run(normalize_backward_kernel<1, float>, fp32);
  }
}

}  // namespace lq::cuda
