// What all options of one matrix share: its target, and, for each transform, the target in its coordinates and the
// factors of the metric there.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "encode/rotation.h"
#include "lq/encode.h"

namespace lq::cpu {

// Rows that are encoded together. Fixed, so that results depend neither on threads nor on what else is asked for.
constexpr int64_t kPanelRows = 64;

// Coordinates of one transform. The metric's H is held as scale * h with mean diagonal 1.
struct EncodeSpace {
  std::unique_ptr<const Rotation> rotation;  // null: the coordinates of the weight, but for column_scale
  std::vector<float> column_scale;  // [cols], as fp16 has them: columns are multiplied with them; empty: they are not
  std::vector<float> input_scales;  // two-sided: [cols], as stored
  double row_unit = 1;              // two-sided: what a row's scale is multiplied with before it is stored
  std::vector<float> target;        // [rows, cols]
  std::vector<float> h;             // [cols, cols]; empty where errors of different columns do not meet
  std::vector<float> target_h;      // target h; empty without h
  // H = N D N' with D block diagonal and N upper, the identity in D's blocks: rounding a block of columns, its target
  // is w + sum over the columns k before it of (w_k - q_k) N_k. Only what is above the blocks is filled.
  std::vector<float> by_tile, by_column;  // N for blocks of kTileSide columns, and of one
  std::vector<float> column_weight;       // D for blocks of one column, where an option asks for by_column or for it
  double tile_trace = 0;                  // trace of D for the blocks of kTileSide columns
  double feedback_variance = 0;           // of their targets, over the variance of the code's errors
  std::vector<float> factor;              // the upper R with h = R R', where an option has low rank
};

class EncodeMatrix {
 public:
  // The problem outlives it.
  EncodeMatrix(const EncodeProblem& problem, const Control& control) : problem(problem), control(control) {}

  // Everything that encoding the options needs, or, with `predict`, predicting those that can be. Calls must not
  // overlap. Refuses what check_problem does.
  Status prepare(const EncodeOption* options, int64_t count, bool predict = false);

  const EncodeSpace& space(Transform transform) const { return *spaces_[static_cast<size_t>(transform)]; }
  int64_t panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  bool stopped() const { return is_stopped_ || (is_stopped_ = polled()); }
  // Adds the cost and the squared error of errors e [count, cols], rows from `row` on, in the space's coordinates; eh
  // is e h where the space has one. e may be overwritten.
  void add_cost(const EncodeSpace& space, int64_t row, int64_t count, float* e, const float* eh,
                EncodeCost* cost) const;
  // What the whole target costs.
  EncodeCost norm() const;

  const EncodeProblem& problem;
  const Control& control;
  int64_t rows = 0, cols = 0;
  std::vector<float> target;        // [rows, cols], divided by the multiplier as everything of the spaces
  std::vector<double> row_weights;  // g, 1 without a kfac metric
  double metric_scale = 1;          // of h
  float multiplier = 1;             // a power of two, 1 for weights of usual size: lq/encode.h

 private:
  bool polled() const;
  Status load_target();
  // The metric's H divided by its mean diagonal, which becomes metric_scale; for a Fisher weight, of its column means.
  std::vector<double> second_moment();
  // What of a space options need beside the target and h.
  struct Needs {
    bool by_tile, by_column, column_weight, factor;
  };
  Status make_space(Transform transform, const Needs& needs);

  // What the columns of a scaled space are multiplied with, for H = h.
  std::vector<float> input_scales(const std::vector<double>& h) const;
  // The inputs' side of a two-sided space, with the scales that are stored.
  std::unique_ptr<const Rotation> two_sided(EncodeSpace& space) const;

  std::unique_ptr<EncodeSpace> spaces_[kTransformCount];
  mutable std::atomic<bool> is_stopped_ = false;
};

}  // namespace lq::cpu
