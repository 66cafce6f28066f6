#include "encoding_problems.h"

#include <algorithm>
#include <cmath>

namespace lq::contract {
namespace {

double norm_of(const Problem& p) {
  return reference_cost(p.problem, reference_target(p.problem), std::vector<float>(p.weight.size(), 0.0f));
}

}  // namespace

EncodeOption trellis(int32_t bits, int32_t step, Rounding rounding, int32_t states) {
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

EncodeOption scalar(GridKind grid, int32_t bits, ScaleKind scales, Rounding rounding, Transform transform) {
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

std::string name_of(const EncodeOption& o, int64_t rows, int64_t cols) {
  constexpr const char* kGrids[] = {"nf", "fitted", "int", "fp4", "trellis", "gguf", "zero", "exl3"};
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

  std::vector<float> w(exact.size());
  suite.code(name + " decode", suite.backend.decode(encoded.view, l1.data(), l2.data(), w.data(), kNoControl),
             StatusCode::ok);
  int64_t different = 0;
  for (size_t i = 0; i < w.size(); ++i) different += w[i] != exact[i];
  suite.check(name + " decode", different == 0,
              std::to_string(different) + " of " + std::to_string(w.size()) + " differ");
  // An accelerator leaves measuring what is stored to the CPU.
  const Status measured = suite.backend.encoded_cost(p.problem, encoded.view, l1.data(), l2.data(), &again, kNoControl);
  if (measured.code != StatusCode::unsupported) {
    suite.code(name + " encoded_cost", measured, StatusCode::ok);
    suite.at_most(name + " encoded_cost", std::abs(again.cost - expected), tolerance);
  }
  suite.code(name, suite.backend.encode_costs(p.problem, &option, 1, false, &alone, &norm, kNoControl), StatusCode::ok);
  suite.check(name + " encode_costs",
              alone.cost == cost.cost && alone.squared_error == cost.squared_error && alone.measured,
              std::to_string(alone.cost) + " and " + std::to_string(cost.cost));
  suite.at_most(name + " norm", std::abs(norm.cost - whole), 1e-4 * whole);
  return cost.cost;
}

}  // namespace lq::contract
