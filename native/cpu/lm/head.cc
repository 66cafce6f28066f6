#include "lm/head.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "lm/kernels.h"

namespace lq::lm {
namespace {

constexpr int64_t kForwardRows = 512;
constexpr int64_t kForwardTile = 512;                   // vocabulary a product; with its rows, a megabyte of logits
constexpr int64_t kBackwardFloats = int64_t{16} << 20;  // logits of a piece of rows, a thread

// logits [rows, words] = x [rows, hidden] W^T, soft-capped where the model's are.
void logits_of(const Batch& batch, const float* x, const float* weight, int64_t rows, int64_t words, float* logits) {
  batch.linear(x, weight, rows, batch.config.hidden, words, false, logits);
  if (batch.config.logit_softcap > 0) {
    kernels().soft_cap(logits, rows * words, static_cast<float>(batch.config.logit_softcap));
  }
}

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

// The largest logit of a row and the first token that has it.
struct Top {
  float largest = -3.0e38f;
  int64_t index = -1;

  void add(const float* z, int64_t begin, int64_t n) {
    for (int64_t j = 0; j < n; ++j) {
      if (z[j] <= largest) continue;
      largest = z[j];
      index = begin + j;
    }
  }
};

}  // namespace

void head_losses(const Batch& batch, const HeadWeights& head, const float* x, const int32_t* tokens, double* losses) {
  const int64_t hidden = batch.config.hidden, vocab = batch.config.vocab;
  const auto piece = [&](int64_t sequence, int64_t first, int64_t count, int32_t slot) {
    const int64_t row = sequence * batch.context + first;
    float* normed = batch.scratch(slot, count * (hidden + kForwardTile));
    float* logits = normed + count * hidden;
    norm(batch.config, head.norm, x + row * hidden, count, hidden, normed);
    std::vector<LogSumExp> state(count, kEmptyLogSumExp);
    double loss = 0;
    for (int64_t begin = 0; begin < vocab; begin += kForwardTile) {
      const int64_t width = std::min(kForwardTile, vocab - begin);
      logits_of(batch, normed, head.weight + begin * hidden, count, width, logits);
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
    const auto cap = static_cast<float>(batch.config.logit_softcap);
    float* normed = batch.scratch(slot, count * (hidden + (cap > 0 ? 2 : 1) * vocab));
    float* logits = normed + count * hidden;
    float* capped = logits + count * vocab;
    norm(batch.config, head.norm, x + row * hidden, count, hidden, normed);
    logits_of(batch, normed, head.weight, count, vocab, logits);
    if (cap > 0) std::copy_n(logits, count * vocab, capped);
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
    if (cap > 0) kernels().soft_cap_backward(capped, count * vocab, cap, logits);
    batch.linear_backward(logits, head.weight, count, hidden, vocab, false, normed);
    norm_backward(batch.config, head.norm, x + row * hidden, normed, nullptr, count, hidden, dx + row * hidden);
    return loss;
  };
  for_predictions(batch, rows, losses, piece);
  for (int64_t s = 1; s <= batch.sequences; ++s) std::fill_n(dx + (s * batch.context - 1) * hidden, hidden, 0.0f);
}

void head_divergence(const HeadSide& first_side, const HeadSide& second_side, const int32_t* tokens,
                     const Divergence& out) {
  const HeadSide* sides[] = {&first_side, &second_side};
  const Batch& batch = first_side.batch;
  const int64_t vocab = batch.config.vocab, predictions = batch.context - 1;
  const int64_t width_of[] = {batch.config.hidden, second_side.batch.config.hidden};
  // Sums of losses of the second side, added in the order of the rows.
  std::vector<double> other(batch.sequences * predictions);
  const auto piece = [&](int64_t sequence, int64_t first, int64_t count, int32_t slot) {
    const int64_t row = sequence * batch.context + first, at = sequence * predictions + first;
    float* scratch = batch.scratch(slot, count * (width_of[0] + width_of[1] + 2 * kForwardTile));
    float* normed[] = {scratch, scratch + count * width_of[0]};
    float* logits[] = {normed[1] + count * width_of[1], normed[1] + count * (width_of[1] + kForwardTile)};
    for (int s = 0; s < 2; ++s) {
      norm(sides[s]->batch.config, sides[s]->head.norm, sides[s]->x + row * width_of[s], count, width_of[s], normed[s]);
    }
    struct Row {
      RunningDivergence divergence{kEmptyLogSumExp, 0};
      LogSumExp second = kEmptyLogSumExp;
      double target[2] = {0, 0};
      Top top[2];
    };
    std::vector<Row> rows(count);
    for (int64_t begin = 0; begin < vocab; begin += kForwardTile) {
      const int64_t width = std::min(kForwardTile, vocab - begin);
      for (int s = 0; s < 2; ++s) {
        logits_of(sides[s]->batch, normed[s], sides[s]->head.weight + begin * width_of[s], count, width, logits[s]);
      }
      for (int64_t i = 0; i < count; ++i) {
        Row& r = rows[i];
        const float *a = logits[0] + i * width, *b = logits[1] + i * width;
        kernels().accumulate_divergence(a, b, width, &r.divergence);
        kernels().accumulate(b, width, &r.second);
        r.top[0].add(a, begin, width);
        r.top[1].add(b, begin, width);
        const int64_t target = tokens[row + i + 1] - begin;
        if (target < 0 || target >= width) continue;
        r.target[0] = a[target];
        r.target[1] = b[target];
      }
    }
    double loss = 0;
    for (int64_t i = 0; i < count; ++i) {
      const Row& r = rows[i];
      const double lse = value(r.divergence.first), other_lse = value(r.second);
      loss += lse - r.target[0];
      other[at + i] = other_lse - r.target[1];
      // No divergence is negative; rounding may be.
      const double kl = r.divergence.weighted / r.divergence.first.sum - lse + other_lse;
      out.kl[at + i] = static_cast<float>(std::max(kl, 0.0));
      out.same_top[at + i] = r.top[0].index == r.top[1].index ? 1 : 0;
    }
    return loss;
  };
  for_predictions(batch, kForwardRows, out.losses, piece);
  for (int64_t s = 0; s < batch.sequences; ++s) {
    const double* begin = other.data() + s * predictions;
    out.other_losses[s] = std::accumulate(begin, begin + predictions, 0.0) / static_cast<double>(predictions);
  }
}

void head_logits(const Batch& batch, const HeadWeights& head, const float* x, float* out) {
  const int64_t hidden = batch.config.hidden, vocab = batch.config.vocab;
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    float* normed = batch.scratch(slot, count * hidden);
    norm(batch.config, head.norm, x + first * hidden, count, hidden, normed);
    logits_of(batch, normed, head.weight, count, vocab, out + first * vocab);
  });
}

}  // namespace lq::lm
