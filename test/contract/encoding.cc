// encode_costs, encode, decode and encoded_cost: every weight bit by bit, costs and searches against double precision.
#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "encoding_problems.h"

namespace lq::contract {
namespace {

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
  check_exl3(suite);
  check_edges(suite);
  check_correction(suite);
  check_scalar(suite);
  check_company(suite);
  check_searched(suite);
  check_low_rank(suite);
}

}  // namespace lq::contract
