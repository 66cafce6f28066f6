#include "encode/problem.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "encode/input_scales.h"
#include "encode/linear.h"
#include "encode/rows.h"
#include "runtime/upload.h"

namespace lq::cuda {
namespace {

std::vector<double> to_host(const DeviceBuffer<double>& values) {
  std::vector<double> host(static_cast<size_t>(values.size()));
  values.download(host.data(), values.size());
  return host;
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

}  // namespace

Problem::Problem(const Stream& stream, const EncodeProblem& problem, const Watch& watch)
    : stream(stream),
      problem(problem),
      watch(watch),
      rows(problem.weight.rows),
      cols(problem.weight.cols),
      weights(static_cast<size_t>(rows), 1.0) {
  weight_ = upload_float(stream, problem.weight, rows, cols);
  if (problem.metric.kind == MetricKind::kfac) read_metric();
  if (problem.metric.kind == MetricKind::fisher) read_fisher();
  if (problem.cross != nullptr && metric_scale > 0) correct();
  const float largest = largest_magnitude(stream, weight_.get(), rows * cols);
  if (!(largest < 1e36f)) fail(StatusCode::unsupported, "weights of 1e36 and above in magnitude cannot be encoded");
  if (largest > 0 && (largest < 0x1p-10f || largest >= 0x1p13f)) {
    multiplier = std::ldexp(1.0f, std::max(-120, std::ilogb(largest)));
    scale_by(stream, weight_.get(), rows * cols, 1 / multiplier);
  }
  unit = static_cast<double>(multiplier) * static_cast<double>(multiplier);
}

void Problem::prepare(Transform transform, const Wanted& wanted) {
  Space& space = spaces_[static_cast<size_t>(transform)];
  space.y = DeviceBuffer<float>(stream, rows * cols);
  check(cudaMemcpyAsync(space.y.get(), weight_.get(), static_cast<size_t>(weight_.bytes()), cudaMemcpyDeviceToDevice,
                        stream.get()),
        "copying on the device");
  if (transform == Transform::hadamard) {
    space.rotation = std::make_unique<DeviceRotation>(stream, cols, problem.seed);
    space.rotation->forward(stream, space.y.get(), rows);
  }
  const MetricKind kind = problem.metric.kind;
  const bool scaled = transform == Transform::scaled;
  if (scaled) space.column_scale.assign(static_cast<size_t>(cols), 1.0f);
  if (kind == MetricKind::plain || (kind == MetricKind::fisher && space.rotation == nullptr)) return;
  space.has_h = true;
  watch.poll();
  const DeviceBuffer<double> h = moment();
  if (space.rotation != nullptr) space.rotation->both_sides(stream, h.get());
  if (scaled) scale_columns(&space, h.get());
  space.h = DeviceBuffer<float>(stream, cols * cols);
  round_to_float(stream, h.get(), cols * cols, space.h.get());
  if (wanted.by_tile || wanted.by_column || wanted.factor) {
    DeviceBuffer<double> r = upper_factor(stream, h.get(), cols);
    if (wanted.by_tile) {
      space.by_tile = tile_feedback(stream, r.get(), cols);
      space.trace = tile_trace(stream, r.get(), cols);
      space.variance = feedback_variance(stream, space.by_tile.get(), cols);
    }
    if (wanted.by_column) {
      space.by_column = column_feedback(stream, r.get(), cols);
      space.column_weight = squared_diagonal(stream, r.get(), cols);
    }
    if (wanted.factor) space.factor = std::move(r);
  }
  space.yh = DeviceBuffer<float>(stream, rows * cols);
  encode_product(stream, rows, cols, cols, space.y.get(), cols, space.h.get(), cols, 1.0f, false, space.yh.get(), cols);
}

// Columns of the target and h as AWQ's search has them.
void Problem::scale_columns(Space* space, double* h) const {
  space->column_scale = search_input_scales(stream, space->y.get(), rows, cols, h, weights);
  space->device_column_scale = DeviceBuffer<float>(stream, cols);
  space->device_column_scale.upload(space->column_scale.data(), cols);
  multiply_columns(stream, space->y.get(), rows, cols, space->device_column_scale.get());
  divide_both_sides(stream, h, cols, space->device_column_scale.get());
}

double Problem::weighted_sum(const DeviceBuffer<double>& of_rows) const {
  const std::vector<double> host = to_host(of_rows);
  double sum = 0;
  for (size_t i = 0; i < host.size(); ++i) sum += weights[i] * host[i];
  return sum;
}

EncodeCost Problem::cost_of(const DeviceBuffer<double>& costs, const DeviceBuffer<double>& squares) const {
  double squared = 0;
  for (const double x : to_host(squares)) squared += x;
  const std::vector<double> host = to_host(costs);
  double cost = 0;
  for (size_t i = 0; i < host.size(); ++i) cost += weights[i] * std::max(host[i], 0.0);
  const double scale = problem.metric.kind == MetricKind::kfac ? metric_scale : 1;
  return {unit * scale * cost, unit * squared, true};
}

EncodeCost Problem::measure(const Space& space, const float* e, const float* eh) const {
  DeviceBuffer<double> squares(stream, rows), costs(stream, rows);
  const bool fisher = problem.metric.kind == MetricKind::fisher;
  row_dots(stream, e, eh == nullptr || fisher ? e : eh, rows, cols, costs.get());
  // All but the kfac cost is of the weight's own coordinates.
  DeviceBuffer<float> own;
  if (fisher || space.device_column_scale.get() != nullptr) {
    own = DeviceBuffer<float>(stream, rows * cols);
    check(cudaMemcpyAsync(own.get(), e, static_cast<size_t>(own.bytes()), cudaMemcpyDeviceToDevice, stream.get()),
          "copying on the device");
    if (space.device_column_scale.get() != nullptr) {
      divide_columns(stream, own.get(), rows, cols, space.device_column_scale.get());
    }
    e = own.get();
  }
  row_dots(stream, e, e, rows, cols, squares.get());
  if (fisher) {
    if (space.rotation != nullptr) space.rotation->inverse(stream, own.get(), rows);
    weighted_squares(stream, own.get(), fisher_.get(), rows, cols, costs.get());
  }
  return cost_of(costs, squares);
}

EncodeCost Problem::measure(const Space& space, const float* e) const {
  DeviceBuffer<float> eh(stream, space.has_h ? rows * cols : 0);
  if (space.has_h) {
    encode_product(stream, rows, cols, cols, e, cols, space.h.get(), cols, 1.0f, false, eh.get(), cols);
  }
  return measure(space, e, eh.get());
}

EncodeCost Problem::norm() const {
  for (const Space& s : spaces_) {
    if (s.y.get() != nullptr) return measure(s, s.y.get(), s.yh.get());
  }
  return {};
}

void Problem::bring_columns(const float* y, int64_t at, int64_t width, const float* error, const float* feedback,
                            float* wide, int64_t ld) const {
  check(cudaMemcpy2DAsync(wide, static_cast<size_t>(ld) * sizeof(float), y + at,
                          static_cast<size_t>(cols) * sizeof(float), static_cast<size_t>(width) * sizeof(float),
                          static_cast<size_t>(rows), cudaMemcpyDeviceToDevice, stream.get()),
        "copying on the device");
  if (feedback != nullptr && at > 0) {
    encode_product(stream, rows, width, at, error, cols, feedback + at, cols, 1.0f, true, wide, ld);
  }
}

// Row weights, and the scale of H.
void Problem::read_metric() {
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

// F, and its column means, which are H in other coordinates than the weight's.
void Problem::read_fisher() {
  check_statistic("Fisher weight", problem.metric.fisher, rows * cols, false);
  fisher_ = upload_padded(stream, problem.metric.fisher, rows, cols, rows, cols);
  column_means_.assign(static_cast<size_t>(cols), 0.0);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      column_means_[static_cast<size_t>(j)] += static_cast<double>(problem.metric.fisher[i * cols + j]);
    }
  }
  double sum = 0;
  for (const double x : column_means_) sum += x;
  mean_ = sum / static_cast<double>(cols);
}

// H with mean diagonal 1.
DeviceBuffer<double> Problem::moment() const {
  DeviceBuffer<double> h(stream, cols * cols);
  if (fisher_.get() != nullptr) {
    constexpr double kDamping = 1e-6;
    std::vector<double> diagonal(column_means_);
    for (double& x : diagonal) x = mean_ > 0 ? (x / mean_ + kDamping) / (1 + kDamping) : 1;
    h.clear();
    const size_t step = sizeof(double), pitch = static_cast<size_t>(cols + 1) * step;
    check(cudaMemcpy2DAsync(h.get(), pitch, diagonal.data(), step, step, static_cast<size_t>(cols),
                            cudaMemcpyHostToDevice, stream.get()),
          "copying to the device");
    stream.synchronize();
    return h;
  }
  const DeviceBuffer<float> a = upload_padded(stream, problem.metric.second_moment, cols, cols, cols, cols);
  const bool known = mean_ > 0;
  const double damping = problem.metric.damping;
  damped_moment(stream, a.get(), cols, known ? metric_scale : 1, known ? damping / (1 + damping) : 1, h.get());
  return h;
}

// The target becomes W + alpha W C H^-1.
void Problem::correct() {
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
    fail(StatusCode::invalid_argument, "the second moment is not positive definite; the correction needs more damping");
  }
  solve_symmetric(stream, r.get(), cols, rows, x.get());
  add_in_double(stream, x.get(), rows * cols, problem.alpha / metric_scale, weight_.get());
}

}  // namespace lq::cuda
