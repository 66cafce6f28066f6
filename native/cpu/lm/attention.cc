#include "lm/attention.h"

#include <algorithm>
#include <cmath>

#include "lm/kernels.h"

namespace lq::lm {
namespace {

constexpr int64_t kQueries = 128;  // queries a block

// Queries [first, first + count) of a block, and the keys [begin, end) any of them attends to.
struct Block {
  int64_t first, count, begin, end;
};

// First key that the query at `position` attends to.
int64_t first_key(int64_t window, int64_t position) {
  return window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
}

Block block_at(const Batch& batch, int64_t window, int64_t first) {
  const int64_t count = std::min(kQueries, batch.context - first);
  return {first, count, first_key(window, first), first + count};
}

float scale_of(const LanguageModelConfig& c) {
  return static_cast<float>(c.attention_scale > 0 ? c.attention_scale
                                                  : 1.0 / std::sqrt(static_cast<double>(c.head_dim)));
}

// Where head h of the group begins in a row of q.
int64_t head_column(const LanguageModelConfig& c, int64_t group, int64_t h) {
  return (group * (c.heads / c.kv_heads) + h) * c.head_dim;
}

}  // namespace

int64_t attention_scratch(const Batch& batch) {
  return (batch.config.attention_softcap > 0 ? 3 : 2) * std::min(kQueries, batch.context) * batch.context;
}

void attention_forward(const Batch& batch, int64_t window, int64_t group, const float* q, const float* k,
                       const float* v, float* out, float* lse, float* scratch) {
  const LanguageModelConfig& c = batch.config;
  const int64_t dim = c.head_dim, q_size = batch.q_size(), kv_size = batch.kv_size();
  const float scale = scale_of(c), cap = static_cast<float>(c.attention_softcap);
  k += group * dim;
  v += group * dim;
  for (int64_t h = 0; h < c.heads / c.kv_heads; ++h) {
    const int64_t column = head_column(c, group, h);
    float* lse_of_head = lse == nullptr ? nullptr : lse + column / dim * batch.context;
    for (int64_t first = 0; first < batch.context; first += kQueries) {
      const Block b = block_at(batch, window, first);
      const int64_t keys = b.end - b.begin;
      batch.gemm(false, true, b.count, keys, dim, scale, q + b.first * q_size + column, q_size, k + b.begin * kv_size,
                 kv_size, 0.0f, scratch, keys);
      if (cap > 0) kernels().soft_cap(scratch, b.count * keys, cap);
      for (int64_t i = 0; i < b.count; ++i) {
        const int64_t position = b.first + i;
        const float sum = kernels().softmax_range(scratch + i * keys, first_key(window, position) - b.begin,
                                                  position + 1 - b.begin, keys);
        if (lse_of_head != nullptr) lse_of_head[position] = sum;
      }
      batch.gemm(false, false, b.count, dim, keys, 1.0f, scratch, keys, v + b.begin * kv_size, kv_size, 0.0f,
                 out + b.first * q_size + column, q_size);
    }
  }
}

void attention_backward(const Batch& batch, int64_t window, int64_t group, const float* q, const float* k,
                        const float* v, const float* out, const float* lse, float* d_out, float* dk, float* dv,
                        float* scratch) {
  const LanguageModelConfig& c = batch.config;
  const int64_t dim = c.head_dim, q_size = batch.q_size(), kv_size = batch.kv_size();
  const float scale = scale_of(c), cap = static_cast<float>(c.attention_softcap);
  const int64_t offset = group * dim;
  for (int64_t t = 0; t < batch.context; ++t) {
    std::fill_n(dk + t * kv_size + offset, dim, 0.0f);
    std::fill_n(dv + t * kv_size + offset, dim, 0.0f);
  }
  for (int64_t h = 0; h < c.heads / c.kv_heads; ++h) {
    const int64_t column = head_column(c, group, h);
    const float* lse_of_head = lse + column / dim * batch.context;
    for (int64_t first = 0; first < batch.context; first += kQueries) {
      const Block b = block_at(batch, window, first);
      const int64_t keys = b.end - b.begin;
      const int64_t at = b.first * q_size + column, key_at = b.begin * kv_size + offset;
      float* p = scratch;
      float* ds = p + b.count * keys;
      float* capped = ds + b.count * keys;
      batch.gemm(false, true, b.count, keys, dim, scale, q + at, q_size, k + key_at, kv_size, 0.0f, p, keys);
      batch.gemm(false, true, b.count, keys, dim, 1.0f, d_out + at, q_size, v + key_at, kv_size, 0.0f, ds, keys);
      if (cap > 0) {
        kernels().soft_cap(p, b.count * keys, cap);
        std::copy_n(p, b.count * keys, capped);
      }
      for (int64_t i = 0; i < b.count; ++i) {
        const int64_t position = b.first + i;
        kernels().softmax_again(p + i * keys, first_key(window, position) - b.begin, position + 1 - b.begin, keys,
                                lse_of_head[position]);
        const auto delta = static_cast<float>(kernels().dot(d_out + at + i * q_size, out + at + i * q_size, dim));
        kernels().softmax_backward(p + i * keys, delta, scale, keys, ds + i * keys);
      }
      if (cap > 0) kernels().soft_cap_backward(capped, b.count * keys, cap, ds);
      batch.gemm(true, false, keys, dim, b.count, 1.0f, p, keys, d_out + at, q_size, 1.0f, dv + key_at, kv_size);
      batch.gemm(false, false, b.count, dim, keys, 1.0f, ds, keys, k + key_at, kv_size, 0.0f, d_out + at, q_size);
      batch.gemm(true, false, keys, dim, b.count, 1.0f, ds, keys, q + at, q_size, 1.0f, dk + key_at, kv_size);
    }
  }
}

}  // namespace lq::lm
