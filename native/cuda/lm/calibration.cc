#include "lm/calibration.h"

#include <algorithm>

#include "lm/sums.h"

namespace lq::cuda {
namespace {

struct LayerRange {
  int32_t first, end;
};

bool everything_fits(const Model& model, const RotaryOnDevice& rotary, int64_t sequences, int64_t context) {
  const int64_t batch = Model::full_batch(sequences, context);
  return model.batch_bytes(rotary, batch, context, Keep::everything) <= Model::usable_bytes();
}

// Ranges of layers with a wanted sum whose sums fit on the device together, beside a batch. Each range is
// a pass over the sequences of its own.
std::vector<LayerRange> group_layers(const Model& model, const RotaryOnDevice& rotary,
                                     const std::vector<HostSums>& wanted, int64_t context) {
  const int64_t budget = Model::usable_bytes() - model.batch_bytes(rotary, 1, context, Keep::inputs);
  std::vector<LayerRange> groups;
  int64_t used = 0;
  for (int32_t layer = 0; layer < model.shape.config.layers; ++layer) {
    const int64_t bytes = wanted[layer].bytes(model.shape, layer);
    if (bytes == 0) {
      if (!groups.empty()) groups.back().end = layer + 1;
      continue;
    }
    if (groups.empty() || used + bytes > budget) {
      groups.push_back({layer, layer});
      used = 0;
    }
    groups.back().end = layer + 1;
    used += bytes;
  }
  // Losses are wanted even when no sum is.
  if (groups.empty()) groups.push_back({model.shape.config.layers, model.shape.config.layers});
  return groups;
}

void calibrate_batch(Model* model, const BatchContext& b, const BatchMemory& m, Keep keep, const LayerRange& group,
                     int32_t lowest, const std::vector<DeviceSums>& sums, const int32_t* tokens, double* losses,
                     const Watch& watch, Meter* meter) {
  const auto visit = [&](int32_t layer, const BlockState& state) {
    if (layer < group.first || layer >= group.end) return;
    sums[layer - group.first].add_moments(b, model->shape.traits(layer), state);
  };
  model->forward(b, m, keep, tokens, watch, meter, visit);
  const TableWeights& head = model->weights().head(watch);
  head_losses(b, head, m.last, m.targets, m.head);
  const Predictions predictions(model->shape.config, tokens, b.sequences, b.context);
  model->collect_losses(b, predictions, m.head.entropy, losses);
  if (lowest < model->shape.config.layers)
    head_backward(b, head, m.last, m.targets, predictions.each, m.head, m.last, m.backward.dy);
  meter->step();
  for (int32_t layer = model->shape.config.layers - 1; layer >= lowest; --layer) {
    const BlockWeights& weights = model->weights().block(layer, watch);
    const BlockState state = m.state(keep, layer);
    if (keep == Keep::inputs) fill_state(b, weights, state, m.backward.d_residual);
    const BlockAccumulators into = layer < group.end ? sums[layer - group.first].squares() : BlockAccumulators{};
    backward_block(b, weights, state, m.backward, m.last, into);
    meter->step();
  }
}

}  // namespace

void calibrate(Model* model, const int32_t* tokens, int64_t sequences, int32_t context, const CalibrationSink& sink,
               double* losses, const Watch& watch) {
  model->check_tokens(tokens, sequences * context, context, model->shape.config.masked ? 1 : 2);
  std::vector<HostSums> wanted;
  for (int32_t layer = 0; layer < model->shape.config.layers; ++layer) {
    wanted.push_back(HostSums::ask(sink, model->shape, layer));
  }
  model->prepare(watch);
  const RotaryOnDevice rotary(model->stream(), model->shape.config, context);
  const std::vector<LayerRange> groups = group_layers(*model, rotary, wanted, context);
  Meter meter(model->stream(), watch, sequences);
  for (const LayerRange& group : groups) {
    std::vector<DeviceSums> sums;
    int32_t lowest = model->shape.config.layers;  // of the group's layers with a wanted gradient
    for (int32_t layer = group.first; layer < group.end; ++layer) {
      sums.push_back(DeviceSums(model->stream(), model->shape, layer, wanted[layer]));
      if (wanted[layer].any_gradient()) lowest = std::min(lowest, layer);
    }
    const Keep keep = everything_fits(*model, rotary, sequences, context) ? Keep::everything : Keep::inputs;
    model->for_batches(
        rotary, sequences, context, keep, [&](const BatchContext& b, const BatchMemory& m, int64_t first) {
          const int64_t back = model->shape.config.layers - lowest;
          meter.begin(b.sequences, model->shape.config.layers + 1 + back, static_cast<int64_t>(groups.size()));
          calibrate_batch(model, b, m, keep, group, lowest, sums, tokens + first * context, losses + first, watch,
                          &meter);
        });
    for (int32_t layer = group.first; layer < group.end; ++layer) {
      sums[layer - group.first].add_to(model->stream(), model->shape, layer, wanted[layer]);
      watch.poll();
    }
  }
}

}  // namespace lq::cuda
