#include <type_traits>

#include "lm/heads.h"
#include "lm/rows.cuh"

namespace lq::cuda {
namespace {

constexpr int kPairsALane = 4;  // pairs of a head of 256, over 32 lanes

struct HeadLayout {
  int context, heads, kv_heads, dim, width;  // width: padded dim
  int turning;                               // pairs that turn
  int64_t stride;                            // of a row
  float eps;
  float limit;         // values are cut to it; 0: none
  bool interleaved;    // pairs that turn are neighbours
  bool together;       // norms are over all heads of queries, and all of keys
  bool own;            // every head has weights of its own
  bool centred;        // norms subtract the mean
  bool turned;         // norms are of what is turned already
  float rate, length;  // of queries' growth; rate 0: none
  int offset;
  const float *cosine, *sine, *bias, *q_norm, *k_norm, *q_norm_bias, *k_norm_bias;
  float* sums;
};

// A head's dimensions in pairs: those that turn, then the others.
struct Pair {
  int low, high;
};
__device__ inline Pair pair_of(const HeadLayout& z, int i) {
  if (i < z.turning) return z.interleaved ? Pair{2 * i, 2 * i + 1} : Pair{i, i + z.turning};
  return {z.turning + i, z.dim / 2 + i};
}

// Where a warp's head lies, and what is done to it.
struct Head {
  int64_t row, at;                // of the row, and of the head's first element
  const float *norm, *norm_bias;  // of this head; null: none
  const float* bias;
  int64_t turn;  // of its row of cosines
  int kind;      // 0: queries, 1: keys, 2: values
  float growth;
  bool turns;
};
__device__ inline Head head_at(const HeadLayout& z, int64_t row, int position, int head) {
  Head h;
  h.row = row;
  h.at = row * z.stride + head * z.width;
  h.kind = head < z.heads ? 0 : head < z.heads + z.kv_heads ? 1 : 2;
  h.norm = h.kind == 0 ? z.q_norm : h.kind == 1 ? z.k_norm : nullptr;
  h.norm_bias = h.kind == 0 ? z.q_norm_bias : h.kind == 1 ? z.k_norm_bias : nullptr;
  const int own = z.together || z.own ? (h.kind == 0 ? head : head - z.heads) * z.width : 0;
  if (h.norm != nullptr) h.norm += own;
  if (h.norm_bias != nullptr) h.norm_bias += own;
  h.bias = z.bias == nullptr ? nullptr : z.bias + head * z.width;
  h.growth = 1.0f;
  if (h.kind == 0 && z.rate != 0.0f) {
    h.growth += z.rate * log1pf(floorf(static_cast<float>(position + z.offset) / z.length));
  }
  h.turns = h.kind < 2 && z.turning > 0;
  h.turn = static_cast<int64_t>(position) * z.turning;
  return h;
}

// The pairs a lane holds of a head.
struct Pairs {
  float low[kPairsALane], high[kPairsALane];
};

template <typename Work>
__device__ inline void for_pairs(const HeadLayout& z, int lane, const Work& work) {
#pragma unroll
  for (int j = 0; j < kPairsALane; ++j) {
    const int i = lane + j * 32;
    if (i < z.dim / 2) work(j, i, pair_of(z, i));
  }
}

// A value with its bias.
template <typename Value>
__device__ inline float biased(const Head& h, const Value* raw, int at) {
  return load_value(raw + h.at + at) + (h.bias == nullptr ? 0.0f : h.bias[at]);
}
__device__ inline float cut(const HeadLayout& z, float x) {
  return z.limit > 0.0f ? fminf(fmaxf(x, -z.limit), z.limit) : x;
}

// Values of a head with their bias, cut and, where its norm is centred, less their mean; the sum of their squares over
// the head.
template <typename Value>
__device__ inline float load_head(const HeadLayout& z, const Head& h, const Value* raw, int lane, Pairs* x) {
  float sum = 0.0f, squares = 0.0f;
  for_pairs(z, lane, [&](int j, int, Pair p) {
    x->low[j] = cut(z, biased(h, raw, p.low));
    x->high[j] = cut(z, biased(h, raw, p.high));
    sum += x->low[j] + x->high[j];
  });
  const float mean = h.norm != nullptr && z.centred ? warp_sum(sum) / static_cast<float>(z.dim) : 0.0f;
  for_pairs(z, lane, [&](int j, int, Pair) {
    x->low[j] -= mean;
    x->high[j] -= mean;
    squares += x->low[j] * x->low[j] + x->high[j] * x->high[j];
  });
  return h.norm == nullptr ? 0.0f : warp_sum(squares);
}

// Turns a head, or turns it back.
__device__ inline void turn(const HeadLayout& z, const Head& h, int lane, bool back, Pairs* x) {
  if (!h.turns) return;
  for_pairs(z, lane, [&](int j, int i, Pair) {
    if (i >= z.turning) return;
    const float c = z.cosine[h.turn + i], s = back ? -z.sine[h.turn + i] : z.sine[h.turn + i];
    const float a = x->low[j], b = x->high[j];
    x->low[j] = a * c - b * s;
    x->high[j] = b * c + a * s;
  });
}
__device__ inline float sum_of_squares(const HeadLayout& z, int lane, const Pairs& x) {
  float squares = 0.0f;
  for_pairs(z, lane, [&](int j, int, Pair) { squares += x.low[j] * x.low[j] + x.high[j] * x.high[j]; });
  return warp_sum(squares);
}

// Gradients of a head, turned back unless norms are of what is turned, and times the norm's weights where there are
// some.
template <typename Value>
__device__ inline void load_gradients(const HeadLayout& z, const Head& h, const Value* d, int lane, Pairs* out) {
  for_pairs(z, lane, [&](int j, int, Pair p) {
    out->low[j] = h.growth * load_value(d + h.at + p.low);
    out->high[j] = h.growth * load_value(d + h.at + p.high);
  });
  if (!z.turned) turn(z, h, lane, true, out);
  if (h.norm == nullptr) return;
  for_pairs(z, lane, [&](int j, int, Pair p) {
    out->low[j] *= h.norm[p.low];
    out->high[j] *= h.norm[p.high];
  });
}

__device__ inline float inner_product(const HeadLayout& z, int lane, const Pairs& x, const Pairs& y) {
  float sum = 0.0f;
  for_pairs(z, lane, [&](int j, int, Pair) { sum += x.low[j] * y.low[j] + x.high[j] * y.high[j]; });
  return warp_sum(sum);
}

// For norms over all heads together, a warp a row and kind: sums[row][kind] = squares, and, given gradients,
// sums[row][2 + kind] = their inner product with the values.
template <typename Value>
__global__ void __launch_bounds__(kRowThreads)
    sums_kernel(const HeadLayout z, int64_t count, const Value* raw, const Value* d) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kRowWarps + threadIdx.x / 32;
  if (item >= count) return;
  const int lane = threadIdx.x % 32, kind = static_cast<int>(item % 2);
  const int64_t row = item / 2;
  const int first = kind == 0 ? 0 : z.heads, end = kind == 0 ? z.heads : z.heads + z.kv_heads;
  float squares = 0.0f, inner = 0.0f;
  for (int head = first; head < end; ++head) {
    const Head h = head_at(z, row, static_cast<int>(row % z.context), head);
    Pairs x, g;
    squares += load_head(z, h, raw, lane, &x);
    if (d == nullptr) continue;
    load_gradients(z, h, d, lane, &g);
    inner += inner_product(z, lane, x, g);
  }
  if (lane != 0) return;
  z.sums[row * 4 + kind] = squares;
  if (d != nullptr) z.sums[row * 4 + 2 + kind] = inner;
}

// What a norm multiplies with, given the squares of this head.
__device__ inline float norm_scale(const HeadLayout& z, const Head& h, float squares, float* n) {
  *n = static_cast<float>(z.dim * (z.together ? (h.kind == 0 ? z.heads : z.kv_heads) : 1));
  if (z.together) squares = z.sums[h.row * 4 + h.kind];
  return 1.0f / sqrtf(squares / *n + z.eps);
}

template <int P>
__device__ inline void store_head(const HeadLayout& z, const Head& h, int lane, const Pairs& x, Bf16* out,
                                  int64_t plane) {
  for_pairs(z, lane, [&](int j, int, Pair p) {
    store_planes<P>(out + h.at + p.low, plane, x.low[j]);
    store_planes<P>(out + h.at + p.high, plane, x.high[j]);
  });
  for (int i = z.dim + lane; i < z.width; i += 32) store_planes<P>(out + h.at + i, plane, 0.0f);
}

// Calls work(head) for the heads of a row over the warps of its block.
template <typename Work>
__device__ inline void for_heads(const HeadLayout& z, int heads, const Work& work) {
  const int64_t row = blockIdx.x;
  const int position = static_cast<int>(static_cast<unsigned>(row) % static_cast<unsigned>(z.context));
  for (int head = threadIdx.x / 32; head < heads; head += kRowWarps) work(head_at(z, row, position, head));
}

template <int P, typename Value>
__device__ inline void position_head(const HeadLayout& z, const Head& h, int lane, const Value* raw, Bf16* out,
                                     int64_t plane) {
  Pairs x;
  float squares = load_head(z, h, raw, lane, &x);
  if (z.turned) {
    turn(z, h, lane, false, &x);
    squares = sum_of_squares(z, lane, x);
  }
  float n, scale = 1.0f;
  if (h.norm != nullptr) scale = norm_scale(z, h, squares, &n);
  for_pairs(z, lane, [&](int j, int, Pair p) {
    x.low[j] *= scale;
    x.high[j] *= scale;
    if (h.norm != nullptr) {
      x.low[j] *= h.norm[p.low];
      x.high[j] *= h.norm[p.high];
    }
    if (h.norm_bias != nullptr) {
      x.low[j] += h.norm_bias[p.low];
      x.high[j] += h.norm_bias[p.high];
    }
  });
  if (!z.turned) turn(z, h, lane, false, &x);
  for_pairs(z, lane, [&](int j, int, Pair) {
    x.low[j] *= h.growth;
    x.high[j] *= h.growth;
  });
  store_head<P>(z, h, lane, x, out, plane);
}

template <int P, typename Value>
__device__ inline void position_head_backward(const HeadLayout& z, const Head& h, int lane, const Value* raw,
                                              const Value* d, Bf16* out, int64_t plane) {
  Pairs g;
  load_gradients(z, h, d, lane, &g);
  if (h.norm != nullptr) {
    Pairs x;
    float squares = load_head(z, h, raw, lane, &x);
    if (z.turned) {
      turn(z, h, lane, false, &x);
      squares = sum_of_squares(z, lane, x);
    }
    float n;
    const float scale = norm_scale(z, h, squares, &n);
    const float inner = z.together ? z.sums[h.row * 4 + 2 + h.kind] : inner_product(z, lane, x, g);
    const float back = inner * scale * scale * scale / n;
    float sum = 0.0f;
    for_pairs(z, lane, [&](int j, int, Pair) { sum += g.low[j] + g.high[j]; });
    const float mean = z.centred ? warp_sum(sum) / n : 0.0f;
    for_pairs(z, lane, [&](int j, int, Pair) {
      g.low[j] = (g.low[j] - mean) * scale - x.low[j] * back;
      g.high[j] = (g.high[j] - mean) * scale - x.high[j] * back;
    });
  }
  if (z.turned) turn(z, h, lane, true, &g);
  // Nothing flows through what was cut.
  if (z.limit > 0.0f) {
    for_pairs(z, lane, [&](int j, int, Pair p) {
      if (fabsf(biased(h, raw, p.low)) >= z.limit) g.low[j] = 0.0f;
      if (fabsf(biased(h, raw, p.high)) >= z.limit) g.high[j] = 0.0f;
    });
  }
  store_head<P>(z, h, lane, g, out, plane);
}

// A block a row.
template <int P, typename Value>
__global__ void __launch_bounds__(kRowThreads)
    position_kernel(const HeadLayout z, int heads, const Value* raw, Bf16* out, int64_t plane) {
  for_heads(z, heads, [&](const Head& h) { position_head<P>(z, h, threadIdx.x % 32, raw, out, plane); });
}
template <int P, typename Value>
__global__ void __launch_bounds__(kRowThreads) position_backward_kernel(const HeadLayout z, int heads, const Value* raw,
                                                                        const Value* d, Bf16* out, int64_t plane) {
  for_heads(z, heads, [&](const Head& h) { position_head_backward<P>(z, h, threadIdx.x % 32, raw, d, out, plane); });
}

// Whether heads are turned whole, by halves, and that is all.
bool only_turns(const HeadLayout& z) {
  return z.bias == nullptr && z.q_norm == nullptr && z.k_norm == nullptr && z.limit == 0.0f && z.rate == 0.0f &&
         !z.interleaved && z.turning * 2 == z.dim && z.dim == z.width && z.turning % 8 == 0;
}
// A block a row; a thread eight pairs of a head.
template <int P, typename Value>
__global__ void __launch_bounds__(kRowThreads)
    turn_kernel(const HeadLayout z, int heads, bool back, const Value* from, Bf16* out, int64_t plane) {
  const int64_t row = blockIdx.x;
  const unsigned position = static_cast<unsigned>(row) % static_cast<unsigned>(z.context);
  const unsigned eights = static_cast<unsigned>(z.turning) / 8;
  for (unsigned item = threadIdx.x; item < heads * eights; item += kRowThreads) {
    const unsigned head = item / eights, i = item % eights * 8;
    const int64_t at = row * z.stride + head * z.width + i;
    Eight low = load_eight(from + at), high = load_eight(from + at + z.turning);
    if (head < static_cast<unsigned>(z.heads + z.kv_heads)) {
      const int64_t turn = static_cast<int64_t>(position) * z.turning + i;
      const Eight cosine = load_eight(z.cosine + turn), sine = load_eight(z.sine + turn);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const float a = low.at[k], b = high.at[k], s = back ? -sine.at[k] : sine.at[k];
        low.at[k] = a * cosine.at[k] - b * s;
        high.at[k] = b * cosine.at[k] + a * s;
      }
    }
    store_planes<P>(out + at, plane, low);
    store_planes<P>(out + at + z.turning, plane, high);
  }
}
template <int P, typename Value>
void turn_heads(const Stream& stream, const HeadLayout& z, int64_t rows, int heads, bool back, const void* from,
                const Planes& out) {
  turn_kernel<P, Value><<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(
      z, heads, back, static_cast<const Value*>(from), bf16(out.data), out.plane);
  check_launch("rotation");
}

HeadLayout layout_of(const Positions& p) {
  const LanguageModelConfig& c = p.shape.config;
  const Rotary rotary = p.rotary == nullptr ? Rotary{nullptr, nullptr, 0} : *p.rotary;
  const QueryGrowth& growth = c.attention.growth;
  const bool grows = !growth.unrotated || p.rotary == nullptr;
  return {static_cast<int>(p.context),
          c.heads,
          c.kv_heads,
          c.head_dim,
          static_cast<int>(p.shape.head),
          static_cast<int>(rotary.half),
          p.shape.qkv,
          c.rms_eps,
          static_cast<float>(c.attention.clamp),
          c.rotary.interleaved,
          p.shape.norms_together(),
          c.attention.head_norm == HeadNorm::layer_own,
          c.attention.head_norm == HeadNorm::layer || c.attention.head_norm == HeadNorm::layer_own,
          c.attention.head_norm == HeadNorm::rotated,
          grows ? static_cast<float>(growth.rate) : 0.0f,
          static_cast<float>(growth.length),
          growth.offset,
          rotary.cosine,
          rotary.sine,
          p.bias,
          p.q_norm,
          p.k_norm,
          p.q_norm_bias,
          p.k_norm_bias,
          p.sums};
}

template <typename Value>
void sum_heads(const Stream& stream, const HeadLayout& z, int64_t rows, const void* raw, const void* d) {
  if (z.q_norm == nullptr || !z.together) return;
  sums_kernel<<<blocks_for(rows * 2, kRowWarps), kRowThreads, 0, stream.get()>>>(
      z, rows * 2, static_cast<const Value*>(raw), static_cast<const Value*>(d));
  check_launch("norms of heads");
}

}  // namespace

void position_heads(const Stream& stream, const Positions& positions, int64_t rows, const void* raw,
                    const Planes& qkv) {
  const HeadLayout z = layout_of(positions);
  // Values that stay where and as they are need no pass.
  const bool in_place = raw == qkv.data && z.bias == nullptr && z.limit == 0.0f;
  const int heads = z.heads + (in_place ? 1 : 2) * z.kv_heads;
  if (only_turns(z)) {
    return qkv.count == 2 ? turn_heads<2, float>(stream, z, rows, heads, false, raw, qkv)
                          : turn_heads<1, Bf16>(stream, z, rows, heads, false, raw, qkv);
  }
  const auto run = [&](auto kernel, auto* values) {
    sum_heads<std::remove_const_t<std::remove_pointer_t<decltype(values)>>>(stream, z, rows, raw, nullptr);
    kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(z, heads, values, bf16(qkv.data), qkv.plane);
    check_launch("rotation");
  };
  if (qkv.count == 2) return run(position_kernel<2, float>, static_cast<const float*>(raw));
  run(position_kernel<1, Bf16>, static_cast<const Bf16*>(raw));
}

void position_heads_backward(const Stream& stream, const Positions& positions, int64_t rows, const void* raw,
                             const void* d, const Planes& out) {
  const HeadLayout z = layout_of(positions);
  const int heads = z.heads + (d == out.data && z.limit == 0.0f ? 1 : 2) * z.kv_heads;
  if (only_turns(z)) {
    return out.count == 2 ? turn_heads<2, float>(stream, z, rows, heads, true, d, out)
                          : turn_heads<1, Bf16>(stream, z, rows, heads, true, d, out);
  }
  const auto run = [&](auto kernel, auto* values) {
    using Value = std::remove_const_t<std::remove_pointer_t<decltype(values)>>;
    sum_heads<Value>(stream, z, rows, raw, d);
    kernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream.get()>>>(
        z, heads, values, static_cast<const Value*>(d), bf16(out.data), out.plane);
    check_launch("rotation backward");
  };
  if (out.count == 2) return run(position_backward_kernel<2, float>, static_cast<const float*>(raw));
  run(position_backward_kernel<1, Bf16>, static_cast<const Bf16*>(raw));
}

}  // namespace lq::cuda
