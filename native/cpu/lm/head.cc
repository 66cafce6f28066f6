#include "lm/head.h"

#include <algorithm>
#include <vector>

#include "lm/kernels.h"

namespace lq::lm {
namespace {

constexpr int64_t kForwardRows = 512;
constexpr int64_t kForwardTile = 512;                   // vocabulary a product; with its rows, a megabyte of logits
constexpr int64_t kBackwardFloats = int64_t{16} << 20;  // logits of a piece of rows, a thread

// Calls fn(sequence, first, count, slot) over pieces of the context - 1 predictions of every sequence, and adds what it
// returns, a sum of losses, in a fixed order.
void for_predictions(const Batch& batch, int64_t most_rows, double* losses,
                     cpu::FunctionRef<double(int64_t, int64_t, int64_t, int32_t)> fn) {
  const int64_t predictions = batch.context - 1;
  const int64_t pieces = (predictions + most_rows - 1) / most_rows;
  std::vector<double> sums(batch.sequences * pieces);
  batch.for_each(batch.sequences * pieces, [&](int64_t i, int32_t slot) {
    const int64_t first = i % pieces * most_rows;
    sums[i] = fn(i / pieces, first, std::min(most_rows, predictions - first), slot);
  });
  for (int64_t s = 0; s < batch.sequences; ++s) {
    double sum = 0;
    for (int64_t p = 0; p < pieces; ++p) sum += sums[s * pieces + p];
    losses[s] = sum / static_cast<double>(predictions);
  }
}

}  // namespace

void head_losses(const Batch& batch, const HeadWeights& head, const float* x, const int32_t* tokens, double* losses) {
  const int64_t hidden = batch.config.hidden, vocab = batch.config.vocab;
  const auto piece = [&](int64_t sequence, int64_t first, int64_t count, int32_t slot) {
    const int64_t row = sequence * batch.context + first;
    float* normed = batch.scratch(slot, count * (hidden + kForwardTile));
    float* logits = normed + count * hidden;
    kernels().rms_norm(x + row * hidden, head.norm, count, hidden, batch.config.rms_eps, normed);
    std::vector<LogSumExp> state(count, kEmptyLogSumExp);
    double loss = 0;
    for (int64_t begin = 0; begin < vocab; begin += kForwardTile) {
      const int64_t width = std::min(kForwardTile, vocab - begin);
      batch.linear(normed, head.weight + begin * hidden, count, hidden, width, false, logits);
      for (int64_t i = 0; i < count; ++i) {
        const float* z = logits + i * width;
        kernels().accumulate(z, width, &state[i]);
        const int64_t target = tokens[row + i + 1] - begin;
        if (target >= 0 && target < width) loss -= z[target];
      }
    }
    for (const LogSumExp& s : state) loss += value(s);
    return loss;
  };
  for_predictions(batch, kForwardRows, losses, piece);
}

void head_backward(const Batch& batch, const HeadWeights& head, const float* x, const int32_t* tokens, double* losses,
                   float* dx) {
  const int64_t hidden = batch.config.hidden, vocab = batch.config.vocab;
  const float scale = 1.0f / static_cast<float>(batch.context - 1);
  const int64_t rows = std::clamp<int64_t>(kBackwardFloats / vocab, 32, kForwardRows);
  const auto piece = [&](int64_t sequence, int64_t first, int64_t count, int32_t slot) {
    const int64_t row = sequence * batch.context + first;
    float* normed = batch.scratch(slot, count * (hidden + vocab));
    float* logits = normed + count * hidden;
    kernels().rms_norm(x + row * hidden, head.norm, count, hidden, batch.config.rms_eps, normed);
    batch.linear(normed, head.weight, count, hidden, vocab, false, logits);
    double loss = 0;
    for (int64_t i = 0; i < count; ++i) {
      float* z = logits + i * vocab;
      const int32_t target = tokens[row + i + 1];
      LogSumExp state = kEmptyLogSumExp;
      kernels().accumulate(z, vocab, &state);
      const double lse = value(state);
      loss += lse - z[target];
      kernels().scaled_softmax(z, vocab, static_cast<float>(lse), scale);
      z[target] -= scale;
    }
    batch.linear_backward(logits, head.weight, count, hidden, vocab, false, normed);
    kernels().rms_norm_backward(x + row * hidden, head.norm, normed, nullptr, count, hidden, batch.config.rms_eps,
                                dx + row * hidden);
    return loss;
  };
  for_predictions(batch, rows, losses, piece);
  for (int64_t s = 1; s <= batch.sequences; ++s) std::fill_n(dx + (s * batch.context - 1) * hidden, hidden, 0.0f);
}

void head_logits(const Batch& batch, const HeadWeights& head, const float* x, float* out) {
  const int64_t hidden = batch.config.hidden, vocab = batch.config.vocab;
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    float* normed = batch.scratch(slot, count * hidden);
    kernels().rms_norm(x + first * hidden, head.norm, count, hidden, batch.config.rms_eps, normed);
    batch.linear(normed, head.weight, count, hidden, vocab, false, out + first * vocab);
  });
}

}  // namespace lq::lm
