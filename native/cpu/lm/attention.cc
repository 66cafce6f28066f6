#include "lm/attention.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "lm/kernels.h"

namespace lq::lm {
namespace {

constexpr int64_t kQueries = 128;  // queries a block

// Queries [first, first + count) of a block, and keys [begin, end) that have all that any of them attends to; they
// begin where parts of packed operands do.
struct Block {
  int64_t first, count, begin, end;
};

// Keys [begin, end) that the query at `position` attends to.
struct Range {
  int64_t begin, end;
};
Range keys_of(const Batch& batch, int64_t window, int64_t position) {
  const bool both = batch.config.attention.both_directions;
  if (batch.config.attention.chunked && window > 0) {
    const int64_t first = position / window * window;
    return {first, both ? std::min(batch.context, first + window) : position + 1};
  }
  const int64_t begin = window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
  if (!both) return {begin, position + 1};
  return {begin, window > 0 ? std::min(batch.context, position + window) : batch.context};
}

Block block_at(const Batch& batch, int64_t window, int64_t first) {
  constexpr int64_t kStep = std::max(cpu::bf16::kDepth, cpu::bf16::kColumns);
  const int64_t count = std::min(kQueries, batch.context - first);
  return {first, count, keys_of(batch, window, first).begin / kStep * kStep,
          keys_of(batch, window, first + count - 1).end};
}

// x rounded to bf16, to nearest even.
float to_bfloat16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u);
}

// Adds a head's biases by distance to the scores of a block.
void add_distances(const AttentionParts& a, int64_t head, const Block& b, float* scores) {
  const int64_t keys = b.end - b.begin;
  const float slope = a.alibi[head], scale = a.alibi_scale > 0 ? static_cast<float>(a.alibi_scale) : 1.0f;
  for (int64_t i = 0; i < b.count; ++i) {
    // What all keys of a query share does not change its softmax: the distance is added, not the position, where exact.
    const int64_t origin = a.alibi_rounded ? 0 : b.first + i;
    for (int64_t j = 0; j < keys; ++j) {
      const float bias = slope * static_cast<float>(b.begin + j - origin);
      scores[i * keys + j] += scale * (a.alibi_rounded ? to_bfloat16(bias) : bias);
    }
  }
}

// Makes room for a sink in a row's softmax, whose log-sum-exp was `lse`; returns the new one.
float add_sink(float sink, float lse, int64_t keys, float* row) {
  const float most = std::max(sink, lse);
  const float all = most + std::log(std::exp(sink - most) + std::exp(lse - most));
  kernels().scale(std::exp(lse - all), keys, row);
  return all;
}

float scale_of(const LanguageModelConfig& c) {
  return static_cast<float>(c.attention.scale > 0 ? c.attention.scale
                                                  : 1.0 / std::sqrt(static_cast<double>(c.head_dim)));
}

// Where head h of the group begins in a row of q.
int64_t head_column(const LanguageModelConfig& c, int64_t group, int64_t h) {
  return (group * (c.heads / c.kv_heads) + h) * c.head_dim;
}

}  // namespace

int64_t attention_scratch(const Batch& batch) {
  return (batch.config.attention.softcap > 0 ? 3 : 2) * std::min(kQueries, batch.context) * batch.context;
}

void attention_forward(const Batch& batch, const AttentionPattern& pattern, int64_t group, const float* q,
                       const float* k, const float* v, float* out, float* lse, float* scratch) {
  const LanguageModelConfig& c = batch.config;
  const int64_t dim = c.head_dim, q_size = batch.q_size(), kv_size = batch.kv_size();
  const float scale = scale_of(c), cap = static_cast<float>(c.attention.softcap);
  const Batch::Operand keys_across = batch.operand(0, {k + group * dim, kv_size, true}, dim, batch.context);
  const Batch::Operand values = batch.operand(1, {v + group * dim, kv_size, false}, batch.context, dim);
  for (int64_t h = 0; h < c.heads / c.kv_heads; ++h) {
    const int64_t column = head_column(c, group, h);
    float* lse_of_head = lse == nullptr ? nullptr : lse + column / dim * batch.context;
    for (int64_t first = 0; first < batch.context; first += kQueries) {
      const Block b = block_at(batch, pattern.window, first);
      const int64_t keys = b.end - b.begin;
      batch.product({q + b.first * q_size + column, q_size, false}, scale, keys_across, {0, dim}, {b.begin, keys},
                    b.count, false, scratch, keys);
      if (c.attention.alibi != nullptr) add_distances(c.attention, column / dim, b, scratch);
      if (cap > 0) kernels().soft_cap(scratch, b.count * keys, cap);
      for (int64_t i = 0; i < b.count; ++i) {
        const int64_t position = b.first + i;
        const Range range = keys_of(batch, pattern.window, position);
        float sum = kernels().softmax_range(scratch + i * keys, range.begin - b.begin, range.end - b.begin, keys);
        if (pattern.sinks != nullptr) sum = add_sink(pattern.sinks[column / dim], sum, keys, scratch + i * keys);
        if (lse_of_head != nullptr) lse_of_head[position] = sum;
      }
      batch.product({scratch, keys, false}, 1.0f, values, {b.begin, keys}, {0, dim}, b.count, false,
                    out + b.first * q_size + column, q_size);
    }
  }
}

void attention_backward(const Batch& batch, const AttentionPattern& pattern, int64_t group, const float* q,
                        const float* k, const float* v, const float* out, const float* lse, float* d_out, float* dk,
                        float* dv, float* scratch) {
  const LanguageModelConfig& c = batch.config;
  const int64_t dim = c.head_dim, q_size = batch.q_size(), kv_size = batch.kv_size();
  const float scale = scale_of(c), cap = static_cast<float>(c.attention.softcap);
  const int64_t offset = group * dim;
  for (int64_t t = 0; t < batch.context; ++t) {
    std::fill_n(dk + t * kv_size + offset, dim, 0.0f);
    std::fill_n(dv + t * kv_size + offset, dim, 0.0f);
  }
  const Batch::Operand keys_across = batch.operand(0, {k + offset, kv_size, true}, dim, batch.context);
  const Batch::Operand values_across = batch.operand(1, {v + offset, kv_size, true}, dim, batch.context);
  const Batch::Operand keys_along = batch.operand(2, {k + offset, kv_size, false}, batch.context, dim);
  for (int64_t h = 0; h < c.heads / c.kv_heads; ++h) {
    const int64_t column = head_column(c, group, h);
    const float* lse_of_head = lse + column / dim * batch.context;
    for (int64_t first = 0; first < batch.context; first += kQueries) {
      const Block b = block_at(batch, pattern.window, first);
      const int64_t keys = b.end - b.begin;
      const int64_t at = b.first * q_size + column, key_at = b.begin * kv_size + offset;
      float* p = scratch;
      float* ds = p + b.count * keys;
      float* capped = ds + b.count * keys;
      batch.product({q + at, q_size, false}, scale, keys_across, {0, dim}, {b.begin, keys}, b.count, false, p, keys);
      batch.product({d_out + at, q_size, false}, 1.0f, values_across, {0, dim}, {b.begin, keys}, b.count, false, ds,
                    keys);
      if (c.attention.alibi != nullptr) add_distances(c.attention, column / dim, b, p);
      if (cap > 0) {
        kernels().soft_cap(p, b.count * keys, cap);
        std::copy_n(p, b.count * keys, capped);
      }
      for (int64_t i = 0; i < b.count; ++i) {
        const int64_t position = b.first + i;
        const Range range = keys_of(batch, pattern.window, position);
        kernels().softmax_again(p + i * keys, range.begin - b.begin, range.end - b.begin, keys, lse_of_head[position]);
        const auto delta = static_cast<float>(kernels().dot(d_out + at + i * q_size, out + at + i * q_size, dim));
        kernels().softmax_backward(p + i * keys, delta, scale, keys, ds + i * keys);
      }
      if (cap > 0) kernels().soft_cap_backward(capped, b.count * keys, cap, ds);
      batch.product(true, false, keys, dim, b.count, 1.0f, p, keys, d_out + at, q_size, 1.0f, dv + key_at, kv_size);
      batch.product({ds, keys, false}, 1.0f, keys_along, {b.begin, keys}, {0, dim}, b.count, false, d_out + at, q_size);
      batch.product(true, false, keys, dim, b.count, 1.0f, ds, keys, q + at, q_size, 1.0f, dk + key_at, kv_size);
    }
  }
}

}  // namespace lq::lm
