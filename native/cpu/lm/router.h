// Which experts each token of a batch goes through, and with what weights.
#pragma once

#include <cstdint>
#include <vector>

#include "lm/batch.h"

namespace lq::lm {

// Null: none.
struct RouterWeights {
  const float* weight;      // [experts, hidden]
  const float* bias;        // [experts], of logits
  const float* correction;  // [experts]
};

// A pair is a token and one of its experts, numbered row * top_k + place.
struct Routing {
  int64_t top_k = 0;
  std::vector<float> logits;       // [rows, experts]
  std::vector<int32_t> experts;    // [pairs], a token's by falling score
  std::vector<float> weights;      // [pairs]
  std::vector<int32_t> by_expert;  // pairs sorted by expert, rows ascending
  std::vector<int64_t> begin;      // [experts + 1], where those of an expert begin

  int64_t row(int64_t i) const { return by_expert[i] / top_k; }
  int64_t count(int64_t expert) const { return begin[expert + 1] - begin[expert]; }
};

// Routes the rows of x [rows, hidden], the normalised input of the half.
Routing route(const Batch& batch, const RouterWeights& weights, const float* x);

// Rows [first, first + count): adds to dx [count, hidden] the gradient of x, given that of the weights, d [pairs] of
// the whole batch. Choices have no gradient.
void route_backward(const Batch& batch, const RouterWeights& weights, const Routing& routing, const float* d,
                    int64_t first, int64_t count, float* scratch, float* dx);
// Floats of scratch a row.
inline int64_t route_scratch(const LanguageModelConfig& config) { return config.moe.experts; }

// The weight that an expert has for a row where each is weighed by its own score alone, chosen or not (scale_input).
float lone_weight(const LanguageModelConfig& config, const Routing& routing, int64_t row, int64_t expert);

}  // namespace lq::lm
