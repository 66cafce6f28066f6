// Forward and backward of decoder-only transformers of the Llama family, in fp32, one backend object.
//
// Semantics follow the Hugging Face modelling code of each family: RMSNorm, rotary embedding (half-split layout),
// grouped-query causal attention, SwiGLU. Weights are asked for layer by layer through the provider, in fp32, so a
// packed checkpoint is run with the same code as a dense one.
#pragma once

#include "lq/types.h"

namespace lq {

enum class RopeType : int32_t { standard = 0, linear, llama3, dynamic_ntk, yarn };

struct LanguageModelConfig {
  int32_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocab, max_positions;
  float rms_eps;
  double rope_theta;
  RopeType rope_type;
  double rope_factor, rope_low_freq_factor, rope_high_freq_factor, rope_original_max_positions, rope_attention_factor;
  double rope_beta_fast, rope_beta_slow;
  int32_t sliding_window;  // 0: none
  bool attention_bias;     // q, k, v biases (Qwen2)
  bool output_bias;        // o bias
  bool qk_norm;            // per-head RMSNorm of q and k (Qwen3)
  bool tied_embeddings;
  bool mlp_bias;
};

// Which tensor of a layer. Vectors are norms and biases; embedding and head are [vocab, hidden].
enum class WeightKind : int32_t {
  embedding = 0,
  final_norm,
  head,
  input_norm,
  post_attention_norm,
  q,
  k,
  v,
  o,
  gate,
  up,
  down,
  q_bias,
  k_bias,
  v_bias,
  o_bias,
  q_norm,
  k_norm,
  gate_bias,
  up_bias,
  down_bias,
};

// A matrix Q + L1 L2 in its packed form: l1 [rows, rank] and l2 [rank, cols], null when rank is 0.
struct PackedWeight {
  QuantizedView quantized;
  const float* l1;
  const float* l2;
  int32_t rank;
};

// Where weights come from. Called from one thread at a time. A failure ends the run with that status.
struct WeightProvider {
  void* user;
  // Fills dst (fp32, row-major, the tensor's element count) with a weight, packed ones put together. layer is -1 for
  // the first three kinds.
  Status (*load)(void* user, int32_t layer, WeightKind kind, float* dst, int64_t count);
  // Offers a matrix of a block in its packed form, for a backend that multiplies with it without expanding it: fills
  // *out, whose pointers are valid until the next call of either function, or sets *found to false when the matrix is
  // not packed. Null when no matrix is.
  Status (*load_packed)(void* user, int32_t layer, WeightKind kind, PackedWeight* out, bool* found) = nullptr;
};

// Where squared gradients go: called once for each (layer, kind) when its accumulation over a batch is needed.
// `accumulator` returns a host array [rows*cols] fp32 that the model adds sum over the batch's sequences of grad^2
// into, or null for a matrix that is not wanted. It stays valid until the run ends; it may be a file mapping.
struct FisherSink {
  void* user;
  float* (*accumulator)(void* user, int32_t layer, WeightKind kind, int64_t rows, int64_t cols);
};

class LanguageModel {
 public:
  // Mean next-token cross entropy (natural log) of each of `sequences` rows of tokens [sequences, context], context-1
  // predictions each, into losses [sequences]. progress: sequences.
  virtual Status losses(const int32_t* tokens, int64_t sequences, int32_t context, double* losses,
                        const Control& control) = 0;
  // Logits of one sequence, [context, vocab]; for tests and comparisons.
  virtual Status logits(const int32_t* tokens, int32_t context, float* out, const Control& control) = 0;
  // One sequence a sample: loss is its mean cross entropy; adds the square of d(loss)/dW of every wanted matrix to the
  // sink and writes the losses. progress: sequences.
  virtual Status fisher(const int32_t* tokens, int64_t sequences, int32_t context, const FisherSink& sink,
                        double* losses, const Control& control) = 0;
  virtual void destroy() = 0;

 protected:
  virtual ~LanguageModel() = default;
};

}  // namespace lq
