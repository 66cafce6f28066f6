#include <cmath>
#include <type_traits>

#include "lm/attention.cuh"
#include "lm/attention.h"

namespace lq::cuda {
namespace {

constexpr float kLog2E = 1.44269504088896341f;

// Shapes a kernel reads; strides and planes in elements.
struct Sizes {
  int context, window, heads, group;  // group: query heads a key-value head
  int64_t stride, plane;              // of qkv
  int64_t q, kv;                      // widths of its parts
  float scale, cap;                   // of scores, and their soft-cap; 0: none
  bool causal, chunked;
  const float *slopes, *sinks;  // [heads], or null
};

Sizes sizes_of(const Attention& a) {
  const LanguageModelConfig& c = a.shape.config;
  return {
      static_cast<int>(a.context),
      a.window,
      c.heads,
      c.heads / c.kv_heads,
      a.qkv.stride,
      a.qkv.plane,
      a.shape.q,
      a.shape.kv,
      static_cast<float>(c.attention.scale > 0 ? c.attention.scale : 1.0 / std::sqrt(static_cast<double>(c.head_dim))),
      static_cast<float>(c.attention.softcap),
      !c.attention.both_directions,
      c.attention.chunked && a.window > 0,
      a.slopes,
      a.sinks};
}

// What a head adds to its scores by distance.
__device__ inline float slope_of(const Sizes& z, int head) { return z.slopes == nullptr ? 0.0f : z.slopes[head]; }

// 2^x for x <= 0, to two units in the last place; what would be denormal is 0.
__device__ inline float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A score from a product of a query and a key, `distance` positions before it.
__device__ inline float score_of(const Sizes& z, float slope, int distance, float product) {
  const float x = product * z.scale - slope * static_cast<float>(distance);
  return z.cap > 0.0f ? z.cap * tanhf(x / z.cap) : x;
}
// d(score) / d(product).
__device__ inline float score_slope(const Sizes& z, float score) {
  return z.cap > 0.0f ? z.scale * (1.0f - score / z.cap * (score / z.cap)) : z.scale;
}

__device__ inline bool attends(const Sizes& z, int query, int key) {
  if (query >= z.context || key >= z.context || (z.causal && key > query)) return false;
  if (z.chunked) return query / z.window == key / z.window;
  return z.window == 0 || (query - key < z.window && key - query < z.window);
}

// Whether all of some queries in a row attend to all of some keys in a row.
__device__ inline bool all_attend(const Sizes& z, int first, int last, int first_of_keys, int last_of_keys) {
  if (last_of_keys >= z.context || (z.causal && last_of_keys > first)) return false;
  if (z.window == 0) return true;
  if (z.chunked) return min(first, first_of_keys) / z.window == max(last, last_of_keys) / z.window;
  return last - first_of_keys < z.window && last_of_keys - first < z.window;
}

// First key any query from `query` on attends to, and the end of those that queries up to `last` do.
__device__ inline int first_key(const Sizes& z, int query) {
  if (z.chunked) return query / z.window * z.window;
  return z.window > 0 && query >= z.window ? query - z.window + 1 : 0;
}
__device__ inline int end_key(const Sizes& z, int last) {
  if (z.causal) return min(last + 1, z.context);
  if (z.chunked) return min((last / z.window + 1) * z.window, z.context);
  return z.window > 0 ? min(last + z.window, z.context) : z.context;
}
// The same of queries that attend to a key.
__device__ inline int first_query(const Sizes& z, int key) { return z.causal ? key : first_key(z, key); }
__device__ inline int end_query(const Sizes& z, int last) {
  if (z.chunked) return min((last / z.window + 1) * z.window, z.context);
  return z.window > 0 ? min(last + z.window, z.context) : z.context;
}

// Tile sizes that keep shared memory under 99 KB, what every supported device has.
template <int D, int Planes>
struct ForwardTiles {
  static constexpr int kQueries = D > 128 ? 32 : 64;
  static constexpr int kKeys = Planes == 1 ? (D > 128 ? 32 : 64) : (D > 128 ? 16 : 32);
  static constexpr int kThreads = kQueries * 2;
  static constexpr int kBytes = (kQueries + 2 * kKeys) * kPitch<D> * Planes * static_cast<int>(sizeof(Bf16));
};

template <int D, int Planes>
__global__ void __launch_bounds__(ForwardTiles<D, Planes>::kThreads)
    forward_kernel(const Sizes z, const Bf16* qkv, Bf16* out, int64_t out_plane, float* lse) {
  using T = ForwardTiles<D, Planes>;
  extern __shared__ __align__(16) unsigned char memory[];
  Bf16* of_q = reinterpret_cast<Bf16*>(memory);
  Bf16* of_k = of_q + T::kQueries * kPitch<D> * Planes;
  Bf16* of_v = of_k + T::kKeys * kPitch<D> * Planes;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int head = blockIdx.y, sequence = blockIdx.z;
  // Later queries have more keys: they go first.
  const int query0 = static_cast<int>(gridDim.x - 1 - blockIdx.x) * T::kQueries;
  const Bf16* q = qkv + sequence * z.context * z.stride + head * D;
  const Bf16* k = qkv + sequence * z.context * z.stride + z.q + head / z.group * D;
  const Bf16* v = k + z.kv;
  load_rows<D, Planes, T::kQueries, T::kThreads>(of_q, q, z.stride, z.plane, query0, z.context);
  copy_commit();

  float o[D / 8][4] = {};
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  const int end = end_key(z, query0 + T::kQueries - 1);
  const float slope = slope_of(z, head);
  for (int key0 = first_key(z, query0) / T::kKeys * T::kKeys; key0 < end; key0 += T::kKeys) {
    __syncthreads();
    load_rows<D, Planes, T::kKeys, T::kThreads>(of_k, k, z.stride, z.plane, key0, z.context);
    copy_commit();
    load_rows<D, Planes, T::kKeys, T::kThreads>(of_v, v, z.stride, z.plane, key0, z.context);
    copy_commit();
    copy_wait<1>();
    __syncthreads();
    float s[T::kKeys / 8][4] = {};
    rows_times_rows<D, Planes, T::kQueries, T::kKeys>(s, of_q, warp * 16, of_k, lane);
    // Most tiles have neither what a score may be besides a product nor keys that are not met: their path is short, and
    // the other's instructions stay out of its way.
    const int first = query0 + warp * 16;
    if (z.cap == 0.0f && slope == 0.0f && all_attend(z, first, first + 15, key0, key0 + T::kKeys - 1)) {
      const float scale = z.scale * kLog2E;
#pragma unroll
      for (int n = 0; n < T::kKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) s[n][e] *= scale;
      }
    } else {
#pragma unroll
      for (int n = 0; n < T::kKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int query = first + lane / 4 + e / 2 * 8, key = key0 + n * 8 + lane % 4 * 2 + e % 2;
          s[n][e] = attends(z, query, key) ? score_of(z, slope, query - key, s[n][e]) * kLog2E : -INFINITY;
        }
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float now = top[half];
#pragma unroll
      for (int n = 0; n < T::kKeys / 8; ++n) now = fmaxf(now, fmaxf(s[n][half * 2], s[n][half * 2 + 1]));
      now = fmaxf(now, __shfl_xor_sync(~0u, now, 1));
      now = fmaxf(now, __shfl_xor_sync(~0u, now, 2));
      // A row that has met no key yet must not become a NaN.
      const float base = now == -INFINITY ? 0.0f : now;
      const float keep = power_of_two(top[half] - base);
      top[half] = now;
      sum[half] *= keep;
#pragma unroll
      for (int n = 0; n < T::kKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& x = s[n][half * 2 + e];
          x = power_of_two(x - base);
          sum[half] += x;
        }
      }
#pragma unroll
      for (int d = 0; d < D / 8; ++d) {
        o[d][half * 2] *= keep;
        o[d][half * 2 + 1] *= keep;
      }
    }
    copy_wait<0>();
    __syncthreads();
    weights_times_rows<D, Planes, T::kKeys>(o, s, of_v, lane);
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = query0 + warp * 16 + lane / 4 + half * 8;
    float total = sum[half];
    total += __shfl_xor_sync(~0u, total, 1);
    total += __shfl_xor_sync(~0u, total, 2);
    if (query >= z.context) continue;
    float keep = 1.0f;
    if (z.sinks != nullptr) {
      const float sink = z.sinks[head] * kLog2E, now = fmaxf(top[half], sink);
      keep = exp2f(top[half] - now);
      total = total * keep + exp2f(sink - now);
      top[half] = now;
    }
    const float scale_out = keep / total;
    Bf16* row = out + (static_cast<int64_t>(sequence) * z.context + query) * z.q + head * D;
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      store_planes<Planes>(row + d * 8 + lane % 4 * 2, out_plane, o[d][half * 2] * scale_out,
                           o[d][half * 2 + 1] * scale_out);
    }
    if (lane % 4 == 0) {
      lse[(static_cast<int64_t>(sequence) * z.heads + head) * z.context + query] = top[half] / kLog2E + logf(total);
    }
  }
}

// delta = inner product of out and its gradient, a warp for each row and head.
template <int Planes>
__global__ void delta_kernel(const Sizes z, int width, const Bf16* out, int64_t out_plane, const Bf16* d_out,
                             int64_t d_plane, int64_t count, float* delta) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  const int lane = threadIdx.x % 32;
  if (i >= count) return;
  const int64_t row = i / z.heads, head = i % z.heads;
  const int64_t at = row * z.q + head * width;
  float sum = 0.0f;
  for (int d = lane; d < width; d += 32) {
    sum = fmaf(load_planes<Planes>(out + at + d, out_plane), load_planes<Planes>(d_out + at + d, d_plane), sum);
  }
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (lane == 0) delta[(row / z.context * z.heads + head) * z.context + row % z.context] = sum;
}

// Backward keeps two own tiles of rows resident and streams pairs of others past them.
template <int D, int Planes>
struct BackwardTiles {
  static constexpr int kOwn = Planes == 2 || D > 128 ? 32 : 64;
  static constexpr int kOther = Planes == 2 && D > 128 ? 16 : 32;
  static constexpr int kThreads = kOwn * 2;
  static constexpr int kBytes = 2 * (kOwn + kOther) * kPitch<D> * Planes * static_cast<int>(sizeof(Bf16));
};

// Gradients of keys and values (own rows are keys, others the queries of every head of the group), or of queries (own
// rows are queries, others keys). With own tiles (x, y) and others (u, v), scores are x u' and the gradient of
// probabilities y v': (k, v) against (q, d_out), or (q, d_out) against (k, v).
template <int D, int Planes, bool OfKeys, typename Value>
__global__ void __launch_bounds__(BackwardTiles<D, Planes>::kThreads)
    backward_kernel(const Sizes z, const Bf16* qkv, const Bf16* d_out, int64_t d_plane, const float* lse,
                    const float* delta, Value* d_qkv) {
  using T = BackwardTiles<D, Planes>;
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr int kOwnTile = T::kOwn * kPitch<D> * Planes, kOtherTile = T::kOther * kPitch<D> * Planes;
  Bf16* x = reinterpret_cast<Bf16*>(memory);
  Bf16* y = x + kOwnTile;
  Bf16* u = y + kOwnTile;
  Bf16* v = u + kOtherTile;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int own0 = static_cast<int>(OfKeys ? blockIdx.x : gridDim.x - 1 - blockIdx.x) * T::kOwn;
  const int64_t row0 = static_cast<int64_t>(blockIdx.z) * z.context;
  const int key_head = OfKeys ? blockIdx.y : blockIdx.y / z.group;
  const int heads = OfKeys ? z.group : 1;
  const Bf16* base = qkv + row0 * z.stride;
  const int64_t key_column = z.q + static_cast<int64_t>(key_head) * D;

  // own: gradients of x; own_y: of y, which only keys need (y is the values there).
  float of_x[D / 8][4] = {};
  float of_y[OfKeys ? D / 8 : 1][4] = {};
  for (int h = 0; h < heads; ++h) {
    const int head = OfKeys ? key_head * z.group + h : blockIdx.y;
    const Bf16* q = base + static_cast<int64_t>(head) * D;
    const Bf16* d = d_out + row0 * z.q + static_cast<int64_t>(head) * D;
    const int64_t statistics = (static_cast<int64_t>(blockIdx.z) * z.heads + head) * z.context;
    if (h == 0) {
      load_rows<D, Planes, T::kOwn, T::kThreads>(x, OfKeys ? base + key_column : q, z.stride, z.plane, own0, z.context);
      load_rows<D, Planes, T::kOwn, T::kThreads>(y, OfKeys ? base + key_column + z.kv : d, OfKeys ? z.stride : z.q,
                                                 OfKeys ? z.plane : d_plane, own0, z.context);
    }
    const int begin = (OfKeys ? first_query(z, own0) : first_key(z, own0)) / T::kOther * T::kOther;
    const int end = OfKeys ? end_query(z, own0 + T::kOwn - 1) : end_key(z, own0 + T::kOwn - 1);
    const float slope = slope_of(z, head);
    for (int other0 = begin; other0 < end; other0 += T::kOther) {
      __syncthreads();
      load_rows<D, Planes, T::kOther, T::kThreads>(u, OfKeys ? q : base + key_column, z.stride, z.plane, other0,
                                                   z.context);
      load_rows<D, Planes, T::kOther, T::kThreads>(v, OfKeys ? d : base + key_column + z.kv, OfKeys ? z.q : z.stride,
                                                   OfKeys ? d_plane : z.plane, other0, z.context);
      copy_commit();
      copy_wait<0>();
      __syncthreads();
      float p[T::kOther / 8][4] = {}, dp[T::kOther / 8][4] = {};
      rows_times_rows<D, Planes, T::kOwn, T::kOther>(p, x, warp * 16, u, lane);
      rows_times_rows<D, Planes, T::kOwn, T::kOther>(dp, y, warp * 16, v, lane);
#pragma unroll
      for (int n = 0; n < T::kOther / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int own = own0 + warp * 16 + lane / 4 + e / 2 * 8;
          const int other = other0 + n * 8 + lane % 4 * 2 + e % 2;
          const int query = OfKeys ? other : own, key = OfKeys ? own : other;
          const bool on = attends(z, query, key);
          const float log_sum = on ? lse[statistics + query] : 0.0f;
          const float mean = on ? delta[statistics + query] : 0.0f;
          const float score = score_of(z, slope, query - key, p[n][e]);
          p[n][e] = on ? exp2f((score - log_sum) * kLog2E) : 0.0f;
          dp[n][e] = p[n][e] * (dp[n][e] - mean) * score_slope(z, score);
        }
      }
      weights_times_rows<D, Planes, T::kOther>(of_x, dp, u, lane);
      if constexpr (OfKeys) weights_times_rows<D, Planes, T::kOther>(of_y, p, v, lane);
    }
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int own = own0 + warp * 16 + lane / 4 + half * 8;
    if (own >= z.context) continue;
    Value* row = d_qkv + (row0 + own) * z.stride + (OfKeys ? key_column : static_cast<int64_t>(blockIdx.y) * D);
#pragma unroll
    for (int d = 0; d < D / 8; ++d) {
      Value* at = row + d * 8 + lane % 4 * 2;
      store_pair(at, of_x[d][half * 2], of_x[d][half * 2 + 1]);
      if constexpr (OfKeys) store_pair(at + z.kv, of_y[d][half * 2], of_y[d][half * 2 + 1]);
    }
  }
}

template <typename Kernel>
void allow_shared_memory(Kernel kernel, int bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "preparing attention");
}

template <int D, int Planes>
struct Launch {
  static void forward(const Stream& stream, const Attention& a, uint16_t* out, int64_t out_plane, float* lse) {
    using T = ForwardTiles<D, Planes>;
    const Sizes z = sizes_of(a);
    const auto kernel = forward_kernel<D, Planes>;
    allow_shared_memory(kernel, T::kBytes);
    const dim3 grid(static_cast<unsigned>(ceil_div(a.context, T::kQueries)), static_cast<unsigned>(z.heads),
                    static_cast<unsigned>(a.sequences));
    kernel<<<grid, T::kThreads, T::kBytes, stream.get()>>>(z, reinterpret_cast<const Bf16*>(a.qkv.data),
                                                           reinterpret_cast<Bf16*>(out), out_plane, lse);
    check_launch("attention");
  }

  static void backward(const Stream& stream, const Attention& a, const Operand& out, const Operand& d_out,
                       const float* lse, float* delta, void* d_qkv) {
    using T = BackwardTiles<D, Planes>;
    using Value = std::conditional_t<Planes == 2, float, Bf16>;
    const Sizes z = sizes_of(a);
    const auto* gradient = reinterpret_cast<const Bf16*>(d_out.data);
    const int64_t count = a.sequences * a.context * z.heads;
    delta_kernel<Planes><<<static_cast<unsigned>(ceil_div(count, 8)), 256, 0, stream.get()>>>(
        z, D, reinterpret_cast<const Bf16*>(out.data), out.plane, gradient, d_out.plane, count, delta);
    check_launch("attention backward");
    const auto tiles = static_cast<unsigned>(ceil_div(a.context, T::kOwn));
    const auto run = [&](auto kernel, int heads) {
      allow_shared_memory(kernel, T::kBytes);
      const dim3 grid(tiles, static_cast<unsigned>(heads), static_cast<unsigned>(a.sequences));
      kernel<<<grid, T::kThreads, T::kBytes, stream.get()>>>(z, reinterpret_cast<const Bf16*>(a.qkv.data), gradient,
                                                             d_out.plane, lse, delta, static_cast<Value*>(d_qkv));
      check_launch("attention backward");
    };
    run(backward_kernel<D, Planes, true, Value>, z.heads / z.group);
    run(backward_kernel<D, Planes, false, Value>, z.heads);
  }
};

// Calls work(Launch<D, Planes>{}) for the head width and planes at hand.
template <typename Work>
void dispatch(const Attention& a, Work&& work) {
  const auto by_planes = [&](auto width) {
    constexpr int D = decltype(width)::value;
    if (a.qkv.planes == 2) return work(Launch<D, 2>{});
    work(Launch<D, 1>{});
  };
  switch (a.shape.head) {
    case 16:
      return by_planes(std::integral_constant<int, 16>{});
    case 32:
      return by_planes(std::integral_constant<int, 32>{});
    case 64:
      return by_planes(std::integral_constant<int, 64>{});
    case 80:
      return by_planes(std::integral_constant<int, 80>{});
    case 96:
      return by_planes(std::integral_constant<int, 96>{});
    case 128:
      return by_planes(std::integral_constant<int, 128>{});
    case 256:
      return by_planes(std::integral_constant<int, 256>{});
    default:
      fail(StatusCode::internal, "no attention kernel for heads of %lld", static_cast<long long>(a.shape.head));
  }
}

}  // namespace

void attention_forward(const Stream& stream, const Attention& attention, uint16_t* out, int64_t out_plane, float* lse) {
  dispatch(attention, [&](auto launch) { launch.forward(stream, attention, out, out_plane, lse); });
}

void attention_backward(const Stream& stream, const Attention& attention, const Operand& out, const Operand& d_out,
                        const float* lse, float* delta, void* d_qkv) {
  dispatch(attention, [&](auto launch) { launch.backward(stream, attention, out, d_out, lse, delta, d_qkv); });
}

}  // namespace lq::cuda
