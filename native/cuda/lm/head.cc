#include "lm/head.h"

#include <algorithm>

#include "lm/activation.h"
#include "lm/norm.h"

namespace lq::cuda {
namespace {

constexpr int64_t kPiece = 4096;  // words a product: enough to fill the device, 16 KB of logits a row

int64_t piece_of(const Shape& z) { return std::min(kPiece, z.vocab); }

Norm final_norm(const BatchContext& b, const TableWeights& head) { return norm_of(b.shape, head.norm, head.norm_bias); }
Norm dense_norm(const BatchContext& b, const TableWeights& head) {
  return norm_of(b.shape, head.dense_norm, head.dense_norm_bias);
}
// What logits are products of, in state.normed.
void normalize(const BatchContext& b, const TableWeights& head, const float* x, const HeadState& state) {
  const HeadParts& parts = b.shape.config.head;
  if (!parts.transform) return normalize(b.stream, final_norm(b, head), x, b.rows(), state.normed);
  const int64_t hidden = b.shape.hidden;
  normalize(b.stream, final_norm(b, head), x, b.rows(), state.before);
  multiply(b, state.before.operand(hidden), b.rows(), head.dense, hidden, {state.dense, hidden, false, false});
  apply(b.stream, parts.activation, state.dense, head.dense_bias.get(), b.rows(), hidden, state.activated);
  normalize(b.stream, dense_norm(b, head), state.activated, b.rows(), state.normed);
}
LogitForm form_of(const BatchContext& b, const TableWeights& head, int64_t begin) {
  const HeadParts& parts = b.shape.config.head;
  return {head.bias.get() == nullptr ? nullptr : head.bias.get() + begin,
          parts.scale > 0 ? static_cast<float>(parts.scale) : 1.0f, static_cast<float>(parts.softcap)};
}

// Calls work(begin, words, width): words of the vocabulary, and the width of their logits with padding, a multiple
// of 8.
template <typename Work>
void for_pieces(const Shape& z, Work&& work) {
  for (int64_t begin = 0; begin < z.vocab; begin += piece_of(z)) {
    const int64_t width = std::min(piece_of(z), z.vocab - begin);
    work(begin, std::min(width, z.config.vocab - begin), width);
  }
}

void logits_of(const BatchContext& b, const TableWeights& head, const HeadState& state, int64_t begin, int64_t width) {
  const int64_t hidden = b.shape.hidden;
  b.products.times_transposed(state.normed.operand(hidden), head.table.from_row(begin), b.rows(), width, hidden,
                              {state.logits, width, false, false});
  finish_logits(b.stream, form_of(b, head, begin), state.logits, b.rows(), width);
}

}  // namespace

HeadState place_head(const BatchContext& b, bool backward, Arena* arena) {
  const int64_t rows = b.rows(), piece = piece_of(b.shape);
  HeadState s{};
  s.normed = arena->planes(rows * b.shape.hidden, b.planes);
  s.logits = arena->floats(rows * piece);
  s.entropy = {arena->floats(rows), arena->floats(rows), arena->floats(rows)};
  if (b.shape.config.head.transform) {
    s.dense = arena->floats(rows * b.shape.hidden);
    s.activated = arena->floats(rows * b.shape.hidden);
    s.before = arena->planes(rows * b.shape.hidden, b.planes);
  }
  if (backward) {
    s.d_logits = arena->planes(rows * piece, b.planes);
    s.d_normed = arena->floats(rows * b.shape.hidden);
  }
  return s;
}

void head_losses(const BatchContext& b, const TableWeights& head, const float* x, const int32_t* targets,
                 const HeadState& state) {
  normalize(b, head, x, state);
  for_pieces(b.shape, [&](int64_t begin, int64_t words, int64_t width) {
    logits_of(b, head, state, begin, width);
    add_logits(b.stream, state.logits, width, targets, b.rows(), begin, words, state.entropy);
  });
}

void head_backward(const BatchContext& b, const TableWeights& head, const float* x, const int32_t* targets,
                   int64_t predictions, const HeadState& state, float* dx, const Planes& dx_planes) {
  const int64_t hidden = b.shape.hidden;
  const float scale = 1.0f / static_cast<float>(predictions);
  for_pieces(b.shape, [&](int64_t begin, int64_t words, int64_t width) {
    logits_of(b, head, state, begin, width);
    cross_entropy_backward(b.stream, state.logits, width, targets, b.rows(), begin, words, scale,
                           form_of(b, head, begin), state.entropy, state.d_logits);
    b.products.times(state.d_logits.operand(width), head.table.from_row(begin), b.rows(), hidden, width,
                     {state.d_normed, hidden, false, begin > 0});
  });
  if (b.shape.config.head.transform) {
    // Through the norm and the activation; the planes that feed the product are those that came out of it.
    normalize_backward(b.stream, dense_norm(b, head), state.activated, b.rows(),
                       {state.d_normed, false, 1.0f, nullptr, state.d_normed}, state.normed);
    apply_backward(b.stream, b.shape.config.head.activation, state.dense, head.dense_bias.get(), b.rows(), hidden,
                   state.d_normed, state.normed);
    b.products.times(state.normed.operand(hidden), head.dense.operand(), b.rows(), hidden, hidden,
                     {state.d_normed, hidden, false, false});
  }
  normalize_backward(b.stream, final_norm(b, head), x, b.rows(), {state.d_normed, false, 1.0f, nullptr, dx}, dx_planes);
}

RunningDivergence place_divergence(const BatchContext& b, Arena* arena) {
  const auto floats = [&] { return arena->floats(b.rows()); };
  const auto words = [&] {
    return static_cast<int32_t*>(arena->bytes(b.rows() * static_cast<int64_t>(sizeof(int32_t))));
  };
  const CrossEntropy first{floats(), floats(), floats()}, second{floats(), floats(), floats()};
  float* weighted = floats();
  int32_t* first_word = words();
  return {first, second, weighted, first_word, words()};
}

void head_divergence(const HeadSide& first, const HeadSide& second, const int32_t* targets,
                     const RunningDivergence& out) {
  for (const HeadSide* side : {&first, &second}) normalize(side->batch, side->head, side->x, side->state);
  for_pieces(first.batch.shape, [&](int64_t begin, int64_t words, int64_t width) {
    for (const HeadSide* side : {&first, &second}) logits_of(side->batch, side->head, side->state, begin, width);
    second.batch.stream.synchronize();
    add_divergence(first.batch.stream, first.state.logits, second.state.logits, width, targets, first.batch.rows(),
                   begin, words, out);
    // The next piece overwrites the second side's logits.
    first.batch.stream.synchronize();
  });
}

void head_logits(const BatchContext& b, const TableWeights& head, const float* x, const HeadState& state, float* out) {
  const auto vocab = static_cast<size_t>(b.shape.config.vocab);
  normalize(b, head, x, state);
  for_pieces(b.shape, [&](int64_t begin, int64_t words, int64_t width) {
    logits_of(b, head, state, begin, width);
    check(cudaMemcpy2DAsync(out + begin, vocab * sizeof(float), state.logits,
                            static_cast<size_t>(width) * sizeof(float), static_cast<size_t>(words) * sizeof(float),
                            static_cast<size_t>(b.rows()), cudaMemcpyDeviceToHost, b.stream.get()),
          "copying logits from the device");
  });
  b.stream.synchronize();
}

}  // namespace lq::cuda
