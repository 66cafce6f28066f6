// What calibration sums over a batch: squared weight gradients by sequence, and second moments of inputs.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "lm/batch.h"
#include "lm/experts.h"
#include "lm/fused.h"

namespace lq::lm {

// The matrices a block computes with, and those it may be stored as: a gradient can be asked for of the stored ones.
constexpr std::array<WeightKind, 7> kParts{WeightKind::q,    WeightKind::k,  WeightKind::v,   WeightKind::o,
                                           WeightKind::gate, WeightKind::up, WeightKind::down};
constexpr std::array<WeightKind, 9> kMatrices{WeightKind::q,    WeightKind::k,    WeightKind::v,
                                              WeightKind::o,    WeightKind::gate, WeightKind::up,
                                              WeightKind::down, WeightKind::qkv,  WeightKind::gate_up};
constexpr std::array<BlockInput, 4> kInputs{BlockInput::attention, BlockInput::output, BlockInput::mlp,
                                            BlockInput::down};

struct MatrixShape {
  int64_t rows, cols;
};
// Of a part of a layer, or of an expert of it, whether it is stored by itself or not; no rows where there is none.
MatrixShape part_shape(const LanguageModelConfig& config, int32_t layer, WeightKind kind, int32_t expert = kNoExpert);
// Of a stored matrix; no rows where there is none.
MatrixShape matrix_shape(const LanguageModelConfig& config, int32_t layer, WeightKind kind, int32_t expert = kNoExpert);
// Width of an input.
int64_t input_size(const LanguageModelConfig& config, int32_t layer, BlockInput input, int32_t expert = kNoExpert);

// Where a block's sums go, in the orders above; null skips one.
struct LayerSums {
  std::array<float*, kMatrices.size()> squares{};
  std::array<double*, kMatrices.size()> row_squares{};
  std::array<float*, kInputs.size()> moments{};
  std::vector<ExpertSums> experts;  // of a routed layer

  bool any_gradient() const;
  bool any_moment() const;
};

// Asks the sink for everything it wants of a layer.
LayerSums ask(const CalibrationSink& sink, const LanguageModelConfig& config, int32_t layer);

// A weight gradient is dy^T x: its factors [rows, out] and [rows, in], the rows of the stored matrix that it is of, and
// where its square goes; either may be null.
struct GradientFactors {
  const float *dy, *x;
  int64_t out, in;
  RowRuns runs;
  float* squares;
  double* row_squares;
  const int64_t* sequences = nullptr;  // [sequences + 1], rows where each begins; null: context rows each
};
// Appends the factors of a part, dy and its input x, when the gradient of what it is stored in is wanted.
void add_gradient(const LayerSums& sums, const LanguageModelConfig& config, const MatrixShape& shape, WeightKind kind,
                  const float* dy, const float* x, std::vector<GradientFactors>* gradients);
void accumulate_squares(const Batch& batch, const std::vector<GradientFactors>& gradients);

// Adds a^T b of a and b [rows, n] to out [n, n]; `lower`: only at or below the diagonal.
struct MomentFactors {
  const float *a, *b;
  int64_t n;
  bool lower;
  float* out;
  int64_t rows;
};
void accumulate_moments(const Batch& batch, const std::vector<MomentFactors>& moments);
// Adds the second moments of a layer's inputs that are wanted, but those of experts.
void accumulate_input_moments(const Batch& batch, int32_t layer, const std::array<const float*, kInputs.size()>& inputs,
                              const LayerSums& sums);

}  // namespace lq::lm
