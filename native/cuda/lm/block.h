// One transformer block over a batch on the device: forward, and backward with squared weight gradients by sequence.
//
// Forward, as a composition of parts (lq/language_model.h):
//
//   x -> norm -> [q | k | v] -> bias, norm, rotation -> attention -> o -> (norm, scale) -> + x      = middle
//   middle -> norm -> [gate | up] -> activation -> down -> (norm, scale) -> + middle                = block's output
//
// Where the halves are parallel the second line begins at x too. What a step leaves is kept for as long as something
// reads it, and nothing is copied to be kept:
//   * inputs of products (normed, attended, act) are planes, written once by the step before the product;
//   * values before positions share the array of positioned ones unless backward normalises them again;
//   * when only forward is wanted, the middle overwrites x unless the MLP reads that, and both norms one array;
//   * what a half gives before its own norm is kept for backward; without one it goes straight into the stream.
// Backward writes gate, up and act again instead of keeping act, and reuses one array for the gradients of both norms'
// outputs. Scores are never stored (lm/attention.h), logits never whole (lm/head.h).
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "lm/attention.h"
#include "lm/expert_queues.h"
#include "lm/heads.h"
#include "lm/norm.h"
#include "lm/routing.h"
#include "lm/weights.h"

namespace lq::cuda {

// What the routed blocks of a batch share (lm/routed_mlp.h); rows of pairs are sorted by expert.
struct ExpertState {
  std::shared_ptr<std::vector<int64_t>>
      begin;      // [experts + 1], where the pairs of each begin; on the host, once awaited
  float* logits;  // [rows, experts]
  Routes routes;
  Planes x;     // [pairs, hidden]
  void* gates;  // values [pairs, gates]
  Planes act;   // [pairs, inner]
  void* y;      // values [pairs, hidden]
  float* sum;   // [rows, hidden], what the half gives; then the gradient of its input
  float* open;  // [rows], of the shared expert's gate
  // Of backward.
  int32_t* begins;   // [experts, sequences + 1]
  Planes d;          // [pairs, hidden]
  void* d_act;       // values [pairs, inner]
  Planes d_gates;    // [pairs, gates]
  float* d_weights;  // [pairs]
  float* d_open;     // [rows]
  Planes d_logits;   // [rows, experts]
};

// Activations of a block. Backward reads all of them but `act` and, without head norms, `raw`.
struct BlockState {
  float* x;          // [rows, hidden], the block's input
  Planes normed;     // [rows, hidden]
  void* raw;         // values [rows, qkv]; the array of qkv where a value can be positioned in place
  float* head_sums;  // [rows, 4], of norms over all heads together
  Planes qkv;        // [rows, qkv], with positions
  Planes attended;   // [rows, q]
  float* lse;        // [sequences, heads, context]
  float* middle;     // [rows, hidden], after attention; x itself when only forward is wanted and nothing else reads x
  Planes middle_normed;  // [rows, hidden]
  void* gates;           // values [rows, gates]
  Planes act;            // [rows, inner]
  // [rows, hidden], what the halves give before their norms and scales; one array where backward reads neither, null
  // where they join plainly.
  float *attention_output, *mlp_output;
  ExpertState experts;  // of a model with experts; shared by blocks
};

// Buffers of backward that blocks share.
struct BackwardState {
  Planes dy;                // [rows, hidden]: in, gradient of the block's output; out, of its input
  Planes d_middle;          // [rows, hidden]
  Planes d_output;          // [rows, hidden] of what a half gives; empty where halves join plainly
  float* d_residual;        // [rows, hidden] of d_middle
  void* d_act;              // values [rows, inner]
  Planes d_gates;           // [rows, gates]
  void* d_normed;           // values [rows, hidden]
  void* d_attended_values;  // values [rows, q]; the array of d_attended when values are bf16
  Planes d_attended;        // [rows, q]
  float* delta;             // [sequences, heads, context]
  void* d_qkv_values;       // values [rows, qkv]; the array of d_qkv when values are bf16
  Planes d_qkv;             // [rows, qkv]
};

// What the stages of one batch share.
struct BatchContext {
  const Stream& stream;
  const Products& products;
  const Shape& shape;
  int planes;  // of activations
  int64_t sequences;
  int64_t context;
  Rotary rotary, local_rotary;  // on the device, for one context
  const float* slopes;          // [heads] of biases by distance, or null
  PackedWorkspace* workspace;   // of products with packed weights
  ExpertQueues* queues;         // null where there are no experts

  int64_t rows() const { return sequences * context; }
  bool values_bf16() const { return planes == 1; }
  // The same with the products of a queue.
  BatchContext on(const ExpertQueues::Queue& queue) const {
    return {queue.stream, queue.products, shape,  planes,    sequences, context,
            rotary,       local_rotary,   slopes, workspace, queues};
  }
};

// A norm over the hidden size; an empty weight is none.
inline Norm norm_of(const Shape& z, const DeviceBuffer<float>& weight, const DeviceBuffer<float>& bias) {
  return {weight.get(),     bias.get(),      z.config.norms.kind == NormKind::layer,
          z.config.rms_eps, z.config.hidden, z.hidden};
}

// Hands out aligned pieces of one device allocation; with a null base it only counts.
class Arena {
 public:
  explicit Arena(uint8_t* base) : base_(base) {}
  void* bytes(int64_t count) {
    const int64_t at = used_;
    used_ += round_up(count, 256);
    return base_ == nullptr ? nullptr : base_ + at;
  }
  float* floats(int64_t count) { return static_cast<float*>(bytes(count * static_cast<int64_t>(sizeof(float)))); }
  Planes planes(int64_t count, int planes) {
    return {static_cast<uint16_t*>(bytes(count * planes * static_cast<int64_t>(sizeof(uint16_t)))), count, planes};
  }
  int64_t used() const { return used_; }

 private:
  uint8_t* base_;
  int64_t used_ = 0;
};

// Lays out a state, but for what experts share. Without `backward`, middle is x.
BlockState place_block(const BatchContext& batch, bool backward, Arena* arena);
BackwardState place_backward(const BatchContext& batch, Arena* arena);
ExpertState place_experts(const BatchContext& batch, bool backward, Arena* arena);

// out [rows, stacked rows] = x [rows, inner] weight', or adds to it.
void multiply(const BatchContext& batch, const Operand& x, int64_t rows, const StackedMatrix& weight, int64_t inner,
              Target out);

// The inputs of q, k and v in state.normed, from state.x, and of gate and up in state.middle_normed, from state.middle.
void attention_input(const BatchContext& batch, const BlockWeights& weights, const BlockState& state);
void mlp_input(const BatchContext& batch, const BlockWeights& weights, const BlockState& state);

// The two halves of a block: from state.x to state.middle, and from there to out [rows, hidden], which may be
// state.middle. The first without `project`, and the second with a null out, stop at the input of their last product
// and leave it in state.attended and state.act.
void forward_attention(const BatchContext& batch, const BlockWeights& weights, const BlockState& state, bool project);
void forward_mlp(const BatchContext& batch, const BlockWeights& weights, const BlockState& state, float* out);

// out [rows, hidden] = block(state.x); out may be state.middle.
void forward_block(const BatchContext& batch, const BlockWeights& weights, const BlockState& state, float* out);
// Fills everything of a state that backward reads, from its x; scratch [rows, hidden] is overwritten.
void fill_state(const BatchContext& batch, const BlockWeights& weights, const BlockState& state, float* scratch);

// Where sums of squared gradients go, device memory in padded form, in the order of kMatrices; null skips a matrix.
using Accumulators = std::array<float*, kMatrices.size()>;
struct BlockAccumulators {
  Accumulators own{};
  std::vector<Accumulators> experts;  // of a routed block; gate, up and down alone
};

// Replaces dy [rows, hidden] (and its planes in `shared`) by the gradient of the block's input.
void backward_block(const BatchContext& batch, const BlockWeights& weights, const BlockState& state,
                    const BackwardState& shared, float* dy, const BlockAccumulators& accumulators);

}  // namespace lq::cuda
