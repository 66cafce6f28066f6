// What is promised of a language model beyond the numbers of one: divergence from another, memory, cancellation,
// refusals.
#include <algorithm>
#include <cmath>
#include <random>

#include "language_model_fixtures.h"
#include "language_model_reference.h"
#include "lm/model.h"

namespace lq::contract {

// Divergence of models of other sizes and weights, with more words than a tile of any backend, from double precision.
std::vector<LanguageModelCheck> check_divergence(Backend& backend, const LanguageModelTolerance& tolerance) {
  Checks checks("divergence");
  constexpr int32_t kSequences = 3, kContext = 9;
  LanguageModelConfig config = base(), other_config = base();
  config.vocab = other_config.vocab = 1101;
  other_config.hidden = 28;
  other_config.layers = 1;
  ReferenceModel reference(config, 7), other_reference(other_config, 8);
  LanguageModel *first = nullptr, *second = nullptr;
  backend.create_language_model(config, reference.provider(), &first);
  backend.create_language_model(other_config, other_reference.provider(), &second);
  const Model model(first), other(second);
  std::mt19937_64 random(11);
  std::vector<int32_t> tokens(kSequences * kContext);
  for (int32_t& t : tokens) t = static_cast<int32_t>(random() % config.vocab);

  constexpr size_t kPredictions = kSequences * (kContext - 1);
  struct Result {
    std::vector<double> losses = std::vector<double>(kSequences), other_losses = losses;
    std::vector<float> kl = std::vector<float>(kPredictions);
    std::vector<uint8_t> same_top = std::vector<uint8_t>(kPredictions);
    Divergence out() { return {losses.data(), other_losses.data(), kl.data(), same_top.data()}; }
  };
  Result found, itself;
  const Status status = first->divergence(second, tokens.data(), kSequences, kContext, found.out(), {});
  checks.add("runs", status.code == StatusCode::ok, status.message);
  double losses = 0, kl = 0;
  bool tops = true;
  for (int32_t s = 0; s < kSequences; ++s) {
    const int32_t* ids = &tokens[s * kContext];
    losses = std::max({losses, std::abs(found.losses[s] - reference.loss(ids, kContext)),
                       std::abs(found.other_losses[s] - other_reference.loss(ids, kContext))});
    const std::vector<double> p = reference.logits(ids, kContext), q = other_reference.logits(ids, kContext);
    for (int32_t t = 0; t + 1 < kContext; ++t) {
      const auto a = p.begin() + int64_t{t} * config.vocab, b = q.begin() + int64_t{t} * config.vocab;
      double sum_a = 0, sum_b = 0, expected = 0;
      for (int32_t w = 0; w < config.vocab; ++w) {
        sum_a += std::exp(a[w]);
        sum_b += std::exp(b[w]);
      }
      for (int32_t w = 0; w < config.vocab; ++w) {
        expected += std::exp(a[w]) / sum_a * (a[w] - std::log(sum_a) - b[w] + std::log(sum_b));
      }
      const int32_t at = s * (kContext - 1) + t;
      kl = std::max(kl, std::abs(found.kl[at] - expected));
      const bool same = std::max_element(a, a + config.vocab) - a == std::max_element(b, b + config.vocab) - b;
      tops = tops && found.same_top[at] == (same ? 1 : 0);
    }
  }
  checks.within("losses of both", losses, tolerance.loss);
  checks.within("divergence of each prediction", kl, 4 * tolerance.loss);
  checks.add("the same likeliest tokens", tops, "");
  first->divergence(first, tokens.data(), kSequences, kContext, itself.out(), {});
  checks.within("a model does not differ from itself", *std::max_element(itself.kl.begin(), itself.kl.end()), 1e-6);
  checks.add("and agrees with itself",
             std::all_of(itself.same_top.begin(), itself.same_top.end(), [](uint8_t same) { return same == 1; }), "");
  ReferenceModel strange(base(), 7);
  LanguageModel* third = nullptr;
  backend.create_language_model(base(), strange.provider(), &third);
  const Model another(third);
  const Status refused = first->divergence(third, tokens.data(), kSequences, kContext, found.out(), {});
  checks.add("another vocabulary is refused", refused.code == StatusCode::invalid_argument, refused.message);
  return checks.results;
}

// What is promised beyond numbers.
std::vector<LanguageModelCheck> check_conduct(Backend& backend) {
  Checks checks("conduct");
  ReferenceModel reference(base(), 7);
  LanguageModel* created = nullptr;
  if (backend.create_language_model(base(), reference.provider(), &created).code != StatusCode::ok) {
    checks.add("create", false, "");
    return checks.results;
  }
  const Model model(created);
  const std::vector<int32_t> tokens(3 * 8, 5);
  std::vector<double> losses(3);

  Sums all, first;
  first.only_first_layer = true;
  model.model->calibrate(tokens.data(), 3, 8, all.sink(), losses.data(), {});
  model.model->calibrate(tokens.data(), 3, 8, first.sink(), losses.data(), {});
  bool same = first.values.size() == kMatrices.size();
  for (const auto& [place, values] : first.values) {
    for (size_t i = 0; i < values.size(); ++i) {
      same = same && std::abs(values[i] - all.values[place][i]) <= 1e-5f * all.values[place][i];
    }
  }
  checks.add("matrices that are not wanted change nothing", same, "");

  struct Watcher {
    double done = 0, total = 0;
    bool ordered = true;
    int polls = 0, stop_at = 1 << 30;
  } watcher;
  const Control control{&watcher,
                        [](void* user) {
                          auto* w = static_cast<Watcher*>(user);
                          return ++w->polls > w->stop_at;
                        },
                        [](void* user, double done, double total) {
                          auto* w = static_cast<Watcher*>(user);
                          w->ordered = w->ordered && done >= w->done && done <= total;
                          w->done = done;
                          w->total = total;
                        }};
  model.model->losses(tokens.data(), 3, 8, losses.data(), control);
  checks.add("progress counts sequences", watcher.ordered && std::abs(watcher.done - 3) < 1e-9 && watcher.total == 3,
             std::to_string(watcher.done));
  watcher.polls = 0;
  watcher.stop_at = 3;
  const Status stopped = model.model->losses(tokens.data(), 3, 8, losses.data(), control);
  checks.add("a cancelled run says so", stopped.code == StatusCode::cancelled, stopped.message);

  std::vector<int32_t> beyond = tokens;
  beyond[9] = base().vocab;
  const Status refused = model.model->losses(beyond.data(), 3, 8, losses.data(), {});
  checks.add("a token beyond the vocabulary is refused with its place",
             refused.code == StatusCode::invalid_argument && refused.index == 9, refused.message);

  WeightProvider failing = reference.provider();
  failing.load = [](void*, int32_t layer, WeightKind, int32_t, float*, int64_t) {
    return Status{layer == 1 ? StatusCode::io_error : StatusCode::ok, 5, "the disk is gone"};
  };
  LanguageModel* second = nullptr;
  backend.create_language_model(base(), failing, &second);
  const Model broken(second);
  const Status failed = broken.model->losses(tokens.data(), 3, 8, losses.data(), {});
  checks.add("a weight that fails ends the run with its status",
             failed.code == StatusCode::io_error && failed.index == 5, failed.message);

  LanguageModelConfig impossible = base();
  impossible.kv_heads = 3;
  LanguageModel* third = nullptr;
  const Status odd = backend.create_language_model(impossible, reference.provider(), &third);
  checks.add("impossible dimensions are refused", odd.code == StatusCode::invalid_argument && third == nullptr,
             odd.message);
  return checks.results;
}

std::vector<LanguageModelCheck> check_cpu_language_model_memory() {
  Checks checks("memory");
  constexpr int32_t kSequences = 5, kContext = 9;
  ReferenceModel reference(base(), 7);
  std::mt19937_64 random(11);
  std::vector<int32_t> tokens(kSequences * kContext);
  for (int32_t& t : tokens) t = static_cast<int32_t>(random() % base().vocab);
  const auto run = [&](const lm::Memory& memory, std::vector<double>* losses) {
    Sums sums;
    losses->resize(kSequences);
    LanguageModel* created = nullptr;
    if (lm::create_language_model(base(), reference.provider(), &created, memory).code != StatusCode::ok) return sums;
    const Model model(created);
    const Status status = model.model->calibrate(tokens.data(), kSequences, kContext, sums.sink(), losses->data(), {});
    checks.add("runs", status.code == StatusCode::ok, status.message);
    return sums;
  };
  std::vector<double> kept_losses, again_losses;
  const Sums kept = run({}, &kept_losses);
  const Sums again = run({1, 1}, &again_losses);
  double worst = 0;
  for (const auto& [place, values] : kept.values) {
    const std::vector<float>& others = again.values.at(place);
    for (size_t i = 0; i < values.size(); ++i) {
      worst = std::max<double>(worst, std::abs(values[i] - others[i]) / (values[i] + 1e-12));
    }
  }
  checks.add("every matrix", kept.values.size() == kMatrices.size() * base().layers, "");
  checks.within("squared gradients, one sequence at a time and computed again", worst, 1e-4);
  worst = 0;
  for (int32_t s = 0; s < kSequences; ++s) worst = std::max(worst, std::abs(kept_losses[s] - again_losses[s]));
  checks.within("losses, one sequence at a time", worst, 1e-6);
  return checks.results;
}

}  // namespace lq::contract
