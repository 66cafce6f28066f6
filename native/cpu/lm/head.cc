#include "lm/head.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "lm/half.h"
#include "lm/kernels.h"

namespace lq::lm {
namespace {

constexpr int64_t kMostRows = 256;
// Vocabulary a product: a core's cache holds the logits of it. No multiple of a power of two that would lay rows over
// one another there.
constexpr int64_t kTile = 480;
constexpr int64_t kBackwardFloats = int64_t{16} << 20;  // logits of a piece of rows, a thread

// logits [rows, words] = h [rows, width] W^T + bias of words from `begin` on, soft-capped where the model's are.
void logits_of(const Batch& batch, const HeadWeights& head, const Batch::Input& h, int64_t begin, int64_t words,
               float* logits) {
  const int64_t rows = h.rows;
  project(batch, h, head.weight, head.bias, batch.config.vocab, {begin, words}, logits);
  if (batch.config.head.scale > 0) kernels().scale(static_cast<float>(batch.config.head.scale), rows * words, logits);
  if (batch.config.head.softcap > 0) {
    kernels().soft_cap(logits, rows * words, static_cast<float>(batch.config.head.softcap));
  }
}

// What logits are made of, with what backward needs on the way there: [rows, width] each but normed.
struct Hidden {
  float* normed;  // [rows, hidden]
  float* dense;   // before the activation; null without a transform, like the two below
  float* active;
  float* out;  // normed without a transform
};
int64_t hidden_floats(const LanguageModelConfig& c) { return c.hidden + (c.head.transform ? 3 * head_width(c) : 0); }
Hidden place_hidden(const LanguageModelConfig& c, int64_t rows, float* buffer) {
  if (!c.head.transform) return {buffer, nullptr, nullptr, buffer};
  float* dense = buffer + rows * c.hidden;
  const int64_t size = rows * head_width(c);
  return {buffer, dense, dense + size, dense + 2 * size};
}

// Fills h of x [rows, hidden].
void hidden_of(const Batch& batch, const HeadWeights& head, const float* x, int64_t rows, const Hidden& h) {
  const LanguageModelConfig& c = batch.config;
  norm(c, head.norm, x, rows, c.hidden, h.normed);
  if (h.dense == nullptr) return;
  const int64_t width = head_width(c);
  project(batch, h.normed, head.dense, head.dense_bias, rows, c.hidden, width, h.dense);
  kernels().activate(c.head.activation, nullptr, h.dense, rows * width, h.active);
  norm(c, head.dense_norm, h.active, rows, width, h.out);
}

// d_normed [rows, hidden] = gradient of h.normed, given that of h.out, which is overwritten; so is h.
void hidden_backward(const Batch& batch, const HeadWeights& head, const Hidden& h, int64_t rows, float* d_out,
                     float* d_normed) {
  const LanguageModelConfig& c = batch.config;
  const int64_t width = head_width(c);
  norm_backward(c, head.dense_norm, h.active, d_out, nullptr, rows, width, d_out);
  kernels().activate_backward(c.head.activation, d_out, rows * width, nullptr, h.dense, h.active);
  batch.linear_backward(h.dense, head.dense, rows, c.hidden, width, false, d_normed);
}

// Copies the rows that predictions [first, first + count) of a sequence are made from.
void gather(const Batch& batch, const Predictions& predictions, const float* x, int64_t sequence, int64_t first,
            int64_t count, float* out) {
  const int64_t hidden = batch.config.hidden;
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(x + predictions.row(sequence, first + i) * hidden, hidden, out + i * hidden);
  }
}

// Calls fn(sequence, first, count, slot) over pieces of the predictions of every sequence, and adds what it returns, a
// sum of losses, in a fixed order.
void for_predictions(const Batch& batch, int64_t predictions, int64_t most_rows, double* losses,
                     cpu::FunctionRef<double(int64_t, int64_t, int64_t, int32_t)> fn) {
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

Predictions::Predictions(const Batch& batch, const int32_t* tokens)
    : each_(predictions(batch.config, tokens, batch.sequences, batch.context)) {
  if (each_ == 0) fail(StatusCode::invalid_argument, "sequences do not all have as many masked tokens, one at least");
  const int64_t rows = batch.rows();
  for (int64_t row = 0; row < rows; ++row) {
    const bool predicted = batch.config.masked ? tokens[row] < 0 : row % batch.context < batch.context - 1;
    if (!predicted) continue;
    rows_.push_back(row);
    targets_.push_back(batch.config.masked ? ~tokens[row] : tokens[row + 1]);
  }
}

void head_losses(const Batch& batch, const HeadWeights& head, const float* x, const int32_t* tokens, double* losses) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, vocab = c.vocab;
  const Predictions places(batch, tokens);
  const auto piece = [&](int64_t sequence, int64_t first, int64_t count, int32_t slot) {
    float* rows = batch.scratch(slot, count * (hidden + hidden_floats(c) + kTile));
    const Hidden h = place_hidden(c, count, rows + count * hidden);
    float* logits = rows + count * (hidden + hidden_floats(c));
    gather(batch, places, x, sequence, first, count, rows);
    hidden_of(batch, head, rows, count, h);
    const Batch::Input input = batch.input(h.out, count, head_width(c));
    std::vector<LogSumExp> state(count, kEmptyLogSumExp);
    double loss = 0;
    for (int64_t begin = 0; begin < vocab; begin += kTile) {
      const int64_t width = std::min(kTile, vocab - begin);
      logits_of(batch, head, input, begin, width, logits);
      for (int64_t i = 0; i < count; ++i) {
        const float* z = logits + i * width;
        kernels().accumulate(z, width, &state[i]);
        const int64_t target = places.target(sequence, first + i) - begin;
        if (target >= 0 && target < width) loss -= z[target];
      }
    }
    for (const LogSumExp& s : state) loss += value(s);
    return loss;
  };
  for_predictions(batch, places.each(), kMostRows, losses, piece);
}

void head_backward(const Batch& batch, const HeadWeights& head, const float* x, const int32_t* tokens, double* losses,
                   float* dx) {
  const LanguageModelConfig& c = batch.config;
  const int64_t hidden = c.hidden, vocab = c.vocab, width = head_width(c);
  const Predictions places(batch, tokens);
  const float scale = 1.0f / static_cast<float>(places.each());
  const int64_t most = std::clamp<int64_t>(kBackwardFloats / vocab, 32, kMostRows);
  std::fill_n(dx, batch.rows() * hidden, 0.0f);
  const auto piece = [&](int64_t sequence, int64_t first, int64_t count, int32_t slot) {
    const auto cap = static_cast<float>(c.head.softcap);
    float* rows = batch.scratch(slot, count * (2 * hidden + width + hidden_floats(c) + (cap > 0 ? kTile : 0) + vocab));
    const Hidden h = place_hidden(c, count, rows + count * hidden);
    float* d_out = rows + count * (hidden + hidden_floats(c));
    float* d_normed = d_out + count * width;
    float* capped = d_normed + count * hidden;
    float* logits = capped + (cap > 0 ? count * kTile : 0);  // tile by tile, [count, words] each
    gather(batch, places, x, sequence, first, count, rows);
    hidden_of(batch, head, rows, count, h);
    const Batch::Input input = batch.input(h.out, count, width);
    std::vector<LogSumExp> state(count, kEmptyLogSumExp);
    double loss = 0;
    for (int64_t begin = 0; begin < vocab; begin += kTile) {
      const int64_t words = std::min(kTile, vocab - begin);
      float* tile = logits + count * begin;
      logits_of(batch, head, input, begin, words, tile);
      for (int64_t i = 0; i < count; ++i) {
        kernels().accumulate(tile + i * words, words, &state[i]);
        const int64_t target = places.target(sequence, first + i) - begin;
        if (target >= 0 && target < words) loss -= tile[i * words + target];
      }
    }
    for (const LogSumExp& s : state) loss += value(s);
    for (int64_t begin = 0; begin < vocab; begin += kTile) {
      const int64_t words = std::min(kTile, vocab - begin);
      float* tile = logits + count * begin;
      if (cap > 0) std::copy_n(tile, count * words, capped);
      for (int64_t i = 0; i < count; ++i) {
        float* z = tile + i * words;
        kernels().scaled_softmax(z, words, static_cast<float>(value(state[i])), scale);
        const int64_t target = places.target(sequence, first + i) - begin;
        if (target >= 0 && target < words) z[target] -= scale;
      }
      if (cap > 0) kernels().soft_cap_backward(capped, count * words, cap, tile);
      if (c.head.scale > 0) kernels().scale(static_cast<float>(c.head.scale), count * words, tile);
      batch.linear_backward(tile, head.weight, count, width, vocab, {begin, words}, begin > 0, d_out);
    }
    if (c.head.transform) {
      hidden_backward(batch, head, h, count, d_out, d_normed);
    } else {
      std::copy_n(d_out, count * hidden, d_normed);
    }
    norm_backward(c, head.norm, rows, d_normed, nullptr, count, hidden, d_normed);
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(d_normed + i * hidden, hidden, dx + places.row(sequence, first + i) * hidden);
    }
    return loss;
  };
  for_predictions(batch, places.each(), most, losses, piece);
}

void head_divergence(const HeadSide& first_side, const HeadSide& second_side, const int32_t* tokens,
                     const Divergence& out) {
  const HeadSide* sides[] = {&first_side, &second_side};
  const Batch& batch = first_side.batch;
  const int64_t vocab = batch.config.vocab;
  const Predictions places(batch, tokens);
  const int64_t predictions = places.each();
  const LanguageModelConfig* configs[] = {&batch.config, &second_side.batch.config};
  // Sums of losses of the second side, added in the order of the rows.
  std::vector<double> other(batch.sequences * predictions);
  const auto piece = [&](int64_t sequence, int64_t first, int64_t count, int32_t slot) {
    const int64_t at = sequence * predictions + first;
    int64_t floats = 2 * kTile;
    for (const LanguageModelConfig* c : configs) floats += c->hidden + hidden_floats(*c);
    float* logits[] = {batch.scratch(slot, count * floats), nullptr};
    logits[1] = logits[0] + count * kTile;
    float* next = logits[1] + count * kTile;
    Hidden h[2];
    for (int s = 0; s < 2; ++s) {
      float* rows = next;
      h[s] = place_hidden(*configs[s], count, rows + count * configs[s]->hidden);
      next += count * (configs[s]->hidden + hidden_floats(*configs[s]));
      gather(sides[s]->batch, places, sides[s]->x, sequence, first, count, rows);
      hidden_of(sides[s]->batch, sides[s]->head, rows, count, h[s]);
    }
    struct Row {
      RunningDivergence divergence{kEmptyLogSumExp, 0};
      LogSumExp second = kEmptyLogSumExp;
      double target[2] = {0, 0};
      Top top[2];
    };
    std::vector<Row> rows(count);
    for (int64_t begin = 0; begin < vocab; begin += kTile) {
      const int64_t width = std::min(kTile, vocab - begin);
      for (int s = 0; s < 2; ++s) {
        logits_of(sides[s]->batch, sides[s]->head, sides[s]->batch.input(h[s].out, count, head_width(*configs[s])),
                  begin, width, logits[s]);
      }
      for (int64_t i = 0; i < count; ++i) {
        Row& r = rows[i];
        const float *a = logits[0] + i * width, *b = logits[1] + i * width;
        kernels().accumulate_divergence(a, b, width, &r.divergence);
        kernels().accumulate(b, width, &r.second);
        r.top[0].add(a, begin, width);
        r.top[1].add(b, begin, width);
        const int64_t target = places.target(sequence, first + i) - begin;
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
  for_predictions(batch, predictions, kMostRows, out.losses, piece);
  for (int64_t s = 0; s < batch.sequences; ++s) {
    const double* begin = other.data() + s * predictions;
    out.other_losses[s] = std::accumulate(begin, begin + predictions, 0.0) / static_cast<double>(predictions);
  }
}

void head_logits(const Batch& batch, const HeadWeights& head, const float* x, float* out) {
  const LanguageModelConfig& c = batch.config;
  batch.for_rows([&](int64_t first, int64_t count, int32_t slot) {
    const Hidden h = place_hidden(c, count, batch.scratch(slot, count * hidden_floats(c)));
    hidden_of(batch, head, x + first * c.hidden, count, h);
    logits_of(batch, head, batch.input(h.out, count, head_width(c)), 0, c.vocab, out + first * c.vocab);
  });
}

}  // namespace lq::lm
