#include "language_model.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "language_model_cases.h"
#include "language_model_fixtures.h"
#include "language_model_reference.h"

namespace lq::contract {
namespace {

size_t matrices_of(const LanguageModelConfig& c) {
  size_t count = 0;
  for (int32_t layer = 0; layer < c.layers; ++layer) {
    const LayerTraits t = traits_of(c, layer);
    const size_t own = c.attention.fused == Fused::none ? 4 : 2,
                 gates = c.mlp.plain || c.mlp.fused != Fused::none ? 2 : 3;
    count += own + (t.width == 0 ? 0 : gates) +
             (t.routed ? (c.moe.fused == Fused::none ? 3 : 2) * static_cast<size_t>(c.moe.experts) : 0);
  }
  return count;
}

// The elements compared by finite differences: the largest and some others.
std::vector<int64_t> probes(const std::vector<float>& values) {
  const auto n = static_cast<int64_t>(values.size());
  const auto largest = std::max_element(values.begin(), values.end()) - values.begin();
  return {0, largest, n / 3, n / 2 + 1, n - 1};
}

// Worst excess of squared gradients over the reference, in units of the tolerance.
double worst_gradient(ReferenceModel* reference, const Sums& sums, const std::vector<int32_t>& tokens,
                      const LanguageModelCase& c, double tolerance) {
  double worst = 0;
  for (const auto& [place, values] : sums.values) {
    const double largest = *std::max_element(values.begin(), values.end());
    for (const int64_t index : probes(values)) {
      double expected = 0;
      for (int32_t s = 0; s < c.sequences; ++s) {
        const auto& [layer, kind, expert] = place;
        const double d = reference->derivative(layer, kind, index, &tokens[s * c.context], c.context, expert);
        expected += d * d;
      }
      const double allowed = tolerance * (expected + 1e-3 * largest) + 1e-30;
      worst = worse(worst, std::abs(values[index] - expected) / allowed);
    }
  }
  return worst;
}

// Worst deviation of second moments from double precision, relative to the largest of each input.
double worst_moment(const Sums& sums, const ReferenceModel::Inputs& inputs) {
  double worst = 0;
  for (const auto& [place, found] : sums.moments) {
    // Of an expert that no token reached.
    if (!inputs.contains(place) && std::any_of(found.begin(), found.end(), [](float x) { return x != 0; })) return 1;
  }
  for (const auto& [place, tokens] : inputs) {
    const std::vector<double> values = moment(tokens, tokens);
    const std::vector<float>& found = sums.moments.at(place);
    const auto n = static_cast<int64_t>(tokens.front().size());
    if (found.size() != values.size()) return 1;
    const double largest = *std::max_element(values.begin(), values.end());
    const double slack = std::get<2>(place) == kNoExpert ? 1 : kExpertSlack;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        worst = worse(worst, std::abs(found[i * n + j] - values[i * n + j]) / largest / slack);
      }
    }
  }
  return worst;
}

// Worst relative deviation of rows' sums from those of the elementwise squares.
double worst_row(const Sums& sums) {
  if (sums.rows.size() != sums.values.size()) return 1;
  double worst = 0;
  for (const auto& [place, rows] : sums.rows) {
    const std::vector<float>& values = sums.values.at(place);
    const size_t cols = values.size() / rows.size();
    for (size_t i = 0; i < rows.size(); ++i) {
      double expected = 0;
      for (size_t j = 0; j < cols; ++j) expected += values[i * cols + j];
      worst = worse(worst, std::abs(rows[i] - expected) / (expected + 1e-30));
    }
  }
  return worst;
}

std::vector<LanguageModelCheck> check_case(Backend& backend, const LanguageModelCase& c,
                                           const LanguageModelTolerance& tolerance) {
  Checks checks(c.name);
  ReferenceModel reference(c.config, 7);
  std::mt19937_64 random(11);
  std::vector<int32_t> tokens(c.sequences * c.context);
  for (int32_t& t : tokens) t = static_cast<int32_t>(random() % c.config.vocab);
  for (int32_t s = 0; c.config.masked && s < c.sequences; ++s) {
    for (const int32_t at : {1, 6, 10}) tokens[s * c.context + at + s] = ~tokens[s * c.context + at + s];
  }
  LanguageModel* created = nullptr;
  const Status status = backend.create_language_model(c.config, reference.provider(), &created);
  if (status.code != StatusCode::ok) {
    // What is not Llama's may be refused, by name.
    const bool refused = part_beyond_cuda(c.config) != nullptr && status.code == StatusCode::unsupported;
    checks.add("create", refused, status.message);
    return checks.results;
  }
  const Model model(created);
  const Control control{};
  const auto succeeded = [&](const char* name, const Status& s) {
    if (s.code != StatusCode::ok) checks.add(name, false, s.message);
    return s.code == StatusCode::ok;
  };

  std::vector<double> losses(c.sequences), again(c.sequences);
  if (succeeded("losses", model.model->losses(tokens.data(), c.sequences, c.context, losses.data(), control))) {
    double worst = 0;
    for (int32_t s = 0; s < c.sequences; ++s) {
      worst = worse(worst, std::abs(losses[s] - reference.loss(&tokens[s * c.context], c.context)));
    }
    // Of masked tokens there are few: their errors are averaged less.
    checks.within("losses", worst, (c.config.masked ? 2 : 1) * tolerance.loss);
  }
  std::vector<float> logits(static_cast<size_t>(c.context) * c.config.vocab);
  if (succeeded("logits", model.model->logits(tokens.data(), c.context, logits.data(), control))) {
    const std::vector<double> expected = reference.logits(tokens.data(), c.context);
    double worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) worst = worse(worst, std::abs(logits[i] - expected[i]));
    checks.within("logits", worst, tolerance.logits);
  }
  Sums sums;
  if (succeeded("squared gradients",
                model.model->calibrate(tokens.data(), c.sequences, c.context, sums.sink(), again.data(), control))) {
    const bool complete = sums.values.size() == matrices_of(c.config);
    checks.add("every matrix is asked for", complete, std::to_string(sums.values.size()));
    checks.within("squared gradients, in tolerances", worst_gradient(&reference, sums, tokens, c, tolerance.fisher), 1);
    double worst = 0;
    for (int32_t s = 0; s < c.sequences; ++s) worst = std::max(worst, std::abs(losses[s] - again[s]));
    checks.within("the same losses with gradients", worst, tolerance.loss);
  }
  Sums everything, rows_alone, moments_alone;
  rows_alone.squares = false;
  const auto run = [&](const CalibrationSink& sink) {
    return model.model->calibrate(tokens.data(), c.sequences, c.context, sink, again.data(), control);
  };
  if (succeeded("statistics", run(everything.sink(true))) &&
      succeeded("statistics without squares", run(rows_alone.sink(true))) &&
      succeeded("second moments alone", run(moments_alone.moments_sink()))) {
    ReferenceModel::Inputs expected;
    for (int32_t s = 0; s < c.sequences; ++s) reference.add_inputs(&tokens[s * c.context], c.context, &expected);
    checks.within("second moments", worst_moment(everything, expected), tolerance.moment);
    checks.within("second moments without gradients", worst_moment(moments_alone, expected), tolerance.moment);
    checks.within("sums of rows", worst_row(everything), 1e-4);
    rows_alone.values = everything.values;
    checks.within("sums of rows without squares", worst_row(rows_alone), 1e-4);
    double worst = 0;
    for (int32_t s = 0; s < c.sequences; ++s) worst = std::max(worst, std::abs(losses[s] - again[s]));
    checks.within("the same losses with second moments", worst, tolerance.loss);
  }
  return checks.results;
}

}  // namespace

std::vector<LanguageModelCheck> check_language_model(Backend& backend, const LanguageModelTolerance& tolerance) {
  std::vector<LanguageModelCheck> all;
  const auto append = [&](const std::vector<LanguageModelCheck>& some) {
    all.insert(all.end(), some.begin(), some.end());
  };
  for (const LanguageModelCase& c : language_model_cases()) append(check_case(backend, c, tolerance));
  append(check_packed_language_model(backend, tolerance));
  append(check_layer_pass(backend, tolerance));
  append(check_divergence(backend, tolerance));
  append(check_conduct(backend));
  return all;
}

std::vector<LanguageModelCheck> check_language_model_in_bf16(Backend& backend,
                                                             const LanguageModelTolerance& tolerance) {
  std::vector<LanguageModelCheck> all;
  for (LanguageModelCase c : language_model_cases()) {
    c.config.precision = Precision::bf16;
    const std::string name = std::string(c.name) + " in bf16";
    c.name = name.c_str();
    const std::vector<LanguageModelCheck> checks = check_case(backend, c, tolerance);
    all.insert(all.end(), checks.begin(), checks.end());
  }
  return all;
}

}  // namespace lq::contract
