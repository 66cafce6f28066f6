// Experts of a routed layer over the tokens that a router sends them: forward, and backward with squared weight
// gradients by sequence. Their weights come a few experts at a time, so that a layer's are never held whole.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "lm/batch.h"
#include "lm/router.h"

namespace lq::lm {

// Matrices of an expert, fp32; a bias is null when there is none.
struct ExpertWeights {
  const float *gate, *up, *down;
  const float *gate_bias, *up_bias, *down_bias;
};

// Where the weights of a layer's experts come from.
class ExpertSource {
 public:
  // Weights of `count` experts into out; valid until the next call. Throws Failure.
  virtual void load(const Batch& batch, const int32_t* experts, int64_t count, ExpertWeights* out) = 0;

 protected:
  ~ExpertSource() = default;
};

// The matrices an expert may be stored as.
constexpr std::array<WeightKind, 4> kExpertMatrices{WeightKind::gate, WeightKind::up, WeightKind::down,
                                                    WeightKind::gate_up};

// Where an expert's sums go, in that order, and of the inputs mlp, down; null skips one.
struct ExpertSums {
  std::array<float*, kExpertMatrices.size()> squares{};
  std::array<double*, kExpertMatrices.size()> row_squares{};
  std::array<float*, 2> moments{};

  bool any_gradient() const;
  bool any_moment() const { return moments[0] != nullptr || moments[1] != nullptr; }
};

// Floats a row of what experts and routers need beside the state of a layer.
int64_t routed_floats(const LanguageModelConfig& config);

// out [pairs, hidden] = what each pair's expert gives for its token, times its weight; x [rows, hidden] is the
// normalised input of the half. Adds to the second moments that are wanted; `sums` [experts], null: none.
void forward_experts(const Batch& batch, const Routing& routing, ExpertSource* source, const float* x,
                     const ExpertSums* sums, float* out);

// dx [pairs, hidden] and d_weights [pairs] = gradients of each pair's token and weight, given d [rows, hidden] of the
// sum over a token's pairs. Adds to the squares that are wanted.
void backward_experts(const Batch& batch, const Routing& routing, ExpertSource* source, const float* x, const float* d,
                      const ExpertSums* sums, float* dx, float* d_weights);

// y [count, hidden] += the sums over pairs of rows [first, first + count).
void add_pairs(const Batch& batch, const Routing& routing, const float* pairs, int64_t first, int64_t count, float* y);

// The tokens routed to an expert as it reads them, and what its down projection reads of them. `routing` says which and
// `weighing`, of the same batch, how (scale_input); mlp [count, hidden] or down [count, intermediate], null skips.
void expert_inputs(const Batch& batch, const Routing& routing, const Routing& weighing, ExpertSource* source,
                   int64_t expert, const float* x, float* mlp, float* down);

}  // namespace lq::lm
