#include "encode/matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "blas.h"
#include "convert.h"
#include "encode/kernels.h"
#include "encode/option.h"
#include "encode/predict.h"
#include "encode/scale_powers.h"
#include "status.h"
#include "threads.h"

namespace lq::cpu {
namespace {

// H = R R' with R upper, from the lower factor of H turned around. H is made definite by as little as it takes.
std::vector<double> upper_factor(const std::vector<double>& h, int64_t n) {
  for (double jitter = 0;; jitter = jitter == 0 ? 1e-7 : jitter * 10) {
    std::vector<double> r(h.rbegin(), h.rend());  // both indices reversed
    for (int64_t i = 0; i < n; ++i) r[static_cast<size_t>(i * n + i)] += jitter;
    if (!cholesky(n, r.data())) continue;
    for (int64_t i = 0; i < n; ++i) std::fill_n(r.begin() + i * n + i + 1, n - i - 1, 0.0);
    std::reverse(r.begin(), r.end());
    return r;
  }
}

// N of EncodeSpace for blocks of `unit` columns.
std::vector<float> feedback(const std::vector<double>& r, int64_t n, int64_t unit) {
  std::vector<float> out(r.size());
  parallel_for(0, (n + unit - 1) / unit, 1, [&](int64_t block, int64_t) {
    const int64_t at = block * unit, width = std::min(unit, n - at);
    if (at == 0) return;
    std::vector<double> x(static_cast<size_t>(at * width));
    for (int64_t k = 0; k < at; ++k) std::copy_n(r.begin() + k * n + at, width, x.begin() + k * width);
    solve_upper(at, width, r.data() + at * n + at, n, x.data(), width);
    for (int64_t k = 0; k < at; ++k) {
      for (int64_t j = 0; j < width; ++j) {
        out[static_cast<size_t>(k * n + at + j)] = static_cast<float>(x[static_cast<size_t>(k * width + j)]);
      }
    }
  });
  return out;
}

double trace_of_blocks(const std::vector<double>& r, int64_t n, int64_t unit) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < std::min(n, (i / unit + 1) * unit); ++j) {
      sum += r[static_cast<size_t>(i * n + j)] * r[static_cast<size_t>(i * n + j)];
    }
  }
  return sum;
}

// By how much feedback by tiles raises the variance of its targets, in units of the variance of the errors e~ that the
// code makes: a target is moved by e~ - e, e the weight's own error with e N = e~. Probed with errors of random signs.
double variance_of_feedback(const std::vector<float>& by_tile, int64_t n) {
  constexpr int64_t kProbes = 32;
  std::vector<float> e(static_cast<size_t>(kProbes * n));
  uint64_t state = 1;
  for (float& x : e) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x = state >> 63 != 0 ? -1.0f : 1.0f;
  }
  const std::vector<float> made = e;
  double sum = 0;
  for (int64_t at = kTileSide; at < n; at += kTileSide) {
    const int64_t width = std::min(kTileSide, n - at);
    sgemm(false, false, kProbes, width, at, -1, e.data(), n, by_tile.data() + at, n, 1, e.data() + at, n);
  }
  for (size_t i = 0; i < e.size(); ++i) {
    const double moved = static_cast<double>(made[i]) - static_cast<double>(e[i]);
    sum += moved * moved;
  }
  return sum / static_cast<double>(e.size());
}

}  // namespace

bool EncodeMatrix::polled() const { return is_cancelled(control); }

Status EncodeMatrix::load_target() {
  rows = problem.weight.rows;
  cols = problem.weight.cols;
  target.resize(static_cast<size_t>(rows * cols));
  parallel_for(0, rows * cols, 1 << 18, [&](int64_t b, int64_t e) {
    to_float(problem.weight.data, problem.weight.dtype, b, e - b, target.data() + b);
  });
  const bool kfac = problem.metric.kind == MetricKind::kfac;
  row_weights.assign(static_cast<size_t>(rows), 1.0);
  if (kfac) std::copy_n(problem.metric.row_weight, rows, row_weights.begin());
  if (problem.cross != nullptr) {
    // W + alpha W C H^-1.
    std::vector<double> h = second_moment();
    if (metric_scale > 0) {
      if (!cholesky(cols, h.data())) {
        return error(StatusCode::invalid_argument, -1,
                     "the second moment is not positive definite; the correction needs more damping");
      }
      const double step = problem.alpha / metric_scale;
      const std::vector<double> c(problem.cross, problem.cross + cols * cols);
      parallel_for(0, rows, kPanelRows, [&](int64_t b, int64_t e) {
        if (stopped()) return;
        float* w = target.data() + b * cols;
        const std::vector<double> in(w, w + (e - b) * cols);
        std::vector<double> x(in.size());
        dgemm(false, false, e - b, cols, cols, in.data(), cols, c.data(), cols, x.data(), cols);
        cholesky_solve(e - b, cols, h.data(), x.data());
        for (size_t i = 0; i < x.size(); ++i) w[i] = static_cast<float>(in[i] + step * x[i]);
      });
    }
  }
  float largest = 0;
  for (const float w : target) largest = std::max(largest, std::abs(w));
  if (!(largest < 1e36f)) {
    return error(StatusCode::unsupported, -1, "weights of 1e36 and above in magnitude cannot be encoded");
  }
  // fp16 scales of weights in this range neither overflow nor lose precision.
  if (largest > 0 && (largest < 0x1p-10f || largest >= 0x1p13f)) {
    multiplier = std::ldexp(1.0f, std::max(-120, std::ilogb(largest)));
    for (float& w : target) w /= multiplier;
  }
  return stopped() ? cancelled() : ok();
}

std::vector<double> EncodeMatrix::second_moment() {
  std::vector<double> h(static_cast<size_t>(cols * cols));
  const Metric& metric = problem.metric;
  double sum = 0;
  if (metric.kind == MetricKind::kfac) {
    const float* a = metric.second_moment;
    parallel_for(0, cols, 16, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        for (int64_t j = 0; j < cols; ++j) {
          h[static_cast<size_t>(i * cols + j)] = (static_cast<double>(a[i * cols + j]) + a[j * cols + i]) / 2;
        }
      }
    });
  } else {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) h[static_cast<size_t>(j * cols + j)] += metric.fisher[i * cols + j];
    }
  }
  for (int64_t j = 0; j < cols; ++j) sum += h[static_cast<size_t>(j * cols + j)];
  const double mean = sum / static_cast<double>(cols);
  const double damping = metric.kind == MetricKind::kfac ? metric.damping : 1e-6;
  metric_scale = mean * (1 + damping);
  // Nothing is known of the inputs: every error costs nothing, and the plain error guides the rounding.
  if (!(mean > 0)) std::fill(h.begin(), h.end(), 0.0);
  const double divisor = mean > 0 ? metric_scale : 1;
  for (double& x : h) x /= divisor;
  for (int64_t j = 0; j < cols; ++j) {
    h[static_cast<size_t>(j * cols + j)] += mean > 0 ? damping / (1 + damping) : 1;
  }
  return h;
}

// AWQ (arXiv 2306.00978): the columns that large inputs meet are made large, so that their codes are finer, by a power
// of the inputs' size. Of the powers on a grid the one is taken whose codes in 3 bits, rounded to nearest in groups of
// 128, cost least on a sample of rows.
std::vector<float> EncodeMatrix::input_scales(const std::vector<double>& h) const {
  constexpr float kLevels = 7;
  const int64_t count = std::min(rows, kScaleSampledRows);
  std::vector<float> best(static_cast<size_t>(cols), 1.0f);
  double least = std::numeric_limits<double>::infinity();
  std::vector<double> sizes(static_cast<size_t>(cols));
  for (int64_t j = 0; j < cols; ++j) sizes[static_cast<size_t>(j)] = std::sqrt(h[static_cast<size_t>(j * cols + j)]);
  const std::vector<float> metric(h.begin(), h.end());
  std::vector<float> e(static_cast<size_t>(count * cols)), eh(e.size());
  for (int32_t power = 0; power <= kScalePowers && !stopped(); ++power) {
    std::vector<float> scale = scales_of_power(sizes, power);
    for (float& x : scale) x = from_f16(to_f16(x));
    for (int64_t i = 0; i < count; ++i) {
      const float* w = target.data() + i * rows / count * cols;
      for (int64_t first = 0; first < cols; first += kScaleGroup) {
        const int64_t last = std::min(cols, first + kScaleGroup);
        float least_weight = 0, most_weight = 0;
        for (int64_t j = first; j < last; ++j) {
          least_weight = std::min(least_weight, w[j] * scale[static_cast<size_t>(j)]);
          most_weight = std::max(most_weight, w[j] * scale[static_cast<size_t>(j)]);
        }
        const float step = (most_weight - least_weight) / kLevels;
        for (int64_t j = first; j < last; ++j) {
          const float y = w[j] * scale[static_cast<size_t>(j)];
          const float q = step > 0 ? std::nearbyint(y / step) * step : y;
          e[static_cast<size_t>(i * cols + j)] = (y - q) / scale[static_cast<size_t>(j)];
        }
      }
    }
    sgemm(false, false, count, cols, cols, 1, e.data(), cols, metric.data(), cols, 0, eh.data(), cols);
    double cost = 0;
    for (int64_t i = 0; i < count; ++i) {
      cost += row_weights[static_cast<size_t>(i * rows / count)] *
              encode_kernels().dot(e.data() + i * cols, eh.data() + i * cols, cols);
    }
    if (cost < least) {
      least = cost;
      best = std::move(scale);
    }
  }
  return best;
}

// Inputs are scaled by the size of their columns, which makes the codes' resolution the same in all of them; with
// feedback that is best, since what an input's error costs is then a matter of the metric's determinant alone. Rows
// count as the codes will see them. The size of the whole is shared between both sides, so that either stays within
// fp16.
std::unique_ptr<const Rotation> EncodeMatrix::two_sided(EncodeSpace& space) const {
  std::vector<double> squares(static_cast<size_t>(cols));
  double all = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const float* w = target.data() + i * cols;
    const double size = encode_kernels().dot(w, w, cols);
    all += size;
    const double weight = size > 0 ? 1 / size : 0;
    for (int64_t j = 0; j < cols; ++j) {
      squares[static_cast<size_t>(j)] += weight * static_cast<double>(w[j]) * static_cast<double>(w[j]);
    }
  }
  const double mean = std::accumulate(squares.begin(), squares.end(), 0.0) / static_cast<double>(cols);
  const double root = std::sqrt(std::sqrt(all / static_cast<double>(rows * cols)));
  const int exponent = std::ilogb(multiplier);
  const double unit = std::ldexp(1.0, exponent / 2);
  space.row_unit = std::ldexp(1.0, exponent - exponent / 2);
  std::vector<float> factors;
  for (int64_t j = 0; j < cols; ++j) {
    const double size = mean > 0 ? std::sqrt(squares[static_cast<size_t>(j)] / mean) * root : 1;
    const float stored =
        from_f16(to_f16(static_cast<float>(std::min(size * unit, 65504.0)) * drawn_sign(problem.seed, j)));
    space.input_scales.push_back(stored);
    factors.push_back(static_cast<float>(static_cast<double>(stored) / unit));
  }
  return std::make_unique<const Rotation>(std::move(factors), kTwoSidedBlock);
}

Status EncodeMatrix::make_space(Transform transform, const Needs& needs) {
  std::unique_ptr<EncodeSpace>& made = spaces_[static_cast<size_t>(transform)];
  made = std::make_unique<EncodeSpace>();
  EncodeSpace& space = *made;
  const bool both = transform == Transform::two_sided, rotated = transform == Transform::hadamard || both;
  space.target = target;
  if (rotated) {
    space.rotation = both ? two_sided(space) : std::make_unique<const Rotation>(cols, problem.seed);
    parallel_for(0, rows, 16, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) space.rotation->forward(space.target.data() + i * cols);
    });
  }
  const MetricKind kind = problem.metric.kind;
  const bool scaled = transform == Transform::scaled;
  if (scaled) space.column_scale.assign(static_cast<size_t>(cols), 1.0f);
  if (kind == MetricKind::plain || (kind == MetricKind::fisher && !rotated)) return ok();
  std::vector<double> h = second_moment();
  if (rotated) space.rotation->both_sides(h.data());
  if (scaled && kind == MetricKind::kfac) {
    space.column_scale = input_scales(h);
    const float* s = space.column_scale.data();
    parallel_for(0, rows, 64, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        for (int64_t j = 0; j < cols; ++j) space.target[static_cast<size_t>(i * cols + j)] *= s[j];
      }
    });
    for (int64_t i = 0; i < cols; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        h[static_cast<size_t>(i * cols + j)] /= static_cast<double>(s[i]) * static_cast<double>(s[j]);
      }
    }
  }
  space.h.assign(h.begin(), h.end());
  if (needs.by_tile || needs.by_column || needs.column_weight || needs.factor) {
    const std::vector<double> r = upper_factor(h, cols);
    if (needs.by_tile) {
      space.by_tile = feedback(r, cols, kTileSide);
      space.tile_trace = trace_of_blocks(r, cols, kTileSide);
      space.feedback_variance = variance_of_feedback(space.by_tile, cols);
    }
    if (needs.by_column) space.by_column = feedback(r, cols, 1);
    if (needs.column_weight) {
      for (int64_t j = 0; j < cols; ++j) {
        const double root = r[static_cast<size_t>(j * cols + j)];
        space.column_weight.push_back(static_cast<float>(root * root));
      }
    }
    if (needs.factor) space.factor.assign(r.begin(), r.end());
  }
  space.target_h.resize(space.target.size());
  parallel_for(0, rows, kPanelRows, [&](int64_t b, int64_t e) {
    if (stopped()) return;
    sgemm(false, false, e - b, cols, cols, 1, space.target.data() + b * cols, cols, space.h.data(), cols, 0,
          space.target_h.data() + b * cols, cols);
  });
  return stopped() ? cancelled() : ok();
}

Status EncodeMatrix::prepare(const EncodeOption* options, int64_t count, bool predict) {
  Status status = check_problem(problem);
  if (!failed(status)) status = load_target();
  for (int64_t i = 0; i < count && !failed(status); ++i) status = check_shape(options[i], rows, cols);
  for (const Transform transform : {Transform::none, Transform::hadamard, Transform::scaled, Transform::two_sided}) {
    bool wanted = false;
    Needs needs{};
    for (int64_t i = 0; i < count; ++i) {
      if (options[i].transform != transform) continue;
      wanted = true;
      needs.factor |= options[i].rank > 0;
      if (options[i].rounding == Rounding::nearest) continue;
      if (options[i].grid == GridKind::trellis || options[i].grid == GridKind::exl3) {
        needs.by_tile = true;
      } else {
        needs.column_weight = true;
        needs.by_column |= !(predict && is_predictable(problem, options[i]));
      }
    }
    if (wanted && !failed(status)) status = make_space(transform, needs);
  }
  return status;
}

void EncodeMatrix::add_cost(const EncodeSpace& space, int64_t row, int64_t count, float* e, const float* eh,
                            EncodeCost* cost) const {
  const EncodeKernels& k = encode_kernels();
  const double unit = static_cast<double>(multiplier) * static_cast<double>(multiplier);
  for (int64_t i = 0; i < count; ++i) {
    float* x = e + i * cols;
    // The kfac cost is eh's, in the space's coordinates; all else is of the weight's.
    const double product = problem.metric.kind == MetricKind::kfac ? std::max(0.0, k.dot(x, eh + i * cols, cols)) : 0;
    for (size_t j = 0; j < space.column_scale.size(); ++j) x[j] /= space.column_scale[j];
    const bool oblique = space.rotation != nullptr && !space.rotation->is_orthonormal();
    if (oblique) space.rotation->inverse(x);
    const double squared = unit * k.dot(x, x, cols);
    cost->squared_error += squared;
    switch (problem.metric.kind) {
      case MetricKind::plain:
        cost->cost += squared;
        break;
      case MetricKind::fisher: {
        if (space.rotation != nullptr && !oblique) space.rotation->inverse(x);
        const float* f = problem.metric.fisher + (row + i) * cols;
        double sum = 0;
        for (int64_t j = 0; j < cols; ++j) {
          sum += static_cast<double>(f[j]) * static_cast<double>(x[j]) * static_cast<double>(x[j]);
        }
        cost->cost += unit * sum;
        break;
      }
      case MetricKind::kfac:
        cost->cost += unit * metric_scale * row_weights[static_cast<size_t>(row + i)] * product;
        break;
    }
  }
}

EncodeCost EncodeMatrix::norm() const {
  const EncodeSpace& space =
      **std::find_if(std::begin(spaces_), std::end(spaces_), [](const auto& s) { return s != nullptr; });
  std::vector<EncodeCost> parts(static_cast<size_t>(panels()), EncodeCost{0, 0, true});
  parallel_for(0, rows, kPanelRows, [&](int64_t b, int64_t e) {
    std::vector<float> copy(space.target.begin() + b * cols, space.target.begin() + e * cols);
    add_cost(space, b, e - b, copy.data(), space.target_h.empty() ? nullptr : space.target_h.data() + b * cols,
             &parts[static_cast<size_t>(b / kPanelRows)]);
  });
  EncodeCost total{0, 0, true};
  for (const EncodeCost& part : parts) {
    total.cost += part.cost;
    total.squared_error += part.squared_error;
  }
  return total;
}

}  // namespace lq::cpu
