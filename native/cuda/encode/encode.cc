#include "encode/encode.h"

#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "encode/fields.h"
#include "encode/linear.h"
#include "encode/rotation.h"
#include "encode/rows.h"
#include "encode/trellis_values.h"
#include "encode/viterbi.h"
#include "runtime/upload.h"

namespace lq::cuda {
namespace {

// Columns whose feedback from the columns before them is one product.
constexpr int64_t kWide = 128;

double sum_of(const DeviceBuffer<double>& values, const std::vector<double>& weights) {
  std::vector<double> host(weights.size());
  values.download(host.data(), static_cast<int64_t>(host.size()));
  double sum = 0;
  for (size_t i = 0; i < host.size(); ++i) sum += weights[i] * host[i];
  return sum;
}

void check_statistic(const char* what, const float* x, int64_t count, bool negative) {
  if (x == nullptr) fail(StatusCode::invalid_argument, "the metric has no %s", what);
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(x[i])) {
      fail(StatusCode::invalid_argument, "element %lld of the %s is not a finite number", static_cast<long long>(i),
           what);
    }
    if (!negative && x[i] < 0) {
      fail(StatusCode::invalid_argument, "element %lld of the %s is negative", static_cast<long long>(i), what);
    }
  }
}

// The target and the metric in the coordinates of one transform.
struct Space {
  DeviceBuffer<float> y, h, yh, by_tile;
  double trace = 0, variance = 0;
  bool has_h = false;
};

class Problem {
 public:
  Problem(const Stream& stream, const EncodeProblem& problem, const Watch& watch)
      : stream(stream),
        problem(problem),
        watch(watch),
        rows(problem.weight.rows),
        cols(problem.weight.cols),
        weights(static_cast<size_t>(rows), 1.0) {
    weight_ = upload_float(stream, problem.weight, rows, cols);
    if (problem.metric.kind == MetricKind::kfac) read_metric();
    if (problem.cross != nullptr && metric_scale > 0) correct();
    const float largest = largest_magnitude(stream, weight_.get(), rows * cols);
    if (!(largest < 1e36f)) fail(StatusCode::unsupported, "weights of 1e36 and above in magnitude cannot be encoded");
    if (largest > 0 && (largest < 0x1p-10f || largest >= 0x1p13f)) {
      multiplier = std::ldexp(1.0f, std::max(-120, std::ilogb(largest)));
      scale_by(stream, weight_.get(), rows * cols, 1 / multiplier);
    }
    unit = static_cast<double>(multiplier) * static_cast<double>(multiplier);
  }

  // Must be called before options of the transform are run.
  void prepare(Transform transform, bool feedback) {
    Space& space = spaces_[static_cast<size_t>(transform)];
    space.y = DeviceBuffer<float>(stream, rows * cols);
    check(cudaMemcpyAsync(space.y.get(), weight_.get(), static_cast<size_t>(weight_.bytes()), cudaMemcpyDeviceToDevice,
                          stream.get()),
          "copying on the device");
    std::unique_ptr<DeviceRotation> rotation;
    if (transform == Transform::hadamard) {
      rotation = std::make_unique<DeviceRotation>(stream, cols, problem.seed);
      rotation->forward(stream, space.y.get(), rows);
    }
    if (problem.metric.kind != MetricKind::kfac) return;
    space.has_h = true;
    watch.poll();
    const DeviceBuffer<double> h = moment();
    if (rotation != nullptr) rotation->both_sides(stream, h.get());
    space.h = DeviceBuffer<float>(stream, cols * cols);
    round_to_float(stream, h.get(), cols * cols, space.h.get());
    if (feedback) {
      const DeviceBuffer<double> r = upper_factor(stream, h.get(), cols);
      space.by_tile = tile_feedback(stream, r.get(), cols);
      space.trace = tile_trace(stream, r.get(), cols);
      space.variance = feedback_variance(stream, space.by_tile.get(), cols);
    }
    space.yh = DeviceBuffer<float>(stream, rows * cols);
    encode_product(stream, rows, cols, cols, space.y.get(), cols, space.h.get(), cols, false, space.yh.get(), cols);
  }

  const Space& space(Transform transform) const { return spaces_[static_cast<size_t>(transform)]; }

  EncodeCost norm() const {
    const Space& s = spaces_[0].y.get() != nullptr ? spaces_[0] : spaces_[1];
    DeviceBuffer<double> dots(stream, rows);
    row_dots(stream, s.y.get(), s.y.get(), rows, cols, dots.get());
    EncodeCost out{0, unit * sum_of(dots, std::vector<double>(weights.size(), 1.0)), true};
    if (s.has_h) row_dots(stream, s.y.get(), s.yh.get(), rows, cols, dots.get());
    out.cost = unit * metric_scale * sum_of(dots, weights);
    return out;
  }

  const Stream& stream;
  const EncodeProblem& problem;
  const Watch& watch;
  const int64_t rows, cols;
  std::vector<double> weights;  // g
  double metric_scale = 1, unit = 1;
  float multiplier = 1;

 private:
  // Row weights, and the scale of H.
  void read_metric() {
    const Metric& metric = problem.metric;
    check_statistic("row weights", metric.row_weight, rows, false);
    check_statistic("second moment", metric.second_moment, cols * cols, true);
    if (!(metric.damping >= 0) || !std::isfinite(metric.damping)) {
      fail(StatusCode::invalid_argument, "the damping is negative or not a finite number");
    }
    std::copy_n(metric.row_weight, rows, weights.begin());
    double sum = 0;
    for (int64_t j = 0; j < cols; ++j) {
      const double x = static_cast<double>(metric.second_moment[j * cols + j]);
      if (x < 0) fail(StatusCode::invalid_argument, "the second moment has a negative diagonal");
      sum += x;
    }
    mean_ = sum / static_cast<double>(cols);
    metric_scale = mean_ * (1 + metric.damping);
  }

  // H with mean diagonal 1.
  DeviceBuffer<double> moment() const {
    DeviceBuffer<double> h(stream, cols * cols);
    const DeviceBuffer<float> a = upload_padded(stream, problem.metric.second_moment, cols, cols, cols, cols);
    const bool known = mean_ > 0;
    const double damping = problem.metric.damping;
    damped_moment(stream, a.get(), cols, known ? metric_scale : 1, known ? damping / (1 + damping) : 1, h.get());
    return h;
  }

  // The target becomes W + alpha W C H^-1.
  void correct() {
    check_statistic("cross moment", problem.cross, cols * cols, true);
    watch.poll();
    DeviceBuffer<double> x(stream, rows * cols);
    {
      const DeviceBuffer<float> c = upload_padded(stream, problem.cross, cols, cols, cols, cols);
      product_in_double(stream, rows, cols, cols, weight_.get(), c.get(), x.get());
    }
    DeviceBuffer<double> r;
    {
      const DeviceBuffer<double> h = moment();
      r = exact_upper_factor(stream, h.get(), cols);
    }
    if (r.get() == nullptr) {
      fail(StatusCode::invalid_argument,
           "the second moment is not positive definite; the correction needs more damping");
    }
    solve_symmetric(stream, r.get(), cols, rows, x.get());
    add_in_double(stream, x.get(), rows * cols, problem.alpha / metric_scale, weight_.get());
  }

  DeviceBuffer<float> weight_;
  double mean_ = 0;
  Space spaces_[2];
};

// Codes of one option; `out` may have no parts.
EncodeCost run(const Problem& p, const EncodeOption& option, const EncodedView* out) {
  const Space& space = p.space(option.transform);
  const Stream& stream = p.stream;
  const int64_t rows = p.rows, cols = p.cols;
  const DeviceCode code(stream, option);
  DeviceBuffer<float> scales(stream, rows), values(stream, rows * cols), error(stream, rows * cols),
      wide(stream, rows * kWide);
  DeviceBuffer<uint32_t> starts(stream, tiles_along(rows) * tiles_along(cols));
  DeviceBuffer<uint8_t> codes(stream, out != nullptr ? part_bytes(option, rows, cols, EncodedPart::codes) : 0);
  row_scales(stream, space.y.get(), rows, cols, cpu::scale_margin(option), scales.get());
  const TileMatrix matrix{rows,         cols,        space.y.get(), scales.get(),
                          values.get(), error.get(), codes.get(),   starts.get()};
  const float* n = option.rounding == Rounding::nearest ? nullptr : space.by_tile.get();
  for (int64_t at = 0; at < cols; at += kWide) {
    p.watch.poll();
    const int64_t width = std::min(kWide, cols - at);
    check(cudaMemcpy2DAsync(wide.get(), kWide * sizeof(float), space.y.get() + at,
                            static_cast<size_t>(cols) * sizeof(float), static_cast<size_t>(width) * sizeof(float),
                            static_cast<size_t>(rows), cudaMemcpyDeviceToDevice, stream.get()),
          "copying on the device");
    if (n != nullptr && at > 0) {
      encode_product(stream, rows, width, at, error.get(), cols, n + at, cols, true, wide.get(), kWide);
    }
    for (int64_t o = 0; o < width; o += kTileSide) encode_tiles(stream, code, matrix, wide.get(), kWide, at, o, n);
  }
  DeviceBuffer<float> vh(stream, space.has_h ? rows * cols : 0);
  if (space.has_h) {
    encode_product(stream, rows, cols, cols, values.get(), cols, space.h.get(), cols, false, vh.get(), cols);
  }
  DeviceBuffer<double> costs(stream, rows), squares(stream, rows);
  refit_scales(stream, space.y.get(), space.yh.get(), values.get(), vh.get(), rows, cols, scales.get(), costs.get(),
               squares.get());
  const EncodeCost cost{p.unit * p.metric_scale * sum_of(costs, p.weights),
                        p.unit * sum_of(squares, std::vector<double>(p.weights.size(), 1.0)), true};
  if (out == nullptr) return cost;
  const auto part = [&](EncodedPart which) { return out->parts[static_cast<size_t>(which)]; };
  codes.download(part(EncodedPart::codes), codes.size());
  std::vector<float> host(static_cast<size_t>(rows));
  scales.download(host.data(), rows);
  for (int64_t i = 0; i < rows; ++i) {
    const uint16_t bits = __half_as_ushort(__float2half_rn(host[static_cast<size_t>(i)]));
    std::memcpy(part(EncodedPart::row_scales) + 2 * i, &bits, 2);
  }
  std::memcpy(part(EncodedPart::multiplier), &p.multiplier, 4);
  std::vector<uint32_t> fields(static_cast<size_t>(starts.size()));
  starts.download(fields.data(), starts.size());
  uint8_t* stored = part(EncodedPart::starts);
  std::fill_n(stored, part_bytes(option, rows, cols, EncodedPart::starts), uint8_t{0});
  for (size_t i = 0; i < fields.size(); ++i) {
    cpu::store_field(stored, static_cast<int64_t>(i), static_cast<int32_t>(start_bits(option)), fields[i]);
  }
  return cost;
}

// Mean squared error of a code for a unit Gaussian.
double gaussian_error(const Stream& stream, const EncodeOption& option) {
  static std::mutex mutex;
  static std::map<std::tuple<int32_t, int32_t, int32_t>, double> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto [at, added] = known.try_emplace({option.bits, option.step, option.states}, 0.0);
  if (!added) return at->second;
  const std::vector<float> sample = cpu::gaussian_sample();
  const int64_t rows = static_cast<int64_t>(sample.size()) / kTileSide;
  const DeviceCode code(stream, option);
  DeviceBuffer<float> y(stream, rows * kTileSide), scales(stream, rows), values(stream, y.size()),
      error(stream, y.size());
  DeviceBuffer<uint32_t> starts(stream, tiles_along(rows));
  const std::vector<float> ones(static_cast<size_t>(rows), 1.0f);
  y.upload(sample.data(), y.size());
  scales.upload(ones.data(), rows);
  encode_tiles(stream, code, {rows, kTileSide, y.get(), scales.get(), values.get(), error.get(), nullptr, starts.get()},
               y.get(), kTileSide, 0, 0, nullptr);
  std::vector<float> e(sample.size());
  error.download(e.data(), y.size());
  double squares = 0, errors = 0;
  for (size_t i = 0; i < e.size(); ++i) {
    squares += static_cast<double>(sample[i]) * static_cast<double>(sample[i]);
    errors += static_cast<double>(e[i]) * static_cast<double>(e[i]);
  }
  return at->second = errors / squares;
}

EncodeCost predict_cost(const Problem& p, const EncodeOption& option, double weighted_squares) {
  const Space& space = p.space(option.transform);
  const bool feeds = option.rounding != Rounding::nearest && space.has_h;
  const double error = gaussian_error(p.stream, option);
  const double trace = feeds ? space.trace : static_cast<double>(p.cols);
  const double raised = feeds ? 1 + error * space.variance : 1;
  return {p.unit * p.metric_scale * error * raised * weighted_squares * trace / static_cast<double>(p.cols), 0, false};
}

// Device memory of a call: the matrix eight times over, the second moment in both precisions and its factors. A
// correction is done with before the rest begins: the matrix in both precisions, and three squares in fp64.
int64_t need(const EncodeProblem& problem) {
  const int64_t n = problem.weight.rows * problem.weight.cols, square = problem.weight.cols * problem.weight.cols;
  return 8 * 4 * n + (problem.metric.kind == MetricKind::kfac ? 40 * square : 0) + (64 << 20);
}

}  // namespace

bool encodes(const EncodeProblem& problem, const EncodeOption& o) {
  return o.grid == GridKind::trellis && o.scales == ScaleKind::row && o.rank == 0 && !o.tail_biting &&
         o.rounding != Rounding::descent && (o.step == 1 || o.step == 2) && o.bits >= o.step && o.bits <= 6 * o.step &&
         o.states >= 10 && o.states <= 12 && o.states - (o.bits + o.step - 1) / o.step >= 6 &&
         (problem.cross == nullptr || problem.metric.kind == MetricKind::kfac) &&
         problem.metric.kind != MetricKind::fisher;
}

void encode_costs(const Stream& stream, MemoryBudget& budget, const EncodeProblem& problem, const EncodeOption* options,
                  int64_t count, bool predict, EncodeCost* out, EncodeCost* norm, const Watch& watch) {
  check_matrix(problem.weight);
  for (int64_t i = 0; i < count; ++i) {
    if (!encodes(problem, options[i])) fail(StatusCode::unsupported, "this device does not encode this option");
  }
  const int64_t bytes = need(problem);
  const MemoryBudget::Share memory = budget.take(bytes, bytes, watch);
  Problem p(stream, problem, watch);
  for (const Transform transform : {Transform::none, Transform::hadamard}) {
    bool wanted = false, feedback = false;
    for (int64_t i = 0; i < count; ++i) {
      if (options[i].transform != transform) continue;
      wanted = true;
      feedback |= options[i].rounding != Rounding::nearest;
    }
    if (wanted) p.prepare(transform, feedback);
  }
  if (count == 0) p.prepare(Transform::none, false);
  *norm = p.norm();
  double squares = 0;
  if (predict && count > 0) {
    DeviceBuffer<double> dots(stream, p.rows);
    const Space& space = p.space(options[0].transform);
    row_dots(stream, space.y.get(), space.y.get(), p.rows, p.cols, dots.get());
    squares = sum_of(dots, p.weights);
  }
  for (int64_t i = 0; i < count; ++i) {
    out[i] = predict ? predict_cost(p, options[i], squares) : run(p, options[i], nullptr);
    watch.progress(static_cast<double>(i + 1), static_cast<double>(count));
  }
}

void encode(const Stream& stream, MemoryBudget& budget, const EncodeProblem& problem, EncodedView* out,
            EncodeCost* cost, const Watch& watch) {
  check_matrix(problem.weight);
  if (!encodes(problem, out->option)) fail(StatusCode::unsupported, "this device does not encode this option");
  if (problem.weight.rows != out->rows || problem.weight.cols != out->cols) {
    fail(StatusCode::invalid_argument, "the encoded matrix has another shape than the weight");
  }
  out->seed = problem.seed;
  const int64_t bytes = need(problem);
  const MemoryBudget::Share memory = budget.take(bytes, bytes, watch);
  Problem p(stream, problem, watch);
  p.prepare(out->option.transform, out->option.rounding != Rounding::nearest);
  *cost = run(p, out->option, out);
}

}  // namespace lq::cuda
