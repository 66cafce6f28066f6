// The pass in layer order against two models in double precision: one dense, one with every matrix replaced. What an
// input sees depends on what was replaced before it alone, so the second model has all the encoded stream's inputs.
#include <algorithm>
#include <cmath>
#include <random>

#include "language_model_fixtures.h"
#include "language_model_reference.h"

namespace lq::contract {
namespace {

struct FreePass {
  explicit FreePass(LayerPass* p) : pass(p) {}
  ~FreePass() { pass->destroy(); }
  LayerPass* pass;
};

constexpr BlockInput kOrder[] = {BlockInput::attention, BlockInput::output, BlockInput::mlp, BlockInput::down};

std::vector<WeightKind> readers(BlockInput input) {
  switch (input) {
    case BlockInput::attention:
      return {WeightKind::q, WeightKind::k, WeightKind::v};
    case BlockInput::output:
      return {WeightKind::o};
    case BlockInput::mlp:
      return {WeightKind::gate, WeightKind::up};
    default:
      return {WeightKind::down};
  }
}

double worst_of(const std::vector<float>& found, const std::vector<double>& expected, double tokens) {
  double largest = 0, worst = 0;
  for (const double x : expected) largest = std::max(largest, std::abs(x) / tokens);
  for (size_t i = 0; i < found.size(); ++i) worst = worse(worst, std::abs(found[i] - expected[i] / tokens));
  return worst / (largest + 1e-30);
}

using Rows = std::vector<std::vector<double>>;

Rows difference_of(Rows x, const Rows& y) {
  for (size_t t = 0; t < x.size(); ++t) {
    for (size_t i = 0; i < x[t].size(); ++i) x[t][i] -= y[t][i];
  }
  return x;
}

// The inputs that `dense` has at the tokens at which `encoded` has those of an expert, which reads them as they are.
Rows same_tokens(const Rows& dense, const Rows& encoded, const Rows& of_expert) {
  Rows out;
  for (const std::vector<double>& x : of_expert) {
    out.push_back(dense[std::find(encoded.begin(), encoded.end(), x) - encoded.begin()]);
  }
  return out;
}

std::vector<LanguageModelCheck> check_pass(Backend& backend, const LanguageModelTolerance& tolerance, const char* name,
                                           const LanguageModelConfig& config) {
  Checks checks(name);
  constexpr int32_t kSequences = 3, kContext = 11;
  ReferenceModel dense(config, 7), encoded(config, 7);
  std::mt19937_64 random(13);
  std::normal_distribution<double> noise(0, 0.1);
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    for (int32_t expert = kNoExpert; expert < config.moe.experts; ++expert) {
      for (const WeightKind kind : kMatrices) {
        std::vector<double>* weight = encoded.weight(layer, kind, expert);
        if (weight == nullptr || (layer == 0 && kind == WeightKind::up)) continue;  // one stays as it is
        for (double& x : *weight) x = static_cast<float>(x + noise(random));
      }
    }
  }
  std::vector<int32_t> tokens(kSequences * kContext);
  for (int32_t& t : tokens) t = static_cast<int32_t>(random() % config.vocab);
  ReferenceModel::Inputs of_dense, of_encoded;
  for (int32_t s = 0; s < kSequences; ++s) {
    dense.add_inputs(&tokens[s * kContext], kContext, &of_dense);
    encoded.add_inputs(&tokens[s * kContext], kContext, &of_encoded);
  }

  LanguageModel* created = nullptr;
  if (backend.create_language_model(config, dense.provider(), &created).code != StatusCode::ok) {
    checks.add("create", false, "");
    return checks.results;
  }
  const Model model(created);
  LayerPass* opened = nullptr;
  const Status opening = model.model->open_layer_pass(tokens.data(), kSequences, kContext, &opened);
  if (opening.code != StatusCode::ok) {
    checks.add("open", false, opening.message);
    return checks.results;
  }
  const FreePass free(opened);
  double moments = 0, crosses = 0, of_experts = 0, crosses_of_experts = 0;
  Status status{StatusCode::ok, -1, {}};
  const auto run = [&](const Status& s) {
    if (status.code == StatusCode::ok) status = s;
  };
  for (int32_t layer = 0; layer < config.layers; ++layer) {
    for (const BlockInput input : kOrder) {
      const auto& x = of_encoded.at({layer, input, kNoExpert});
      const Rows difference = difference_of(of_dense.at({layer, input, kNoExpert}), x);
      std::vector<float> moment_of(x.front().size() * x.front().size()), cross(moment_of.size());
      run(opened->moments(layer, input, kNoExpert, moment_of.data(), cross.data(), {}));
      const auto count = static_cast<double>(tokens.size());
      for (int32_t e = 0; e < config.moe.experts; ++e) {
        const auto found = of_encoded.find({layer, input, e});
        if (found == of_encoded.end()) continue;
        const Rows& own = found->second;
        std::vector<float> second(own.front().size() * own.front().size()), crossed(second.size());
        run(opened->moments(layer, input, e, second.data(), crossed.data(), {}));
        of_experts = worse(of_experts, worst_of(second, moment(own, own), count));
        if (input != BlockInput::mlp) continue;
        const Rows of_f = same_tokens(of_dense.at({layer, input, kNoExpert}), x, own);
        crosses_of_experts = worse(crosses_of_experts, worst_of(crossed, moment(difference_of(of_f, own), own), count));
      }
      moments = worse(moments, worst_of(moment_of, moment(x, x), count));
      if (layer > 0 || input != BlockInput::attention) {
        crosses = worse(crosses, worst_of(cross, moment(difference, x), count));
      } else {
        checks.add("streams begin as one", std::all_of(cross.begin(), cross.end(), [](float v) { return v == 0; }), "");
      }
      for (int32_t expert = kNoExpert; expert < config.moe.experts; ++expert) {
        for (const WeightKind kind : readers(input)) {
          const std::vector<double>* values = encoded.weight(layer, kind, expert);
          if (values == nullptr) continue;
          const std::vector<float> rounded(values->begin(), values->end());
          run(opened->replace(layer, kind, expert, rounded.data(), static_cast<int64_t>(rounded.size())));
        }
      }
      if (input == BlockInput::mlp) {
        const auto late = opened->replace(layer, WeightKind::q, kNoExpert, moment_of.data(), 1);
        checks.add("what was left behind is not replaced", late.code == StatusCode::invalid_argument, late.message);
      }
    }
    run(opened->advance(layer, {}));
  }
  checks.add("runs", status.code == StatusCode::ok, status.message);
  checks.within("second moments of the encoded stream", moments, tolerance.moment);
  checks.within("cross moments", crosses, 10 * tolerance.moment);
  if (config.moe.experts > 0) {
    checks.within("second moments of experts", of_experts, kExpertSlack * tolerance.moment);
    checks.within("cross moments of experts", crosses_of_experts, 10 * tolerance.moment);
  }
  std::vector<float> none(1);
  const Status beyond = opened->moments(config.layers, BlockInput::attention, kNoExpert, none.data(), nullptr, {});
  checks.add("there is no block after the last", beyond.code == StatusCode::invalid_argument, beyond.message);
  return checks.results;
}

}  // namespace

std::vector<LanguageModelCheck> check_layer_pass(Backend& backend, const LanguageModelTolerance& tolerance) {
  LanguageModelConfig config = base();
  config.qk_norm = true;
  config.attention_bias = config.output_bias = config.mlp_bias = true;
  std::vector<LanguageModelCheck> all = check_pass(backend, tolerance, "layer pass", config);
  LanguageModelConfig routed = base();
  constexpr LayerTraits kTraits[] = {{0, LayerRotary::standard, 14, true}, {0, LayerRotary::standard, 28, false}};
  routed.traits = kTraits;
  routed.moe.experts = 4;
  routed.moe.top_k = 2;
  routed.moe.intermediate = 10;
  routed.moe.renormalise = true;
  const auto more = check_pass(backend, tolerance, "layer pass with experts", routed);
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace lq::contract
