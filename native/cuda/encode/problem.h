// A matrix that is being encoded: its target and its metric, in the coordinates of each transform that an option wants.
#pragma once

#include <memory>
#include <vector>

#include "encode/rotation.h"
#include "lq/encode.h"
#include "runtime/memory.h"

namespace lq::cuda {

// Columns whose feedback from the columns before them is one product.
constexpr int64_t kWide = 128;

// What an option wants prepared.
struct Wanted {
  bool space = false;      // of its transform
  bool by_tile = false;    // feedback by tiles of 16 columns, of trellis codes
  bool by_column = false;  // of scalar grids
  bool factor = false;     // of low-rank parts
};

// What is encoded: the target of a space, or what its low-rank part leaves; both [rows, cols]. yh is y h, null where
// the space has no h.
struct EncodeTarget {
  const float *y, *yh;
};

// The target and the metric in the coordinates of one transform. H is held as metric_scale * h with mean diagonal 1,
// and h = N D N' with N upper: what is above its diagonal blocks of 16 columns or of one.
struct Space {
  EncodeTarget target() const { return {y.get(), yh.get()}; }

  std::unique_ptr<DeviceRotation> rotation;  // null: the weight's coordinates, but for column_scale
  std::vector<float> column_scale;           // [cols], as fp16 has them: columns are multiplied with them; or empty
  DeviceBuffer<float> device_column_scale;
  DeviceBuffer<float> y, h, yh, by_tile, by_column;
  DeviceBuffer<float> column_weight;  // [cols], D by columns, where by_column is
  DeviceBuffer<double> factor;        // the upper R with h = R R', where a low-rank part needs it
  double trace = 0, variance = 0;     // of D by tiles, and what feedback by tiles adds to the variance of targets
  bool has_h = false;
};

class Problem {
 public:
  // Refuses statistics that are none. The target is the corrected one where there is a correction.
  Problem(const Stream& stream, const EncodeProblem& problem, const Watch& watch);
  Problem(const Problem&) = delete;

  // Must be called before options of the transform are run.
  void prepare(Transform transform, const Wanted& wanted);
  const Space& space(Transform transform) const { return spaces_[static_cast<size_t>(transform)]; }
  // What the whole target costs.
  EncodeCost norm() const;
  // What errors e [rows, cols] in the coordinates of the space cost; eh is e h where the space has one.
  EncodeCost measure(const Space& space, const float* e, const float* eh) const;
  // The same with eh computed from e.
  EncodeCost measure(const Space& space, const float* e) const;
  // From a row's cost under h and squared error each, of the plain and the kfac metric.
  EncodeCost cost_of(const DeviceBuffer<double>& costs, const DeviceBuffer<double>& squares) const;
  double weighted_sum(const DeviceBuffer<double>& rows) const;
  // Columns [at, at + width) of y to wide [rows, ld], plus what errors of the columns before give.
  void bring_columns(const float* y, int64_t at, int64_t width, const float* error, const float* feedback, float* wide,
                     int64_t ld) const;
  // F of the Fisher metric on the device, null for the others.
  const float* fisher() const { return fisher_.get(); }

  const Stream& stream;
  const EncodeProblem& problem;
  const Watch& watch;
  const int64_t rows, cols;
  std::vector<double> weights;  // g
  double metric_scale = 1, unit = 1;
  float multiplier = 1;

 private:
  void read_metric();
  void read_fisher();
  DeviceBuffer<double> moment() const;
  void scale_columns(Space* space, double* h) const;
  void correct();

  DeviceBuffer<float> weight_, fisher_;
  std::vector<double> column_means_;  // of F
  double mean_ = 0;
  Space spaces_[kTransformCount];
};

}  // namespace lq::cuda
