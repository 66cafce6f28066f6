// Grouped-query attention of one sequence and one key-value head, forward and backward, blocked over queries so
// that scores are never held for a whole sequence and blocks of keys that no query attends to are never computed.
#pragma once

#include <cstdint>

#include "lm/batch.h"

namespace lq::lm {

// Floats of scratch either direction needs.
int64_t attention_scratch(const Batch& batch);

// Of a layer: tokens a query attends to, its own included (0: all), and a logit [heads] of each head's softmax that
// attends to nothing (null: none).
struct AttentionPattern {
  int64_t window;
  const float* sinks;
};

// q, out: [context, heads * head_dim] of the sequence; k, v: [context, kv_heads * head_dim]; all heads of the group of
// key-value head `group` are done. lse [heads, context] receives the log-sum-exp of each query's scores; null skips.
void attention_forward(const Batch& batch, const AttentionPattern& pattern, int64_t group, const float* q,
                       const float* k, const float* v, float* out, float* lse, float* scratch);

// d_out holds the gradient of out and becomes the gradient of q, in place: a block's d_out is last read before its dq
// is written. dk and dv [context, kv_heads * head_dim] are overwritten for this group.
void attention_backward(const Batch& batch, const AttentionPattern& pattern, int64_t group, const float* q,
                        const float* k, const float* v, const float* out, const float* lse, float* d_out, float* dk,
                        float* dv, float* scratch);

}  // namespace lq::lm
