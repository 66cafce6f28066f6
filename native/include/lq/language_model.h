// Forward and backward of transformers, in fp32, one backend object.
//
// A block is a composition of parts that the config names: attention and a multilayer perceptron, each reading the
// residual stream through a norm and adding to it. Zero in every part is Llama: RMSNorm before both halves, causal
// grouped-query attention with half-split rotation, SwiGLU, the next token predicted. Semantics follow the Hugging Face
// modelling code of each family. Weights are asked for layer by layer through the provider, in fp32, so a packed
// checkpoint is run with the same code as a dense one.
#pragma once

#include "lq/encode.h"
#include "lq/types.h"

namespace lq {

enum class RopeType : int32_t { standard = 0, linear, llama3, dynamic_ntk, yarn, longrope };

enum class NormKind : int32_t { rms = 0, layer };  // layer: mean subtracted, with a bias
enum class Activation : int32_t { silu = 0, gelu_tanh, gelu, relu, relu_squared, gelu_quick, identity };
// Rotation of queries and keys in a layer: by the config's embedding, by its second one, or none.
enum class LayerRotary : int32_t { standard = 0, local, none };
// How matrices that read one input lie in one tensor: not at all, one after another, (q, k, v) by key-value head, each
// with the queries of its group before its key and value, or (gate, up of experts) row by row in turn.
enum class Fused : int32_t { none = 0, stacked, grouped, interleaved };
// What normalises queries and keys: RMS of each head, RMS of all heads together (OLMo 2), LayerNorm of each head with
// one weight and bias for all (Phi), LayerNorm of each head with a weight of its own and no bias (Cohere, StableLM),
// RMS of each head without a weight where it is rotated, by angles alone (Llama 4: before or after is the same), RMS of
// each head once it is rotated (HunYuan).
enum class HeadNorm : int32_t { each = 0, together, layer, layer_own, bare, rotated };

// What may differ from layer to layer.
struct LayerTraits {
  int32_t window;  // tokens attended to, the own one included; 0: all before
  LayerRotary rotary;
  int32_t width;  // of the MLP that every token goes through, or of the expert they share; 0: none
  bool routed;    // has experts besides
};

// What a router makes of its logits. softmax_of_chosen: the likeliest are chosen, and weighed by their softmax alone.
enum class RouterScore : int32_t { softmax = 0, sigmoid, softmax_of_chosen };

// Experts of routed layers: each token goes through top_k of them, chosen and weighed by a router [experts, hidden].
// Scores are made of its logits, the best are chosen, their scores are the weights.
struct MoeConfig {
  int32_t experts;  // 0: no layer is routed
  int32_t top_k;
  int32_t intermediate;  // of an expert
  RouterScore score;
  bool router_bias;            // of logits
  bool correction_bias;        // added to scores where experts are chosen, not where they are weighed (DeepSeek-V3)
  int32_t groups, top_groups;  // experts are chosen within the top_groups whose two best add up highest; 0: no groups
  bool renormalise;            // weights are divided by their sum
  double scale;                // of weights; 0: 1
  bool scale_input;            // weights multiply what experts read instead of what they give (Llama 4)
  bool shared_gate;  // what the shared expert gives is multiplied with the sigmoid of a gate [1, hidden] (Qwen2-MoE)
  bool expert_bias;  // gate, up and down of experts have biases
  Fused fused;       // gate and up of an expert are one tensor, and so are their biases
  // Not 0: experts compute (up + 1) gate sigmoid(alpha gate), gate at most the limit, up within it (gpt-oss).
  double clamp_limit, clamp_alpha;
};

// The norms of blocks and the one before the head.
struct NormParts {
  NormKind kind;
  bool unbiased;     // layer norms have no bias (Cohere)
  bool bare;         // nor a weight (OLMo 1)
  float offset;      // added to the weights, those of q and k too (Gemma, Nemotron: 1)
  bool none_before;  // halves read the residual stream as it is (OLMo 2, BERT)
  bool none_first;   // the first block's attention does (ModernBERT)
  bool after;        // what a half gives is normalised before it is added (OLMo 2, Gemma 2)
  bool of_sum;       // the stream is normalised after a half was added to it (BERT); excludes after
  bool none_last;    // the head reads the last block's output as it is (BERT)
};

// Queries are multiplied with 1 + rate log(1 + floor((position + offset) / length)).
struct QueryGrowth {
  double rate, length;  // rate 0: they are not
  int32_t offset;
  bool unrotated;  // only in layers that do not rotate (Llama 4); else in all (Ministral 3)
};

struct AttentionParts {
  Fused fused;           // q, k and v are one tensor, and so are their biases
  bool both_directions;  // tokens attend to those after them too; a window is as wide to either side
  bool chunked;        // a window is a chunk of the sequence, the first from its beginning: tokens attend within theirs
  bool parallel;       // the MLP reads the block's input, as attention does, not what attention made of it
  bool shared_norm;    // with parallel: through the same norm
  HeadNorm head_norm;  // with qk_norm
  double scale;        // of scores; 0: 1 / sqrt(head_dim)
  double softcap;      // scores become c tanh(score / c); 0: none
  double clamp;        // q, k and v are cut to [-c, c]; 0: none
  const float* alibi;  // [heads] slopes: slope * (position of the key - own one) is added to scores; null: none
  bool alibi_rounded;  // what is added is slope * position of the key, rounded to bf16 (Falcon)
  double alibi_scale;  // and multiplied by this; 0: 1
  bool sinks;          // each head has a further logit in its softmax, which attends to nothing
  QueryGrowth growth;
};

struct RotaryParts {
  int32_t dim;         // leading dimensions of a head that are rotated; 0: all
  bool interleaved;    // pairs are (2i, 2i + 1), not (i, i + dim / 2)
  double local_theta;  // base of the second embedding, which is never scaled; 0: there is none
  bool yarn_exact;     // yarn: the range of pairs that is interpolated is not rounded to whole pairs (gpt-oss)
  // longrope: what divides each frequency, [dim / 2], up to the original length and beyond it.
  const double *short_factors, *long_factors;
};

struct MlpParts {
  Activation activation;
  bool plain;   // down(activation(up(x))), without a gate
  Fused fused;  // gate and up are one tensor, and so are their biases
};

// What the first block reads: rows of the embedding, plus rows of positions and types, normalised, projected.
struct EmbeddingParts {
  int32_t width;  // of a row when it is not hidden: it is projected then; 0: hidden
  bool projection_bias;
  bool project_first;       // before positions are added (OPT), not after everything (ELECTRA)
  int32_t positions;        // rows of a table of learned positions; 0: none
  int32_t position_offset;  // row of the first position
  int32_t padding;          // with positions: a token that is given the row before the first, and not counted; -1: none
  int32_t types;            // rows of a table of token types, of which the first is added; 0: none
  bool norm;                // of the sum, of the kind of the blocks'
  double scale;             // of the embedding's rows; 0: 1
};

// What comes after the last norm.
struct HeadParts {
  bool bias;       // of logits
  bool transform;  // norm(activation(dense x)) is what logits are made of, as wide as the embedding
  bool transform_bias, transform_norm;
  Activation activation;  // of the transform
  double scale;           // of logits, before their soft-cap; 0: 1
  double softcap;         // logits become c tanh(logit / c); 0: none
};

// Of products on the CPU: operands with fp32's 24 bits of mantissa, or as sums of two bf16 terms, whose errors are
// 2^-16 of each term; sums are in fp32. With AMX fp32 products are made of three bf16 terms, which hold all 24 bits:
// they round as fp32 does and are faster. Routers and second moments are fp32 itself in either case. CUDA's tensor
// cores take bf16 operands anyway, with second terms where weights are no bf16 numbers, and leave this alone.
enum class Precision : int32_t { fp32 = 0, bf16 };

struct LanguageModelConfig {
  int32_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocab, max_positions;
  float rms_eps;  // of norms of either kind
  double rope_theta;
  RopeType rope_type;
  double rope_factor, rope_low_freq_factor, rope_high_freq_factor, rope_original_max_positions, rope_attention_factor;
  double rope_beta_fast, rope_beta_slow;
  int32_t sliding_window;  // 0: none
  bool attention_bias;     // q, k, v biases (Qwen2)
  bool output_bias;        // o bias
  bool qk_norm;            // RMSNorm of q and k by head (Qwen3), or attention.head_norm
  bool tied_embeddings;
  bool mlp_bias;

  // Parts beyond Llama's.
  NormParts norms;
  AttentionParts attention;
  RotaryParts rotary;
  MlpParts mlp;
  EmbeddingParts embedding;
  HeadParts head;
  double residual_scale;  // of what a half adds; 0: 1
  // [layers]; null: sliding_window, the standard rotation and an MLP of `intermediate` everywhere. `intermediate` is
  // the widest of them.
  const LayerTraits* traits;
  MoeConfig moe;
  // Masked tokens are predicted, not the next ones. A token t < 0 is `mask_token` at a place where ~t is to be
  // predicted; there are as many in every sequence, one at least.
  bool masked;
  int32_t mask_token;
  Precision precision;  // bf16: unsupported where the processor has no instructions for it
};

inline LayerTraits traits_of(const LanguageModelConfig& c, int32_t layer) {
  return c.traits != nullptr ? c.traits[layer]
                             : LayerTraits{c.sliding_window, LayerRotary::standard, c.intermediate, false};
}

// How many tokens of each sequence are predicted; 0 when sequences of a masked model differ or have none.
inline int64_t predictions(const LanguageModelConfig& c, const int32_t* tokens, int64_t sequences, int64_t context) {
  if (!c.masked) return context - 1;
  int64_t count = 0;
  for (int64_t s = 0; s < sequences; ++s) {
    int64_t own = 0;
    for (int64_t t = 0; t < context; ++t) own += tokens[s * context + t] < 0 ? 1 : 0;
    if (s > 0 && own != count) return 0;
    count = own;
  }
  return count;
}

// The first part of a config that the CUDA backend does not have, in words; null when it has all.
inline const char* part_beyond_cuda(const LanguageModelConfig& c) {
  if (c.attention.alibi_rounded) return "rounded attention biases by distance";
  if (c.embedding.width != 0 && c.embedding.width != c.hidden) return "projected embeddings";
  if (c.moe.experts > 1024) return "more than 1024 experts";
  return nullptr;
}

// Which tensor of a layer. Vectors are norms and biases; embedding and head are [vocab, width of the embedding].
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
  attention_output_norm,  // with norms.after or norms.of_sum
  mlp_output_norm,
  final_norm_bias,  // of layer norms
  input_norm_bias,
  post_attention_norm_bias,
  attention_output_norm_bias,
  mlp_output_norm_bias,
  q_norm_bias,
  k_norm_bias,
  sinks,  // [heads]
  qkv,    // with attention.fused, in place of q, k and v
  qkv_bias,
  gate_up,  // with mlp.fused, in place of gate and up
  gate_up_bias,
  positions,  // [embedding.positions, width]
  types,      // [embedding.types, width]
  embedding_norm,
  embedding_norm_bias,
  embedding_projection,  // [hidden, embedding.width]
  embedding_projection_bias,
  head_dense,  // [width, hidden]
  head_dense_bias,
  head_norm,
  head_norm_bias,
  head_bias,  // [vocab]
  router,     // [experts, hidden], of a routed layer, as what follows
  router_bias,
  router_correction,
  shared_gate,  // [1, hidden]
};

// A matrix, bias or input of an expert has its number; everything else kNoExpert.
constexpr int32_t kNoExpert = -1;

// A matrix in its packed form: l1 [rows, rank] and l2 [rank, cols], null at rank 0.
struct PackedWeight {
  EncodedView encoded;
  const float* l1;
  const float* l2;
};

// Where weights come from. Called from one thread at a time. A failure ends the run with that status.
struct WeightProvider {
  void* user;
  // Fills dst (fp32, row-major, the tensor's element count) with a weight, packed ones put together. layer is -1 for
  // those outside the blocks. gate, up and down of a routed layer are an expert's, or those of what all tokens go
  // through.
  Status (*load)(void* user, int32_t layer, WeightKind kind, int32_t expert, float* dst, int64_t count);
  // Offers a matrix of a block or of an expert in its packed form, for a backend that keeps it so: fills *out, whose
  // pointers are valid until the next call of either function, or sets *found to false when the matrix is not packed.
  // No block type of GGUF is offered, nor EXL3's codes. Null when no matrix is packed.
  Status (*load_packed)(void* user, int32_t layer, WeightKind kind, int32_t expert, PackedWeight* out,
                        bool* found) = nullptr;
};

// The inputs of a block's matrices: q, k and v read the first, o the second, gate and up the third, down the last.
// Fused matrices read what their parts read. An expert has an mlp and a down input of its own: the tokens that are
// routed to it.
enum class BlockInput : int32_t { attention = 0, output, mlp, down };

// Where the sums of a calibration go. Each function is called when its sum over a batch is needed and returns an array
// to add to, or null for what is not wanted; a null function wants nothing. Arrays stay valid until the run ends and
// may be file mappings.
struct CalibrationSink {
  void* user;
  // fp32 [rows, cols]: sums over sequences of the squared gradient.
  float* (*squares)(void* user, int32_t layer, WeightKind kind, int32_t expert, int64_t rows, int64_t cols) = nullptr;
  // [rows]: the same, summed over columns too.
  double* (*row_squares)(void* user, int32_t layer, WeightKind kind, int32_t expert, int64_t rows) = nullptr;
  // fp32 [n, n]: sums over tokens of x x^T, at and below the diagonal; what is above it is left undefined. For an
  // expert over the tokens routed to it, whatever their weights: those are in the gradients already.
  float* (*second_moment)(void* user, int32_t layer, BlockInput input, int32_t expert, int64_t n) = nullptr;
};

// Two streams of hidden states through one model, block by block: dense, x_f, and encoded, x_q, in which matrices are
// replaced as they become known, so that each is seen with the inputs that what was replaced before it gives. Blocks
// are visited in their order, and in a block q, k, v before o before gate, up before down; invalid_argument otherwise.
// Where attention and MLP are parallel, the halves may be visited in either order.
class LayerPass {
 public:
  // second_moment [n, n] = E[x_q x_q^T] and, unless null, cross [n, n] = E[(x_f - x_q) x_q^T]: means over tokens of an
  // input of block `layer`, fp32. Those of an expert are sums over the tokens that the encoded model routes to it, both
  // streams at those tokens, divided by the number of all tokens. progress: sequences, perhaps twice.
  virtual Status moments(int32_t layer, BlockInput input, int32_t expert, float* second_moment, float* cross,
                         const Control& control) = 0;
  // The encoded stream multiplies with `values` from now on; they are copied.
  virtual Status replace(int32_t layer, WeightKind kind, int32_t expert, const float* values, int64_t count) = 0;
  // Takes both streams through block `layer`. progress: as above.
  virtual Status advance(int32_t layer, const Control& control) = 0;
  virtual void destroy() = 0;

 protected:
  virtual ~LayerPass() = default;
};

// How another model's predictions differ from this one's.
struct Divergence {
  double *losses, *other_losses;  // [sequences], as LanguageModel::losses gives them
  float* kl;                      // [sequences, predictions]: KL(this || other) of each prediction in nats
  uint8_t* same_top;              // the same: 1 where both find the same token likeliest
};

class LanguageModel {
 public:
  // Mean cross entropy (natural log) of the predictions of each of `sequences` rows of tokens [sequences, context],
  // context-1 next tokens or the masked ones each, into losses [sequences]. progress: sequences.
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
  // Starts a pass over tokens [sequences, context], which are copied. The model's provider outlives it.
  virtual Status open_layer_pass(const int32_t* tokens, int64_t sequences, int32_t context, LayerPass** out) = 0;
  virtual void destroy() = 0;

 protected:
  virtual ~LanguageModel() = default;
};

}  // namespace lq
