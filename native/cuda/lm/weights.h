// Weights of a transformer in device memory: kept there while they fit, brought block by block when they do not.
#pragma once

#include <memory>
#include <vector>

#include "lm/product.h"
#include "lm/shape.h"

namespace lq::cuda {

// Thrown when a weight is not a bf16 number and weights were being stored in one plane.
struct NeedsTwoPlanes {};

// A group of matrices stacked along their rows, in planes.
struct StackedMatrix {
  DeviceBuffer<uint16_t> data;
  Operand operand{};
};

struct BlockWeights {
  StackedMatrix qkv, o, gate_up, down;
  DeviceBuffer<float> input_norm, post_attention_norm;
  DeviceBuffer<float> qkv_bias, o_bias, gate_up_bias, down_bias;  // empty when there are none
  DeviceBuffer<float> q_norm, k_norm;
};

struct TableWeights {
  StackedMatrix table;       // [vocab, hidden]
  DeviceBuffer<float> norm;  // final norm; empty for the embedding
};

class Weights {
 public:
  // `planes`: how weights are stored. With one, a weight that is not a bf16 number raises NeedsTwoPlanes.
  Weights(const Stream& stream, const Shape& shape, const WeightProvider& provider, int planes);

  int planes() const { return planes_; }

  // The weights of a block, of the embedding, of the head with the final norm. What they return is valid until the next
  // call when it was not kept.
  const BlockWeights& block(int32_t layer, const Watch& watch);
  const Operand& embedding(const Watch& watch);
  const TableWeights& head(const Watch& watch);

  // Whether a block stays in device memory.
  bool kept(int32_t layer) const { return blocks_[layer] != nullptr; }

  // Gives back what is only there to be at hand: staging memory.
  void release_staging();

 private:
  void stack(int32_t layer, const std::vector<WeightKind>& kinds, const Watch& watch, StackedMatrix* out);
  void vector(int32_t layer, const std::vector<WeightKind>& kinds, const Watch& watch, DeviceBuffer<float>* out);
  // Leaves the tensor in staging_device_.
  void load(int32_t layer, WeightKind kind, int64_t count, const Watch& watch);
  void require_exact();
  BlockWeights load_block(int32_t layer, const Watch& watch);
  bool fits() const;

  const Stream& stream_;
  const Shape& shape_;
  const WeightProvider provider_;
  const int planes_;
  std::vector<std::unique_ptr<BlockWeights>> blocks_;
  std::unique_ptr<BlockWeights> visiting_;
  std::unique_ptr<TableWeights> embedding_, head_;
  std::unique_ptr<PinnedBuffer<float>> staging_;
  int64_t staging_size_ = 0;
  DeviceBuffer<float> staging_device_;
  DeviceBuffer<int32_t> inexact_;
};

// Adds the padded device matrix to a dense host array of placement.rows x placement.cols.
void add_to_host(const Stream& stream, const float* device, const Placement& placement, float* host);

}  // namespace lq::cuda
