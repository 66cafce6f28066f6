// Which experts each token of a batch goes through, and with what weights; the twin of cpu/lm/router.h.
//
// A pair is a token and one of its experts, numbered row * top_k + place. Experts work on pairs sorted by expert, rows
// ascending.
#pragma once

#include "lm/planes.h"
#include "lq/language_model.h"

namespace lq::cuda {

// Experts a router of this backend can choose among.
constexpr int kMostExperts = 1024;

struct Router {
  MoeConfig config;
  const float* logits;             // [rows, stride], without their bias
  const float *bias, *correction;  // [experts], or null
  int64_t rows, stride;
};

// On the device.
struct Routes {
  int32_t* experts;    // [pairs], a token's by falling score
  float* weights;      // [pairs]
  int32_t* counts;     // [experts]
  int32_t* begins;     // [experts, route_chunks(pairs)], where the pairs of a chunk and expert begin among the sorted
  int32_t* by_expert;  // [pairs], sorted
  int32_t* place;      // [pairs], where a pair is among those
  int32_t* owner;      // [pairs], the expert of each sorted pair
};

// Chunks that pairs are sorted in.
int64_t route_chunks(int64_t pairs);

// Fills everything; pairs of an expert stay in their order.
void route(const Stream& stream, const Router& router, const Routes& routes);

// d_logits [rows, width] in planes, zero beyond the experts, from the gradient of the weights, d [pairs].
void route_backward(const Stream& stream, const Router& router, const Routes& routes, const float* d,
                    const Planes& d_logits, int64_t width);

// weights [pairs], of the pairs `by_expert` [count] of one expert: what it has for their rows where each is weighed by
// its own score alone, chosen or not (scale_input).
void lone_weights(const Stream& stream, const Router& router, const int32_t* by_expert, int32_t expert, int64_t count,
                  float* weights);

// begins [experts, sequences + 1]: where the pairs of each sequence begin among those of each expert.
void sequence_begins(const Stream& stream, const Router& router, const Routes& routes, int64_t sequences,
                     int64_t context, int32_t* begins);

}  // namespace lq::cuda
