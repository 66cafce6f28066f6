// Scalar grids: every kind under every metric and rounding, GPTQ as its paper writes it, and searched scales.
#include <algorithm>
#include <cmath>
#include <limits>

#include "encoding_problems.h"

namespace lq::contract {
namespace {

// GPTQ (arXiv 2210.17323, algorithm 1) with a scale and a zero a group of its targets, in double: the codes of the
// encoder agree but where a target lies between two levels to fp32 precision, after which a row may go its own way.
void check_gptq(Suite& suite, const Problem& p, const EncodeOption& o) {
  const int64_t rows = p.problem.weight.rows, n = p.problem.weight.cols;
  Encoded encoded(o, rows, n, 1);
  EncodeCost cost{};
  suite.code("gptq", suite.backend.encode(p.problem, &encoded.view, nullptr, nullptr, &cost, kNoControl),
             StatusCode::ok);
  const std::vector<float> w = decoded(encoded.view, {}, {});
  const std::vector<double> u = inverse_factor(p.problem);
  std::vector<double> left(p.weight.begin(), p.weight.end());
  int64_t different = 0;
  double error = 0;
  std::vector<float> result(w.size());
  for (int64_t i = 0; i < rows; ++i) {
    double* x = left.data() + i * n;
    double scale = 0, zero = 0;
    bool differs = false;
    for (int64_t j = 0; j < n; ++j) {
      if (j % o.group == 0) {
        double low = 0, high = 0;
        for (int64_t k = j; k < std::min(n, j + o.group); ++k) {
          low = std::min(low, x[k]);
          high = std::max(high, x[k]);
        }
        const double top = (1 << o.bits) - 1;
        scale = half((high - low) / top);
        zero = std::nearbyint(-low / scale);
      }
      const double top = (1 << o.bits) - 1;
      const double q = (std::clamp(std::nearbyint(x[j] / scale) + zero, 0.0, top) - zero) * scale;
      result[static_cast<size_t>(i * n + j)] = static_cast<float>(q);
      differs |= std::abs(q - static_cast<double>(w[static_cast<size_t>(i * n + j)])) > 1e-6;
      const double e = (x[j] - q) / u[static_cast<size_t>(j * n + j)];
      for (int64_t k = j; k < n; ++k) x[k] -= e * u[static_cast<size_t>(j * n + k)];
    }
    different += differs;
  }
  error = reference_cost(p.problem, reference_target(p.problem), result);
  suite.at_most("gptq rows that differ", static_cast<double>(different), 2);
  suite.at_most("gptq cost", std::abs(cost.cost / error - 1), 0.01);
}

}  // namespace

void check_scalar(Suite& suite) {
  static const CodeBook nf3 = normal_float(3), nf4 = normal_float(4), nf8 = normal_float(8);
  const auto book = [](int32_t bits) { return bits == 3 ? &nf3 : bits == 4 ? &nf4 : &nf8; };
  std::vector<EncodeOption> options;
  for (const ScaleKind scales : {ScaleKind::two_level, ScaleKind::group, ScaleKind::row}) {
    for (const Transform transform : {Transform::none, Transform::hadamard}) {
      for (const int32_t bits : {3, 8})
        options.push_back(scalar(GridKind::nf, bits, scales, Rounding::nearest, transform));
      for (const int32_t bits : {2, 4})
        options.push_back(scalar(GridKind::fitted, bits, scales, Rounding::nearest, transform));
      options.push_back(scalar(GridKind::fp4, 4, scales, Rounding::nearest, transform));
      for (const int32_t bits : {2, 5, 8}) {
        options.push_back(scalar(GridKind::integer, bits, scales, Rounding::nearest, transform));
        if (scales == ScaleKind::two_level) options.back().symmetric = true;
      }
      options.push_back(scalar(GridKind::integer, 3, scales, Rounding::nearest, transform));
      options.back().symmetric = true;
    }
  }
  for (const ScaleKind scales : {ScaleKind::group, ScaleKind::row}) {
    for (const int32_t bits : {3, 4})
      options.push_back(scalar(GridKind::integer, bits, scales, Rounding::nearest, Transform::scaled));
  }
  const Problem kfac(37, 80, MetricKind::kfac), plain(37, 80, MetricKind::plain), fisher(37, 80, MetricKind::fisher);
  for (EncodeOption o : options) {
    if (o.grid == GridKind::nf) o.book = book(o.bits);
    check_one(suite, o.bits == 3 ? plain : fisher, o);
    const double nearest = check_one(suite, kfac, o);
    o.rounding = Rounding::feedback;
    const double feedback = check_one(suite, kfac, o);
    o.rounding = Rounding::descent;
    const double descent = check_one(suite, kfac, o);
    // An accelerator leaves some options to the CPU.
    if (!std::isnan(descent)) suite.at_most(name_of(o, 37, 80) + " descends", descent, feedback * (1 + 1e-6));
    if (o.bits > 2) suite.at_most(name_of(o, 37, 80) + " against nearest", feedback, nearest);
  }
  // A low-rank part alone: what it leaves falls with its rank.
  double before = std::numeric_limits<double>::infinity();
  for (const int32_t rank : {1, 4, 16, 32}) {
    EncodeOption o = scalar(GridKind::zero, 0, ScaleKind::block, Rounding::nearest);
    o.rank = rank;
    check_one(suite, plain, o);
    check_one(suite, fisher, o);
    const double cost = check_one(suite, kfac, o);
    if (std::isnan(cost)) continue;
    suite.at_most(name_of(o, 37, 80) + " against a lower rank", cost, before);
    before = cost;
  }
  // A group and a row longer than a backend's stretch of columns.
  const Problem wide(20, 300, MetricKind::kfac);
  for (EncodeOption o : {scalar(GridKind::integer, 3, ScaleKind::group, Rounding::feedback),
                         scalar(GridKind::fitted, 3, ScaleKind::row, Rounding::feedback, Transform::hadamard)}) {
    o.group = 260;
    check_one(suite, wide, o);
  }
  // Every code the nearest under its scale, and feedback as GPTQ's paper writes it, column by column in double.
  EncodeOption o = scalar(GridKind::integer, 4, ScaleKind::group, Rounding::feedback);
  o.group = 16;
  check_gptq(suite, kfac, o);
}

// Scales of least error: never worse than those of the absmax, on a skewed weight far better where there are few
// levels.
void check_searched(Suite& suite) {
  static const CodeBook nf4 = normal_float(4);
  Problem skewed(37, 80, MetricKind::kfac);
  for (size_t i = 0; i < skewed.weight.size(); ++i) skewed.weight[i] = std::max(skewed.weight[i], -0.5f);
  for (const int32_t bits : {2, 3, 4, 8}) {
    for (const ScaleDtype type : {ScaleDtype::BF16, ScaleDtype::FP16, ScaleDtype::FP32}) {
      EncodeOption o = scalar(GridKind::integer, bits, ScaleKind::group, Rounding::descent);
      o.symmetric = true;
      o.group = 16;
      const double absmax = check_one(suite, skewed, o);
      o.scales = ScaleKind::searched;
      o.scale_type = type;
      suite.at_most("searched scales, " + std::to_string(bits) + " bits", check_one(suite, skewed, o),
                    absmax * (bits == 2   ? 0.7
                              : bits == 8 ? 1.1
                                          : 1.0));
    }
  }
  EncodeOption o = scalar(GridKind::nf, 4, ScaleKind::searched, Rounding::descent);
  o.book = &nf4;
  o.scale_type = ScaleDtype::FP32;
  check_one(suite, skewed, o);
}

}  // namespace lq::contract
