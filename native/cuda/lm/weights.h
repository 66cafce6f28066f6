// Weights of a transformer in device memory: kept there while they fit, brought block by block when they do not.
#pragma once

#include <memory>
#include <vector>

#include "lm/fused.h"
#include "lm/product.h"
#include "lm/shape.h"
#include "quant/packed_matrix.h"

namespace lq::cuda {

// Thrown when a weight is not a bf16 number and weights were being stored in one plane.
struct NeedsTwoPlanes {};

// A group of matrices stacked along their rows. Either none is packed, one operand in planes, or each is a part of its
// own, packed or not.
struct StackedMatrix {
  struct Part {
    int64_t rows;  // padded
    DeviceBuffer<uint16_t> data;
    Operand operand{};
    std::unique_ptr<PackedMatrix> packed;  // null: operand has it
  };
  std::vector<Part> parts;
  PackedWorkspace* workspace = nullptr;  // of packed parts

  // The whole group. Packed parts are expanded into the workspace, until the next product with a packed matrix.
  Operand operand() const;
};

// An expert's MLP; its biases lie with those of the others.
struct ExpertWeights {
  StackedMatrix gates, down;
};

// Buffers are empty where the architecture has no such tensor.
struct BlockWeights {
  LayerTraits traits;
  StackedMatrix qkv, o, gates, down;  // gates: gate and up, or up alone
  DeviceBuffer<float> qkv_bias, o_bias, gates_bias, down_bias;
  DeviceBuffer<float> input_norm, input_norm_bias, post_attention_norm, post_attention_norm_bias;
  DeviceBuffer<float> attention_output_norm, attention_output_norm_bias, mlp_output_norm, mlp_output_norm_bias;
  DeviceBuffer<float> q_norm, q_norm_bias, k_norm, k_norm_bias, sinks;
  // Of a routed layer.
  StackedMatrix router;  // [experts, hidden]
  DeviceBuffer<float> router_bias, router_correction, shared_gate;
  std::vector<ExpertWeights> experts;
  DeviceBuffer<float> expert_gates_bias, expert_down_bias;  // [experts, gates], [experts, hidden]
};

struct TableWeights {
  StackedMatrix own;                    // empty when embedding and head are tied
  Operand table{};                      // [vocab, hidden]
  DeviceBuffer<float> norm, norm_bias;  // final norm; empty for the embedding
  DeviceBuffer<float> bias;             // [vocab], of logits; empty when there is none
  // What comes between the final norm and the table, [hidden, hidden]; empty when there is none.
  StackedMatrix dense;
  DeviceBuffer<float> dense_bias, dense_norm, dense_norm_bias;
};

// What is added to rows of the embedding, and what normalises the sum; empty when there is none.
struct EmbeddingWeights {
  Operand table{};                // [vocab, hidden]
  DeviceBuffer<float> positions;  // [positions, hidden]
  DeviceBuffer<float> type;       // [hidden]
  DeviceBuffer<float> norm, norm_bias;
};

class Weights {
 public:
  // `planes`: how weights are stored. With one, a weight that is not a bf16 number raises NeedsTwoPlanes. Matrices of
  // blocks and experts that the provider has packed stay so, with products in `packed_planes` planes, unless that is 0.
  Weights(const Stream& stream, const Shape& shape, const WeightProvider& provider, int planes, int packed_planes);

  PackedWorkspace* workspace() { return &workspace_; }

  // The weights of a block, of the embedding, of the head with the final norm. What they return is valid until the next
  // call when it was not kept.
  const BlockWeights& block(int32_t layer, const Watch& watch);
  const EmbeddingWeights& embedding(const Watch& watch);
  const TableWeights& head(const Watch& watch);

  // A copy of a block in which every matrix is a part of its own, so that each can be replaced.
  BlockWeights copy(const BlockWeights& block) const;
  // Puts host values, as the provider gives them, in the place of a stored matrix of such a copy, in two planes.
  void replace(WeightKind kind, int32_t expert, const float* values, BlockWeights* block);

  // Whether a block stays in device memory.
  bool kept(int32_t layer) const { return blocks_[layer] != nullptr; }

  // Gives back what is only there to be at hand: staging memory.
  void release_staging();

 private:
  void stack(const Place& place, const std::vector<WeightKind>& kinds, const Watch& watch, StackedMatrix* out);
  // The matrix in its packed form, or null. Of kinds that are stored as one: all of them, stacked.
  std::unique_ptr<PackedMatrix> load_packed(const Place& place, const std::vector<WeightKind>& kinds,
                                            const Watch& watch);
  void load_planes(const Place& place, const std::vector<WeightKind>& kinds, const Watch& watch,
                   StackedMatrix::Part* out);
  // Side by side; those that this architecture has.
  void vector(const Place& place, const std::vector<WeightKind>& kinds, const Watch& watch, DeviceBuffer<float>* out);
  void store_vectors(const Place& place, const std::vector<WeightKind>& kinds, const Watch& watch, float* out);
  void load_experts(int32_t layer, const Watch& watch, BlockWeights* out);
  // Leaves the tensor in staging_device_.
  void load(const Place& place, WeightKind kind, int64_t count, const Watch& watch);
  // Makes room for a tensor in staging memory, once nothing reads it.
  void reserve_staging(int64_t count);
  StackedMatrix::Part room_for(int64_t rows, int64_t stride, int planes) const;
  // Writes rows of what is in staging_device_ from row `row` of a part on.
  void store(const Placement& placement, const lm::RowRuns& from, int64_t row, const StackedMatrix::Part& part) const;
  // Brings the tensor that a part is stored in, unless it is a fused one and what *held says.
  void load_stored(const Place& place, WeightKind part, const Watch& watch, const WeightKind* held);
  void require_exact();
  BlockWeights load_block(int32_t layer, const Watch& watch);
  bool fits() const;

  const Stream& stream_;
  const Shape& shape_;
  const WeightProvider provider_;
  const int planes_, packed_planes_;
  PackedWorkspace workspace_;
  std::vector<std::unique_ptr<BlockWeights>> blocks_;
  std::unique_ptr<BlockWeights> visiting_;
  StackedMatrix table_;
  std::unique_ptr<EmbeddingWeights> embedding_;
  std::unique_ptr<TableWeights> head_;
  std::unique_ptr<PinnedBuffer<float>> staging_;
  int64_t staging_size_ = 0;
  DeviceBuffer<float> staging_device_;
  DeviceBuffer<int32_t> inexact_;
};

// Adds the padded device matrix to rows `to` of a dense host array of placement.cols columns.
void add_to_host(const Stream& stream, const float* device, const Placement& placement, const lm::RowRuns& to,
                 float* host);

}  // namespace lq::cuda
