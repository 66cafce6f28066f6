#include "lm/sums.h"

#include <algorithm>
#include <map>
#include <utility>

#include "lm/kernels.h"

namespace lq::lm {

MatrixShape part_shape(const LanguageModelConfig& c, int32_t layer, WeightKind kind, int32_t expert) {
  const LayerTraits traits = traits_of(c, layer);
  const int64_t inner = expert == kNoExpert ? traits.width : traits.routed ? c.moe.intermediate : 0;
  const int64_t q = static_cast<int64_t>(c.heads) * c.head_dim, kv = static_cast<int64_t>(c.kv_heads) * c.head_dim;
  switch (kind) {
    case WeightKind::q:
      return {q, c.hidden};
    case WeightKind::k:
    case WeightKind::v:
      return {kv, c.hidden};
    case WeightKind::o:
      return {c.hidden, q};
    case WeightKind::gate:
      return c.mlp.plain || inner == 0 ? MatrixShape{0, 0} : MatrixShape{inner, c.hidden};
    case WeightKind::up:
      return inner == 0 ? MatrixShape{0, 0} : MatrixShape{inner, c.hidden};
    case WeightKind::down:
      return inner == 0 ? MatrixShape{0, 0} : MatrixShape{c.hidden, inner};
    default:
      return {0, 0};
  }
}

MatrixShape matrix_shape(const LanguageModelConfig& c, int32_t layer, WeightKind kind, int32_t expert) {
  if (stored_in(c, kind, expert) != kind) return {0, 0};
  if (kind == WeightKind::qkv && c.attention.fused != Fused::none) {
    return {part_shape(c, layer, WeightKind::q).rows + 2 * part_shape(c, layer, WeightKind::k).rows, c.hidden};
  }
  if (kind == WeightKind::gate_up && stored_in(c, WeightKind::up, expert) == kind) {
    return {2 * part_shape(c, layer, WeightKind::up, expert).rows, c.hidden};
  }
  return part_shape(c, layer, kind, expert);
}

int64_t input_size(const LanguageModelConfig& c, int32_t layer, BlockInput input, int32_t expert) {
  switch (input) {
    case BlockInput::output:
      return part_shape(c, layer, WeightKind::o).cols;
    case BlockInput::down:
      return part_shape(c, layer, WeightKind::down, expert).cols;
    default:
      return c.hidden;
  }
}

namespace {

template <typename Sums>
bool any(const Sums& sums) {
  return std::any_of(sums.begin(), sums.end(), [](const auto* sum) { return sum != nullptr; });
}

}  // namespace

bool LayerSums::any_gradient() const {
  return any(squares) || any(row_squares) ||
         std::any_of(experts.begin(), experts.end(), [](const ExpertSums& e) { return e.any_gradient(); });
}
bool LayerSums::any_moment() const {
  return any(moments) ||
         std::any_of(experts.begin(), experts.end(), [](const ExpertSums& e) { return e.any_moment(); });
}

LayerSums ask(const CalibrationSink& sink, const LanguageModelConfig& config, int32_t layer) {
  const auto gradient = [&](WeightKind kind, int32_t expert, float** squares, double** row_squares) {
    const MatrixShape shape = matrix_shape(config, layer, kind, expert);
    if (shape.rows == 0) return;
    if (sink.squares != nullptr) *squares = sink.squares(sink.user, layer, kind, expert, shape.rows, shape.cols);
    if (sink.row_squares != nullptr) *row_squares = sink.row_squares(sink.user, layer, kind, expert, shape.rows);
  };
  const auto moment = [&](BlockInput input, int32_t expert, float** out) {
    const int64_t n = input_size(config, layer, input, expert);
    if (n > 0 && sink.second_moment != nullptr) *out = sink.second_moment(sink.user, layer, input, expert, n);
  };
  LayerSums sums;
  for (size_t i = 0; i < kMatrices.size(); ++i) {
    gradient(kMatrices[i], kNoExpert, &sums.squares[i], &sums.row_squares[i]);
  }
  for (size_t i = 0; i < kInputs.size(); ++i) moment(kInputs[i], kNoExpert, &sums.moments[i]);
  if (!traits_of(config, layer).routed) return sums;
  sums.experts.resize(config.moe.experts);
  for (int32_t e = 0; e < config.moe.experts; ++e) {
    ExpertSums& expert = sums.experts[e];
    for (size_t i = 0; i < kExpertMatrices.size(); ++i) {
      gradient(kExpertMatrices[i], e, &expert.squares[i], &expert.row_squares[i]);
    }
    moment(BlockInput::mlp, e, &expert.moments[0]);
    moment(BlockInput::down, e, &expert.moments[1]);
  }
  return sums;
}

void add_gradient(const LayerSums& sums, const LanguageModelConfig& config, const MatrixShape& shape, WeightKind kind,
                  const float* dy, const float* x, std::vector<GradientFactors>* gradients) {
  const auto* const stored = std::find(kMatrices.begin(), kMatrices.end(), stored_in(config, kind));
  const auto i = static_cast<size_t>(stored - kMatrices.begin());
  if (sums.squares[i] == nullptr && sums.row_squares[i] == nullptr) return;
  gradients->push_back(
      {dy, x, shape.rows, shape.cols, rows_in(config, kind, shape.rows), sums.squares[i], sums.row_squares[i]});
}

// Gradients go sequence by sequence in tiles of a few rows, so that no whole gradient is ever held and each tile of the
// sums, which may be a file mapping, is visited once a few sequences.
void accumulate_squares(const Batch& batch, const std::vector<GradientFactors>& gradients) {
  // Columns: no multiple of a power of two that would lay rows over one another in a cache.
  constexpr int64_t kTileRows = 256, kTileColumns = 480, kSequences = 8;
  struct Tile {
    size_t gradient;
    int64_t first, rows;
  };
  std::vector<Tile> tiles;
  for (size_t i = 0; i < gradients.size(); ++i) {
    for (int64_t first = 0; first < gradients[i].out; first += kTileRows) {
      tiles.push_back({i, first, std::min(kTileRows, gradients[i].out - first)});
    }
  }
  // Rows of a sequence.
  const auto rows_of = [&](const GradientFactors& g, int64_t s) {
    return g.sequences != nullptr ? cpu::bf16::Span{g.sequences[s], g.sequences[s + 1] - g.sequences[s]}
                                  : cpu::bf16::Span{s * batch.context, batch.context};
  };
  for (int64_t from = 0; from < batch.sequences; from += kSequences) {
    const int64_t count = std::min(kSequences, batch.sequences - from);
    // Every tile of a gradient multiplies with the same x, and so do gradients of matrices that read the same.
    std::map<std::pair<const float*, int64_t>, Batch::Operand> inputs;
    for (const GradientFactors& g : gradients) {
      for (int64_t s = from; s < from + count; ++s) {
        const cpu::bf16::Span rows = rows_of(g, s);
        const float* x = g.x + rows.from * g.in;
        if (rows.count == 0 || inputs.contains({x, rows.count})) continue;
        inputs[{x, rows.count}] = batch.shared_operand(inputs.size(), {x, g.in, false}, rows.count, g.in);
      }
    }
    batch.for_each(static_cast<int64_t>(tiles.size()), [&](int64_t i, int32_t slot) {
      const Tile& tile = tiles[i];
      const GradientFactors& g = gradients[tile.gradient];
      float* gradient = batch.scratch(slot, tile.rows * kTileColumns);
      for (int64_t s = from; s < from + count; ++s) {
        const cpu::bf16::Span rows = rows_of(g, s);
        if (rows.count == 0) continue;
        const Batch::Operand& x = inputs.at({g.x + rows.from * g.in, rows.count});
        const Batch::Input dy =
            batch.input({g.dy + rows.from * g.out + tile.first, g.out, true}, tile.rows, rows.count);
        for (int64_t column = 0; column < g.in; column += kTileColumns) {
          const int64_t width = std::min(kTileColumns, g.in - column);
          batch.product(dy, x, {column, width}, gradient, width);
          for (int64_t r = 0; r < tile.rows; ++r) {
            const float* row = gradient + r * width;
            const int64_t to = g.runs.at(tile.first + r);
            if (g.squares != nullptr) kernels().add_square(row, width, g.squares + to * g.in + column);
            if (g.row_squares != nullptr) g.row_squares[to] += kernels().dot(row, row, width);
          }
        }
      }
    });
  }
}

// fp32 products over a batch's tokens, added in fp32: a thousand batches lose 2e-6 of the largest term.
void accumulate_moments(const Batch& batch, const std::vector<MomentFactors>& moments) {
  constexpr int64_t kTile = 384;
  struct Tile {
    const MomentFactors* moment;
    int64_t row, col;
  };
  std::vector<Tile> tiles;
  for (const MomentFactors& m : moments) {
    if (m.out == nullptr || m.rows == 0) continue;
    for (int64_t row = 0; row < m.n; row += kTile) {
      for (int64_t col = 0; col < (m.lower ? row + 1 : m.n); col += kTile) tiles.push_back({&m, row, col});
    }
  }
  batch.for_each(static_cast<int64_t>(tiles.size()), [&](int64_t i, int32_t) {
    const auto& [m, row, col] = tiles[i];
    batch.gemm(true, false, std::min(kTile, m->n - row), std::min(kTile, m->n - col), m->rows, 1.0f, m->a + row, m->n,
               m->b + col, m->n, 1.0f, m->out + row * m->n + col, m->n);
  });
}

void accumulate_input_moments(const Batch& batch, int32_t layer, const std::array<const float*, kInputs.size()>& inputs,
                              const LayerSums& sums) {
  std::vector<MomentFactors> moments;
  for (size_t i = 0; i < kInputs.size(); ++i) {
    moments.push_back(
        {inputs[i], inputs[i], input_size(batch.config, layer, kInputs[i]), true, sums.moments[i], batch.rows()});
  }
  accumulate_moments(batch, moments);
}

}  // namespace lq::lm
