// How a transformer's tensors lie in device memory. Every width is padded with zeros so that rows start on 16 bytes and
// heads fill whole tensor-core tiles; zeros stay zeros through every stage, so only norms and downloads know true
// sizes.
//
// Matrices that read the same input are stacked, one product for all: queries, keys and values of a row are
// [q | k | v], gate and up are [gate | up].
#pragma once

#include <array>
#include <cstdint>

#include "lq/language_model.h"

namespace lq::cuda {

// The weight matrices a gradient can be asked for.
constexpr std::array<WeightKind, 7> kMatrices{WeightKind::q,    WeightKind::k,  WeightKind::v,   WeightKind::o,
                                              WeightKind::gate, WeightKind::up, WeightKind::down};

// Those of an MLP, which are an expert's.
constexpr std::array<WeightKind, 3> kMlpMatrices{WeightKind::gate, WeightKind::up, WeightKind::down};

// The inputs of a block's matrices.
constexpr std::array<BlockInput, 4> kInputs{BlockInput::attention, BlockInput::output, BlockInput::mlp,
                                            BlockInput::down};

// A logical [rows, cols] matrix in padded memory: row r is at r / row_segment * row_pitch + r % row_segment, and
// columns likewise. Heads are such segments; a plain dimension is one segment.
struct Placement {
  int64_t rows, cols;
  int64_t row_segment, row_pitch;
  int64_t col_segment, col_pitch;

  int64_t padded_rows() const { return rows / row_segment * row_pitch; }
  int64_t padded_cols() const { return cols / col_segment * col_pitch; }
  int64_t padded_bytes() const { return padded_rows() * padded_cols() * static_cast<int64_t>(sizeof(float)); }
};

// A tensor of a block, or of one of its experts, which has a block's MLP and no more; layer -1: outside the blocks.
struct Place {
  Place(int32_t of_layer, int32_t of_expert = kNoExpert) : layer(of_layer), expert(of_expert) {}  // NOLINT
  int32_t layer, expert;
};

// Padded widths in elements.
struct Shape {
  // Throws invalid_argument for impossible dimensions and unsupported for heads of more than 256.
  explicit Shape(const LanguageModelConfig& config);

  LanguageModelConfig config;
  int64_t hidden, inner, vocab;
  int64_t head;  // one head
  int64_t q, kv, qkv;
  int64_t gates;    // [gate | up], or up alone in an MLP without a gate
  int64_t experts;  // of a routed layer; 0: none is

  // The same with the MLP of a block, which may be narrower than the widest or absent, or of an expert.
  Shape at(const Place& place) const;
  Shape of(const LayerTraits& traits) const;
  Shape of_expert() const;

  // Of a weight matrix, or of a vector as [1, n].
  Placement placement(WeightKind kind) const;
  // Of an input's second moment.
  Placement moment_placement(BlockInput input) const;
  // Elements of a tensor, or of the part of a fused one; 0 when this architecture has no such tensor.
  int64_t count(WeightKind kind) const;
  // The same of a tensor as it is stored: fused ones whole, and their parts not at all.
  int64_t stored_count(WeightKind kind) const;
  // Whether the config's norms.offset is added to what the provider gives.
  bool is_norm_weight(WeightKind kind) const;
  LayerTraits traits(int32_t layer) const;
  // Whether queries, and keys, are normalised over all heads together.
  bool norms_together() const { return config.qk_norm && config.attention.head_norm == HeadNorm::together; }
  // Whether backward reads queries, keys and values as their projection left them.
  bool keeps_raw() const { return config.qk_norm || config.attention.clamp > 0; }
  // Whether the architecture computes without this tensor of a norm: its weight is 1 then, its bias 0.
  bool is_left_out(WeightKind kind) const;
  float embedding_scale() const {
    return config.embedding.scale > 0 ? static_cast<float>(config.embedding.scale) : 1.0f;
  }
  // What a half's result is multiplied with, and whether it joins the residual stream as its product leaves it.
  float residual_scale() const { return config.residual_scale > 0 ? static_cast<float>(config.residual_scale) : 1.0f; }
  bool joins_plainly() const { return !config.norms.after && !config.norms.of_sum && residual_scale() == 1.0f; }
  // Whether backward reads what halves gave.
  bool keeps_outputs() const { return config.norms.after || config.norms.of_sum; }
  // Weights of all blocks.
  int64_t block_parameters() const;

 private:
  Shape with_mlp(int32_t width, Fused fused, bool biased) const;
};

}  // namespace lq::cuda
