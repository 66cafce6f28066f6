// EXL3's codes: bit by bit, errors of a unit Gaussian, feedback and prediction. Few numbers, since each goes through
// 2^16 states.
#include <algorithm>
#include <cmath>

#include "encoding_problems.h"

namespace lq::contract {
namespace {

EncodeOption exl3(int32_t bits, Rounding rounding = Rounding::feedback, Exl3Code code = Exl3Code::inst3) {
  EncodeOption o{};
  o.transform = Transform::two_sided;
  o.grid = GridKind::exl3;
  o.bits = bits;
  o.step = 1;
  o.states = 16;
  o.tail_biting = true;
  o.scales = ScaleKind::block;
  o.rounding = rounding;
  o.exl3_code = code;
  return o;
}

// What an option costs; `whole`, where it is given, receives what the weight does.
double measure(Suite& suite, const Problem& p, const EncodeOption& o, bool predict = false, double* whole = nullptr) {
  EncodeCost cost{}, norm{};
  suite.code("EXL3 cost", suite.backend.encode_costs(p.problem, &o, 1, predict, &cost, &norm, kNoControl),
             StatusCode::ok);
  suite.check("EXL3 measured", cost.measured != predict, "");
  if (whole != nullptr) *whole = norm.cost;
  return cost.cost;
}

// Mean squared errors of a unit Gaussian. The least that any code has is 4^-K; from 5 bits on the values end too early.
void check_errors(Suite& suite) {
  const double limits[] = {0.276, 0.0710, 0.0183, 0.00490, 0.00130, 0.000345, 0.000098, 0.000028};
  const Problem unit(128, 128, MetricKind::plain, 1.0);
  for (int32_t bits = 1; bits <= 8; ++bits) {
    double whole = 1;
    const double cost = measure(suite, unit, exl3(bits, Rounding::nearest), false, &whole);
    suite.at_most("EXL3 Gaussian error of " + std::to_string(bits) + " bits", cost / whole, 1.03 * limits[bits - 1]);
  }
}

void check_feedback(Suite& suite) {
  const Problem p(128, 128, MetricKind::kfac);
  for (const int32_t bits : {2, 5}) {
    const double with = check_one(suite, p, exl3(bits));
    suite.at_most(name_of(exl3(bits), 128, 128) + " against nearest", with,
                  0.7 * measure(suite, p, exl3(bits, Rounding::nearest)));
    suite.at_most(name_of(exl3(bits), 128, 128) + " predicted",
                  std::abs(measure(suite, p, exl3(bits), true) / with - 1), 0.08);
  }
}

// A matrix with columns and rows of nothing, of outliers, of no weight and that no input reaches.
void check_odd(Suite& suite) {
  Problem odd(128, 128, MetricKind::kfac);
  for (int64_t i = 0; i < 128; ++i) {
    odd.weight[static_cast<size_t>(i * 128 + 5)] = 0;
    odd.weight[static_cast<size_t>(7 * 128 + i)] = 0;
    odd.weight[static_cast<size_t>(i * 128 + 40)] *= 1000;
    odd.weight[static_cast<size_t>(90 * 128 + i)] *= 1000;
    odd.moment[static_cast<size_t>(i * 128 + 9)] = odd.moment[static_cast<size_t>(9 * 128 + i)] = 0;
    odd.row_weight[static_cast<size_t>(i)] *= i % 3 == 0 ? 0.0f : 1.0f;
  }
  check_one(suite, odd, exl3(2));
  for (const double scale : {1e-8, 1e6}) check_one(suite, Problem(128, 128, MetricKind::kfac, scale), exl3(2));
  std::fill(odd.weight.begin(), odd.weight.end(), 0.0f);
  suite.check("zeros in EXL3", check_one(suite, odd, exl3(2)) == 0, "a matrix of zeros costs something");
}

}  // namespace

void check_exl3(Suite& suite) {
  // What a backend leaves to the CPU it says.
  const Problem p(256, 128, MetricKind::kfac);
  if (std::isnan(check_one(suite, p, exl3(3)))) return;
  check_errors(suite);
  check_feedback(suite);
  check_odd(suite);
  const Problem plain(128, 128, MetricKind::plain);
  check_one(suite, plain, exl3(8));
  for (const Exl3Code code : {Exl3Code::mcg, Exl3Code::mul1})
    check_one(suite, plain, exl3(2, Rounding::feedback, code));
  check_one(suite, Problem(128, 128, MetricKind::fisher), exl3(1));

  EncodeCost cost{}, norm{};
  const EncodeOption o = exl3(2);
  const Problem narrow(128, 96, MetricKind::plain);
  suite.code("EXL3 of 96 columns", suite.backend.encode_costs(narrow.problem, &o, 1, false, &cost, &norm, kNoControl),
             StatusCode::unsupported);
}

}  // namespace lq::contract
