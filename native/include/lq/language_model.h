// Forward and backward of decoder-only transformers, in fp32, one backend object.
//
// A block is a composition: norm, grouped-query causal attention with rotary embedding, norm, multilayer perceptron,
// each with parts that the config names. Zero in every part is Llama: RMSNorm before both halves, half-split rotation,
// SwiGLU. Semantics follow the Hugging Face modelling code of each family. Weights are asked for layer by layer through
// the provider, in fp32, so a packed checkpoint is run with the same code as a dense one.
#pragma once

#include "lq/types.h"

namespace lq {

enum class RopeType : int32_t { standard = 0, linear, llama3, dynamic_ntk, yarn };

enum class NormKind : int32_t { rms = 0, layer };  // layer: mean subtracted, with a bias
enum class Activation : int32_t { silu = 0, gelu_tanh, gelu, relu, relu_squared };
// Rotation of queries and keys in a layer: by the config's embedding, by its second one, or none.
enum class LayerRotary : int32_t { standard = 0, local, none };

// What may differ from layer to layer.
struct LayerTraits {
  int32_t window;  // tokens attended to, the own one included; 0: all before
  LayerRotary rotary;
};

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

  // Parts beyond Llama's.
  NormKind norm;
  float norm_offset;    // added to the weights of RMS norms, those of q and k too (Gemma: 1)
  bool no_norm_before;  // halves read the residual stream as it is (OLMo 2)
  bool norm_after;      // what a half gives is normalised before it is added (OLMo 2, Gemma 2)
  bool qk_norm_full;    // q and k are normalised over all heads together, not each head (OLMo 2)
  Activation activation;
  bool plain_mlp;             // down(activation(up(x))), without a gate
  double attention_scale;     // of scores; 0: 1 / sqrt(head_dim)
  double attention_softcap;   // scores become c tanh(score / c); 0: none
  double logit_softcap;       // logits likewise
  double embedding_scale;     // of embeddings; 0: 1
  double residual_scale;      // of what a half adds; 0: 1
  double logit_scale;         // of logits, before their soft-cap; 0: 1
  int32_t rotary_dim;         // leading dimensions of a head that are rotated; 0: all
  double rope_local_theta;    // of the second rotary embedding, which is never scaled; 0: there is none
  const LayerTraits* traits;  // [layers]; null: sliding_window and the standard rotation everywhere
};

// The first part of a config that is not Llama's, in words, for a backend that has those alone; null when there is
// none.
inline const char* part_beyond_llama(const LanguageModelConfig& c) {
  if (c.norm != NormKind::rms) return "norms that subtract the mean";
  if (c.norm_offset != 0) return "norm weights with an offset";
  if (c.no_norm_before || c.norm_after) return "norms after attention and MLP";
  if (c.qk_norm && c.qk_norm_full) return "norms over all heads together";
  if (c.activation != Activation::silu) return "activations other than SiLU";
  if (c.plain_mlp) return "MLPs without a gate";
  if (c.attention_scale != 0) return "another scale of attention";
  if (c.attention_softcap != 0 || c.logit_softcap != 0) return "soft-capped scores or logits";
  if (c.embedding_scale != 0 || c.residual_scale != 0 || c.logit_scale != 0) return "multipliers of its streams";
  if (c.rotary_dim != 0 && c.rotary_dim != c.head_dim) return "rotation of a part of each head";
  for (int32_t i = 0; c.traits != nullptr && i < c.layers; ++i) {
    if (c.traits[i].window != c.sliding_window || c.traits[i].rotary != LayerRotary::standard) {
      return "layers that differ in window or rotation";
    }
  }
  return nullptr;
}

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
  attention_output_norm,  // with norm_after
  mlp_output_norm,
  final_norm_bias,  // of layer norms
  input_norm_bias,
  post_attention_norm_bias,
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
  // embedding, head, the final norm and its bias.
  Status (*load)(void* user, int32_t layer, WeightKind kind, float* dst, int64_t count);
  // Offers a matrix of a block in its packed form, for a backend that multiplies with it without expanding it: fills
  // *out, whose pointers are valid until the next call of either function, or sets *found to false when the matrix is
  // not packed. Null when no matrix is.
  Status (*load_packed)(void* user, int32_t layer, WeightKind kind, PackedWeight* out, bool* found) = nullptr;
};

// The inputs of a block's matrices: q, k and v read the first, o the second, gate and up the third, down the last.
enum class BlockInput : int32_t { attention = 0, output, mlp, down };

// Where the sums of a calibration go. Each function is called when its sum over a batch is needed and returns an array
// to add to, or null for what is not wanted; a null function wants nothing. Arrays stay valid until the run ends and
// may be file mappings.
struct CalibrationSink {
  void* user;
  // fp32 [rows, cols]: sums over sequences of the squared gradient.
  float* (*squares)(void* user, int32_t layer, WeightKind kind, int64_t rows, int64_t cols) = nullptr;
  // [rows]: the same, summed over columns too.
  double* (*row_squares)(void* user, int32_t layer, WeightKind kind, int64_t rows) = nullptr;
  // fp32 [n, n]: sums over tokens of x x^T, at and below the diagonal; what is above it is left undefined.
  float* (*second_moment)(void* user, int32_t layer, BlockInput input, int64_t n) = nullptr;
};

// Two streams of hidden states through one model, block by block: dense, x_f, and encoded, x_q, in which matrices are
// replaced as they become known, so that each is seen with the inputs that what was replaced before it gives. Blocks
// are visited in their order, and in a block q, k, v before o before gate, up before down; invalid_argument otherwise.
class LayerPass {
 public:
  // second_moment [n, n] = E[x_q x_q^T] and, unless null, cross [n, n] = E[(x_f - x_q) x_q^T]: means over tokens of an
  // input of block `layer`, fp32. progress: sequences, perhaps twice.
  virtual Status moments(int32_t layer, BlockInput input, float* second_moment, float* cross,
                         const Control& control) = 0;
  // The encoded stream multiplies with `values` from now on; they are copied.
  virtual Status replace(int32_t layer, WeightKind kind, const float* values, int64_t count) = 0;
  // Takes both streams through block `layer`. progress: as above.
  virtual Status advance(int32_t layer, const Control& control) = 0;
  virtual void destroy() = 0;

 protected:
  virtual ~LayerPass() = default;
};

// How another model's predictions differ from this one's.
struct Divergence {
  double *losses, *other_losses;  // [sequences], as LanguageModel::losses gives them
  float* kl;                      // [sequences, context - 1]: KL(this || other) of each prediction in nats
  uint8_t* same_top;              // the same: 1 where both find the same token likeliest
};

class LanguageModel {
 public:
  // Mean next-token cross entropy (natural log) of each of `sequences` rows of tokens [sequences, context], context-1
  // predictions each, into losses [sequences]. progress: sequences.
  virtual Status losses(const int32_t* tokens, int64_t sequences, int32_t context, double* losses,
                        const Control& control) = 0;
  // Logits of one sequence, [context, vocab]; for tests and comparisons.
  virtual Status logits(const int32_t* tokens, int32_t context, float* out, const Control& control) = 0;
  // One sequence a sample: loss is its mean cross entropy. Adds squares of d(loss)/dW of the wanted matrices and second
  // moments of the wanted inputs to the sink, in one pass, and writes the losses. Without a wanted gradient nothing
  // runs backwards. progress: sequences.
  virtual Status calibrate(const int32_t* tokens, int64_t sequences, int32_t context, const CalibrationSink& sink,
                           double* losses, const Control& control) = 0;
  // Losses of this model and another of the same backend and vocabulary, and how they differ, in one pass over both;
  // logits are never held whole. invalid_argument for another vocabulary. progress: sequences.
  virtual Status divergence(LanguageModel* other, const int32_t* tokens, int64_t sequences, int32_t context,
                            const Divergence& out, const Control& control) = 0;
  // Starts a pass over tokens [sequences, context], which are copied. The model's provider outlives it. A backend that
  // cannot says unsupported.
  virtual Status open_layer_pass(const int32_t* tokens, int64_t sequences, int32_t context, LayerPass** out) = 0;
  virtual void destroy() = 0;

 protected:
  virtual ~LanguageModel() = default;
};

}  // namespace lq
