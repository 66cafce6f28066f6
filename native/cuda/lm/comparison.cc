#include "lm/comparison.h"

#include <cmath>

namespace lq::cuda {
namespace {

void collect_divergence(const Model& model, const BatchContext& b, const Predictions& predictions,
                        const RunningDivergence& d, int64_t first, const Divergence& out) {
  model.collect_losses(b, predictions, d.first, out.losses + first);
  model.collect_losses(b, predictions, d.second, out.other_losses + first);
  const auto rows = static_cast<size_t>(b.rows());
  const auto fetch = [&](auto* to, const auto* from) {
    check(cudaMemcpyAsync(to->data(), from, rows * sizeof(*from), cudaMemcpyDeviceToHost, b.stream.get()),
          "copying divergences from the device");
  };
  std::vector<float> top(rows), sum(rows), other_top(rows), other_sum(rows), weighted(rows);
  std::vector<int32_t> word(rows), other_word(rows);
  fetch(&top, d.first.top);
  fetch(&sum, d.first.sum);
  fetch(&other_top, d.second.top);
  fetch(&other_sum, d.second.sum);
  fetch(&weighted, d.weighted);
  fetch(&word, d.first_word);
  fetch(&other_word, d.second_word);
  b.stream.synchronize();
  const auto lse = [](float at, float of) { return static_cast<double>(at) + std::log(static_cast<double>(of)); };
  int64_t at = first * predictions.each;
  for (int64_t row = 0; row < b.rows(); ++row) {
    if (predictions.targets[static_cast<size_t>(row)] < 0) continue;
    // No divergence is negative; rounding may be.
    const double kl =
        static_cast<double>(weighted[row]) / sum[row] - lse(top[row], sum[row]) + lse(other_top[row], other_sum[row]);
    out.kl[at] = static_cast<float>(std::max(kl, 0.0));
    out.same_top[at] = word[row] == other_word[row] ? 1 : 0;
    ++at;
  }
}

}  // namespace

void compare(Model* first, Model* second, const int32_t* tokens, int64_t sequences, int32_t context,
             const Divergence& out, const Watch& watch) {
  Model* models[] = {first, second};
  for (Model* m : models) m->prepare(watch);
  const RotaryOnDevice rotary(first->stream(), first->shape.config, context);
  const RotaryOnDevice other_rotary(second->stream(), second->shape.config, context);
  const RotaryOnDevice* rotaries[] = {&rotary, &other_rotary};
  const auto bytes_of = [&](int i, int64_t count) {
    Arena counting(nullptr);
    const BatchContext b = models[i]->context_of(*rotaries[i], count, context);
    place_batch(b, Keep::nothing, &counting);
    place_divergence(b, &counting);
    return counting.used();
  };
  int64_t most = Model::full_batch(sequences, context);
  while (most > 1 && bytes_of(0, most) + bytes_of(1, most) > Model::usable_bytes()) most = (most + 1) / 2;
  const int64_t batches = ceil_div(sequences, most), largest = ceil_div(sequences, batches);
  const DeviceBuffer<uint8_t> memory(first->stream(), bytes_of(0, largest));
  const DeviceBuffer<uint8_t> other_memory(second->stream(), bytes_of(1, largest));
  first->stream().synchronize();
  second->stream().synchronize();
  Meter meter(first->stream(), watch, sequences);
  Meter silent(second->stream(), watch, 0);
  for (int64_t i = 0; i < batches; ++i) {
    const int64_t begin = sequences * i / batches, count = sequences * (i + 1) / batches - begin;
    const int32_t* ids = tokens + begin * context;
    meter.begin(count, first->shape.config.layers + 1, 1);
    const BatchContext a = first->context_of(rotary, count, context);
    const BatchContext b = second->context_of(other_rotary, count, context);
    Arena arena(memory.get()), other_arena(other_memory.get());
    const BatchMemory of_a = place_batch(a, Keep::nothing, &arena);
    const BatchMemory of_b = place_batch(b, Keep::nothing, &other_arena);
    const RunningDivergence divergence = place_divergence(a, &arena);
    const float* x_b = second->forward(b, of_b, Keep::nothing, ids, watch, &silent);
    const float* x_a = first->forward(a, of_a, Keep::nothing, ids, watch, &meter);
    head_divergence({a, first->weights().head(watch), x_a, of_a.head},
                    {b, second->weights().head(watch), x_b, of_b.head}, of_a.targets, divergence);
    collect_divergence(*first, a, Predictions(first->shape.config, ids, count, context), divergence, begin, out);
    meter.step();
  }
}

}  // namespace lq::cuda
