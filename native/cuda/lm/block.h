// One transformer block over a batch on the device: forward, and backward with squared weight gradients by sequence.
#pragma once

#include <array>

#include "lm/attention.h"
#include "lm/elementwise.h"
#include "lm/weights.h"

namespace lq::cuda {

// Activations of a block. Backward reads all of them but `act` and, without head norms, `raw`.
struct BlockState {
  float* x;              // [rows, hidden], the block's input
  Planes normed;         // [rows, hidden]
  void* raw;             // values [rows, qkv]; the array of qkv where a value can be positioned in place
  Planes qkv;            // [rows, qkv], with positions
  Planes attended;       // [rows, q]
  float* lse;            // [sequences, heads, context]
  float* middle;         // [rows, hidden], after attention; x itself when only forward is wanted
  Planes middle_normed;  // [rows, hidden]
  void* gate_up;         // values [rows, gate | up]
  Planes act;            // [rows, inner]
};

// Buffers of backward that blocks share.
struct BackwardState {
  Planes dy;                // [rows, hidden]: in, gradient of the block's output; out, of its input
  Planes d_middle;          // [rows, hidden]
  float* d_residual;        // [rows, hidden] of d_middle
  void* d_act;              // values [rows, inner]
  Planes d_gate_up;         // [rows, gate | up]
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
  const float* cosine;  // [context, head_dim / 2]
  const float* sine;
  PackedWorkspace* workspace;  // of products with packed weights

  int64_t rows() const { return sequences * context; }
  bool values_bf16() const { return planes == 1; }
};

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

// Lays out a state. Without `backward`, middle is x.
BlockState place_block(const BatchContext& batch, bool backward, Arena* arena);
BackwardState place_backward(const BatchContext& batch, Arena* arena);

// out [rows, hidden] = block(state.x); out may be state.middle. Null computes what backward needs and no more.
void forward_block(const BatchContext& batch, const BlockWeights& weights, const BlockState& state, float* out);

// Where sums of squared gradients go, device memory in padded form, in the order of kMatrices; null skips a matrix.
using Accumulators = std::array<float*, kMatrices.size()>;

// Replaces dy [rows, hidden] (and its planes in `shared`) by the gradient of the block's input. No weight may be
// packed.
void backward_block(const BatchContext& batch, const BlockWeights& weights, const BlockState& state,
                    const BackwardState& shared, float* dy, const Accumulators& accumulators);

}  // namespace lq::cuda
