// encode_costs, encode, decode and encoded_cost: every weight bit by bit, costs and searches against double precision.
#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "encoding_reference.h"
#include "suite.h"

namespace lq::contract {
namespace {

EncodeOption trellis(int32_t bits, int32_t step, Rounding rounding = Rounding::feedback, int32_t states = 12) {
  EncodeOption o{};
  o.transform = Transform::hadamard;
  o.grid = GridKind::trellis;
  o.bits = bits;
  o.step = step;
  o.states = states;
  o.scales = ScaleKind::row;
  o.rounding = rounding;
  return o;
}

std::string name_of(const EncodeOption& o, int64_t rows, int64_t cols) {
  constexpr const char* kGrids[] = {"nf", "fitted", "int", "fp4", "trellis", "gguf", "zero"};
  constexpr const char* kScales[] = {"two-level", "group", "row", "block", "searched"};
  constexpr const char* kRoundings[] = {"nearest", "feedback", "descent"};
  std::string name = std::string("encode ") + kGrids[static_cast<int>(o.grid)] + " " + std::to_string(o.bits);
  if (o.step == 2) name += "/2";
  if (o.grid == GridKind::trellis) name += " L=" + std::to_string(o.states) + (o.tail_biting ? " ring" : "");
  if (o.transform == Transform::hadamard) name += " hadamard";
  if (o.transform == Transform::scaled) name += " scaled";
  return name + " " + kScales[static_cast<int>(o.scales)] + " " + kRoundings[static_cast<int>(o.rounding)] + " rank " +
         std::to_string(o.rank) + " " + shape_name(rows, cols);
}

// A problem with statistics of its own.
struct Problem {
  Problem(int64_t rows, int64_t cols, MetricKind kind, double scale = 0.05)
      : weight(gaussian(rows * cols, 21, scale)), moment(second_moment(cols, 2 * cols, 5)) {
    const std::vector<float> raw = gaussian(rows * cols, 9, 1.0);
    for (int64_t i = 0; i < rows; ++i)
      row_weight.push_back(raw[static_cast<size_t>(i)] * raw[static_cast<size_t>(i)] * 1e-4f);
    for (const float x : raw) fisher.push_back(x * x * 1e-5f);
    problem.weight = {weight.data(), Dtype::F32, rows, cols};
    problem.metric = {kind, fisher.data(), row_weight.data(), moment.data(), 0.01};
    problem.seed = 77;
  }
  std::vector<float> weight, moment, row_weight, fisher;
  EncodeProblem problem{};
};

double norm_of(const Problem& p) {
  return reference_cost(p.problem, reference_target(p.problem), std::vector<float>(p.weight.size(), 0.0f));
}

// Encodes and checks that the parts mean the weight that decode gives, bit by bit, and that the costs are those of it.
double check_one(Suite& suite, const Problem& p, const EncodeOption& option) {
  const int64_t rows = p.problem.weight.rows, cols = p.problem.weight.cols;
  const std::string name =
      name_of(option, rows, cols) + " metric " + std::to_string(static_cast<int>(p.problem.metric.kind));
  Encoded encoded(option, rows, cols, p.problem.seed);
  std::vector<float> l1(static_cast<size_t>(rows * option.rank)), l2(static_cast<size_t>(option.rank * cols));
  EncodeCost cost{}, again{}, alone{}, norm{};
  const Status status = suite.backend.encode(p.problem, &encoded.view, l1.data(), l2.data(), &cost, kNoControl);
  if (!suite.backend.encodes(p.problem, option)) {
    suite.code(name, status, StatusCode::unsupported);
    return std::nan("");
  }
  suite.code(name, status, StatusCode::ok);
  if (status.code != StatusCode::ok) return 0;

  const std::vector<float> exact = decoded(encoded.view, l1, l2);
  const std::vector<double> target = reference_target(p.problem);
  const double expected = reference_cost(p.problem, target, exact), whole = norm_of(p);
  const double tolerance = 2e-4 * expected + 1e-9 * whole;
  double squares = 0;
  for (size_t i = 0; i < exact.size(); ++i) squares += std::pow(target[i] - static_cast<double>(exact[i]), 2);
  suite.at_most(name + " cost", std::abs(cost.cost - expected), tolerance);
  suite.at_most(name + " squared error", std::abs(cost.squared_error - squares), 2e-4 * squares);

  // An accelerator leaves putting together to the CPU.
  std::vector<float> w(exact.size());
  const Status read = suite.backend.decode(encoded.view, l1.data(), l2.data(), w.data(), kNoControl);
  const Status measured = suite.backend.encoded_cost(p.problem, encoded.view, l1.data(), l2.data(), &again, kNoControl);
  if (read.code == StatusCode::unsupported) {
    suite.code(name + " encoded_cost", measured, StatusCode::unsupported);
  } else {
    suite.code(name + " decode", read, StatusCode::ok);
    suite.code(name + " encoded_cost", measured, StatusCode::ok);
    int64_t different = 0;
    for (size_t i = 0; i < w.size(); ++i) different += w[i] != exact[i];
    suite.check(name + " decode", different == 0,
                std::to_string(different) + " of " + std::to_string(w.size()) + " differ");
    suite.at_most(name + " encoded_cost", std::abs(again.cost - expected), tolerance);
  }
  suite.code(name, suite.backend.encode_costs(p.problem, &option, 1, false, &alone, &norm, kNoControl), StatusCode::ok);
  suite.check(name + " encode_costs",
              alone.cost == cost.cost && alone.squared_error == cost.squared_error && alone.measured,
              std::to_string(alone.cost) + " and " + std::to_string(cost.cost));
  suite.at_most(name + " norm", std::abs(norm.cost - whole), 1e-4 * whole);
  return cost.cost;
}

constexpr int32_t kRates[][2] = {{1, 1}, {3, 2}, {2, 1}, {5, 2}, {3, 1}, {7, 2}, {4, 1}};

// The search finds the least squared error there is, before scales are refitted.
void check_search(Suite& suite) {
  for (const auto& rate : kRates) {
    EncodeOption o = trellis(rate[0], rate[1], Rounding::nearest, rate[0] == 2 ? 11 : 12);
    o.transform = Transform::none;
    const Problem p(16, 16, MetricKind::plain, 1.0);
    const double cost = check_one(suite, p, o);
    std::vector<double> targets;
    for (int64_t i = 0; i < 16; ++i) {
      double squares = 0;
      for (int64_t j = 0; j < 16; ++j)
        squares += std::pow(static_cast<double>(p.weight[static_cast<size_t>(i * 16 + j)]), 2);
      // Rows of one scale, so that the errors of the sequence are those of the matrix.
      for (int64_t j = 0; j < 16; ++j)
        targets.push_back(static_cast<double>(p.weight[static_cast<size_t>(i * 16 + j)]) / std::sqrt(squares / 16));
    }
    Problem even(16, 16, MetricKind::plain, 1.0);
    for (size_t i = 0; i < targets.size(); ++i) even.weight[i] = static_cast<float>(targets[i]);
    const double least = least_trellis_error(o, targets), found = check_one(suite, even, o);
    // Scales a few percent above the root mean square, and their refit, put it on either side.
    suite.check(name_of(o, 16, 16) + " search", found <= 1.04 * least && found > 0.85 * least,
                std::to_string(found) + ", least " + std::to_string(least));
    suite.check(name_of(o, 16, 16) + " cost", cost > 0, std::to_string(cost));
  }
}

void check_trellis(Suite& suite) {
  const struct {
    int64_t rows, cols;
  } shapes[] = {{16, 16}, {37, 688}, {65, 96}, {1, 100}, {100, 1}, {3, 5}, {1, 1}, {80, 17}};
  for (const auto& s : shapes) {
    const Problem p(s.rows, s.cols, MetricKind::kfac);
    for (const auto& rate : kRates) {
      if (s.rows * s.cols > 10000 && rate[0] != 2 && rate[0] != 5) continue;
      check_one(suite, p, trellis(rate[0], rate[1]));
    }
    EncodeOption ring = trellis(5, 2);
    ring.tail_biting = true;
    check_one(suite, p, ring);
    ring = trellis(2, 1, Rounding::nearest, 14);
    ring.tail_biting = true;
    check_one(suite, p, ring);
  }
  check_one(suite, Problem(48, 64, MetricKind::kfac), trellis(2, 1, Rounding::feedback, 16));
  for (const MetricKind kind : {MetricKind::plain, MetricKind::fisher}) {
    const Problem p(40, 96, kind);
    check_one(suite, p, trellis(3, 1));
    EncodeOption bare = trellis(3, 2);
    bare.transform = Transform::none;
    check_one(suite, p, bare);
  }

  // Feedback and prediction.
  const Problem p(128, 256, MetricKind::kfac);
  for (const auto& rate : kRates) {
    const EncodeOption o = trellis(rate[0], rate[1]), nearest = trellis(rate[0], rate[1], Rounding::nearest);
    const EncodeOption both[] = {o, nearest};
    EncodeCost measured[2], predicted[2], norm{};
    suite.code("measure", suite.backend.encode_costs(p.problem, both, 2, false, measured, &norm, kNoControl),
               StatusCode::ok);
    suite.code("predict", suite.backend.encode_costs(p.problem, both, 2, true, predicted, &norm, kNoControl),
               StatusCode::ok);
    suite.at_most(name_of(o, 128, 256) + " against nearest", measured[0].cost, 0.7 * measured[1].cost);
    for (int i = 0; i < 2; ++i) {
      suite.at_most(name_of(both[i], 128, 256) + " predicted", std::abs(predicted[i].cost / measured[i].cost - 1),
                    0.06);
      suite.check(name_of(both[i], 128, 256) + " predicted", !predicted[i].measured && measured[i].measured, "");
    }
  }
}

// Mean squared errors for a unit Gaussian: those of the random code of L = 12 (QTIP's kind), or less.
void check_gaussian(Suite& suite) {
  const double limits[] = {0.2691, 0.1400, 0.0708, 0.0385, 0.0191, 0.0116, 0.0052};
  Problem p(512, 512, MetricKind::plain, 1.0);
  for (size_t i = 0; i < std::size(kRates); ++i) {
    const EncodeOption o = trellis(kRates[i][0], kRates[i][1], Rounding::nearest);
    EncodeCost cost{}, norm{};
    suite.code("gaussian", suite.backend.encode_costs(p.problem, &o, 1, false, &cost, &norm, kNoControl),
               StatusCode::ok);
    suite.at_most(name_of(o, 512, 512) + " Gaussian error", cost.cost / norm.cost, limits[i] * 1.01);
  }
}

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

EncodeOption scalar(GridKind grid, int32_t bits, ScaleKind scales, Rounding rounding,
                    Transform transform = Transform::none) {
  EncodeOption o{};
  o.transform = transform;
  o.grid = grid;
  o.bits = bits;
  o.step = 1;
  o.scales = scales;
  o.config = {bits, 4, ScaleDtype::BF16, 32, 16};
  o.group = 24;
  o.rounding = rounding;
  return o;
}

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

void check_low_rank(Suite& suite) {
  const EncodeOption options[] = {trellis(3, 1), scalar(GridKind::integer, 3, ScaleKind::group, Rounding::feedback),
                                  scalar(GridKind::fitted, 3, ScaleKind::two_level, Rounding::nearest)};
  for (const MetricKind kind : {MetricKind::plain, MetricKind::fisher, MetricKind::kfac}) {
    Problem p(48, 80, kind);
    const std::vector<float> steep = decaying(48, 80, 3);
    std::copy(steep.begin(), steep.end(), p.weight.begin());
    for (EncodeOption o : options) {
      const double alone = check_one(suite, p, o);
      o.rank = 5;
      // The spectrum has a dozen large values.
      suite.at_most(name_of(o, 48, 80) + " against rank 0", check_one(suite, p, o), 0.8 * alone);
    }
  }
  EncodeOption o = trellis(2, 1);
  o.rank = 49;
  const Problem p(48, 80, MetricKind::plain);
  EncodeCost cost{}, norm{};
  suite.code("a rank above the rows", suite.backend.encode_costs(p.problem, &o, 1, false, &cost, &norm, kNoControl),
             StatusCode::invalid_argument);
}

void check_correction(Suite& suite) {
  // More columns than a backend's solver takes at once.
  Problem wide(70, 150, MetricKind::kfac);
  const std::vector<float> much = gaussian(150 * 150, 32, 0.05);
  wide.problem.cross = much.data();
  wide.problem.alpha = 1;
  check_one(suite, wide, trellis(2, 1));
  Problem p(32, 48, MetricKind::kfac);
  const std::vector<float> cross = gaussian(48 * 48, 31, 0.05);
  p.problem.cross = cross.data();
  p.problem.alpha = 0.5;
  check_one(suite, p, trellis(3, 1));
  p.problem.metric.kind = MetricKind::plain;
  EncodeCost cost{}, norm{};
  const EncodeOption o = trellis(3, 1);
  suite.code("correction of a plain metric",
             suite.backend.encode_costs(p.problem, &o, 1, false, &cost, &norm, kNoControl), StatusCode::unsupported);
}

// What a matrix costs does not depend on what is encoded beside it.
void check_company(Suite& suite) {
  const Problem p(96, 160, MetricKind::kfac);
  std::vector<EncodeOption> options;
  for (const auto& rate : kRates) options.push_back(trellis(rate[0], rate[1]));
  options.push_back(scalar(GridKind::integer, 5, ScaleKind::group, Rounding::feedback));
  const auto cost_of = [&](const EncodeOption& o) {
    EncodeCost cost{}, norm{};
    const Status status = suite.backend.encode_costs(p.problem, &o, 1, false, &cost, &norm, kNoControl);
    return status.code == StatusCode::ok ? cost.cost : std::nan("");
  };
  constexpr int kRounds = 3;
  std::vector<double> alone, beside(options.size() * kRounds);
  for (const EncodeOption& o : options) alone.push_back(cost_of(o));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < options.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < kRounds; ++round) beside[i * kRounds + round] = cost_of(options[i]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < beside.size(); ++i) {
    suite.check(name_of(options[i / kRounds], 96, 160) + " beside others", beside[i] == alone[i / kRounds],
                std::to_string(beside[i]) + " and " + std::to_string(alone[i / kRounds]));
  }
}

// Matrices and statistics at the edge: costs stay finite and not negative, and say what the parts mean.
void check_edges(Suite& suite) {
  const EncodeOption o = trellis(2, 1);
  for (const double scale : {1e-30, 1e-8, 1e6, 1e30}) check_one(suite, Problem(20, 64, MetricKind::kfac, scale), o);
  Problem p(20, 64, MetricKind::kfac);
  std::fill_n(p.weight.begin() + 64, 64, 0.0f);
  check_one(suite, p, o);
  std::fill(p.weight.begin(), p.weight.end(), 0.0f);
  suite.check("zeros", check_one(suite, p, o) == 0, "a matrix of zeros costs something");
  Problem dead(20, 64, MetricKind::kfac);
  for (int64_t j = 0; j < 64; ++j)
    dead.moment[static_cast<size_t>(3 * 64 + j)] = dead.moment[static_cast<size_t>(j * 64 + 3)] = 0;
  check_one(suite, dead, o);
  dead.problem.metric.damping = 0;
  check_one(suite, dead, o);
  Problem low_rank(20, 64, MetricKind::kfac);
  const std::vector<float> few = second_moment(64, 5, 8);
  std::copy(few.begin(), few.end(), low_rank.moment.begin());
  check_one(suite, low_rank, o);
  low_rank.problem.metric.damping = 0;
  check_one(suite, low_rank, o);
  std::fill(low_rank.moment.begin(), low_rank.moment.end(), 0.0f);
  suite.check("no second moment", check_one(suite, low_rank, o) == 0, "inputs that are zero cost something");

  Problem bad(20, 64, MetricKind::kfac);
  bad.weight[700] = std::numeric_limits<float>::quiet_NaN();
  EncodeCost cost{}, norm{};
  Status status = suite.backend.encode_costs(bad.problem, &o, 1, false, &cost, &norm, kNoControl);
  suite.code("encode refuses what is not finite", status, StatusCode::not_finite);
  suite.check("encode names the first index", status.index == 700, std::to_string(status.index));
  bad.weight[700] = 0;
  bad.row_weight[3] = -1;
  suite.code("negative row weight", suite.backend.encode_costs(bad.problem, &o, 1, false, &cost, &norm, kNoControl),
             StatusCode::invalid_argument);
  EncodeOption group = o;
  group.scales = ScaleKind::group;
  group.group = 64;
  const Problem good(20, 64, MetricKind::kfac);
  suite.code("a trellis with group scales",
             suite.backend.encode_costs(good.problem, &group, 1, false, &cost, &norm, kNoControl),
             StatusCode::unsupported);
}

}  // namespace

void check_encoding(Suite& suite) {
  check_search(suite);
  check_trellis(suite);
  check_gaussian(suite);
  check_edges(suite);
  check_correction(suite);
  check_scalar(suite);
  check_company(suite);
  check_searched(suite);
  check_low_rank(suite);
}

}  // namespace lq::contract
