// A transformer on its device: its weights, and how sequences go through its blocks.
//
// The memory plan. Device memory is divided once a run and nothing is allocated while a batch is under way:
//
//   1. Weights come first and stay from run to run (lm/weights.h): one plane of bf16 where every weight is a bf16
//      number, else two; packed matrices stay packed, and backward expands one group of them at a time. Blocks that
//      leave less than 30 % of the device free are brought again: for losses once a run, which then takes all sequences
//      through one block after another (lm/language_model.cc), else by every batch that reaches them.
//   2. What a calibration sums, padded fp32, for as many layers as fit beside a batch of one sequence. Several such
//      groups of layers mean several passes over the sequences (lm/calibration.cc).
//   3. The rest is a batch's, one allocation that an Arena lays out: sequences are halved until it fits. How much of a
//      block's activations outlives it is the run's choice, `Keep`:
//        nothing     forward alone: one state that all blocks share, the residual stream updated in place
//        inputs      each block's input, hidden floats a token and layer; backward computes the rest again, a third
//                    more work
//        everything  each block's whole state, where a full batch of it fits
//
// The host runs one step ahead of the device at most (lm/meter.h), so that cancelling takes effect within two.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "lm/head.h"
#include "lm/meter.h"
#include "runtime/budget.h"

namespace lq::cuda {

enum class Keep { nothing, inputs, everything };

// Everything a batch has in device memory.
struct BatchMemory {
  int32_t *tokens, *targets, *positions;
  std::vector<float*> inputs;      // of every block, when blocks share a state
  std::vector<BlockState> blocks;  // one, or one for every block
  float* last;                     // [rows, hidden]: the last block's output, then gradients
  HeadState head;
  BackwardState backward;

  BlockState state(Keep keep, int32_t layer) const;
};
BatchMemory place_batch(const BatchContext& batch, Keep keep, Arena* arena);

// What attention knows of positions, on the device, for one length of context.
class RotaryOnDevice {
 public:
  RotaryOnDevice(const Stream& stream, const LanguageModelConfig& config, int64_t context);
  const Rotary& standard() const { return standard_; }
  const Rotary& local() const { return local_; }
  const float* slopes() const { return slopes_.get(); }

 private:
  std::vector<DeviceBuffer<float>> buffers_;
  Rotary standard_{}, local_{};
  DeviceBuffer<float> slopes_;
};

// What is predicted of tokens [sequences, context]: the target of each row, -1 for none, as many in each sequence.
struct Predictions {
  // Throws invalid_argument when sequences of a masked model differ or predict nothing.
  Predictions(const LanguageModelConfig& config, const int32_t* tokens, int64_t sequences, int64_t context);
  std::vector<int32_t> targets;
  int64_t each;
};

class Model {
 public:
  Model(const LanguageModelConfig& config, const WeightProvider& provider);

  const Shape shape;

  // Refuses a context under `least` and tokens outside the vocabulary, with their place.
  void check_tokens(const int32_t* tokens, int64_t count, int32_t context, int32_t least) const;

  // Runs work(watch) on this model's device; where a weight turns out to be no bf16 number, again with two planes.
  template <typename Work>
  Status run(const Control& control, Work&& work) {
    return guarded([&] {
      select();
      const Watch watch(control);
      watch.poll();
      try {
        work(watch);
      } catch (const NeedsTwoPlanes&) {
        use_two_planes();
        work(watch);
      }
    });
  }
  void select() const { check(cudaSetDevice(device_), "selecting the device"); }
  int device() const { return device_; }
  void use_two_planes();

  // Brings the weights to the device, as far as they fit, packed ones as they are.
  void prepare(const Watch& watch);

  // Weights to go through once, expanded.
  std::unique_ptr<Weights> open_weights() const;

  Weights& weights() const { return *weights_; }
  // Whether some blocks do not stay on the device.
  bool brings_blocks() const { return !weights_->kept(shape.config.layers - 1); }
  const Stream& stream() const { return stream_; }
  const Products& products() const { return products_; }
  ExpertQueues* queues() const { return queues_.get(); }
  int activation_planes() const;

  BatchContext context_of(const RotaryOnDevice& rotary, int64_t sequences, int64_t context) const;
  int64_t batch_bytes(const RotaryOnDevice& rotary, int64_t sequences, int64_t context, Keep keep) const;
  static int64_t usable_bytes();
  // Sequences of a batch when memory does not matter.
  static int64_t full_batch(int64_t sequences, int64_t context);

  // Calls work(batch, memory, first) for batches of nearly equal size that fit in memory.
  void for_batches(const RotaryOnDevice& rotary, int64_t sequences, int64_t context, Keep keep,
                   const std::function<void(const BatchContext&, const BatchMemory&, int64_t)>& work);

  // Runs the blocks, calling `visit` after each; returns the last one's output.
  using Visit = std::function<void(int32_t layer, const BlockState& state)>;
  const float* forward(const BatchContext& batch, const BatchMemory& memory, Keep keep, const int32_t* tokens,
                       const Watch& watch, Meter* meter, const Visit& visit = {});

  // Puts what is predicted of host tokens where the head reads it.
  void upload_targets(const BatchContext& batch, const BatchMemory& memory, const int32_t* tokens) const;

  // x [rows, hidden] = what the first block reads of host tokens; ids and positions [rows] are room for them.
  void embed_tokens(const EmbeddingWeights& weights, const int32_t* tokens, int64_t rows, int64_t context, int32_t* ids,
                    int32_t* positions, float* x) const;

  // Mean cross entropy of each sequence of a batch, [sequences].
  void collect_losses(const BatchContext& batch, const Predictions& predictions, const CrossEntropy& entropy,
                      double* losses) const;

 private:
  int device_ = 0;
  const WeightProvider provider_;
  Stream stream_;
  Products products_;
  const std::unique_ptr<ExpertQueues> queues_;  // null where there are no experts
  int weight_planes_ = 1;
  std::unique_ptr<Weights> weights_;  // kept from run to run
};

}  // namespace lq::cuda
