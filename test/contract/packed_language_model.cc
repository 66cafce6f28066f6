// Models whose matrices stay packed, against the same ones expanded.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <tuple>

#include "encoding_reference.h"
#include "language_model_fixtures.h"
#include "language_model_reference.h"
#include "suite.h"

namespace lq::contract {
namespace {

EncodeOption option(GridKind grid, int32_t bits, ScaleKind scales, Transform transform, int32_t rank) {
  EncodeOption o{};
  o.grid = grid;
  o.bits = bits;
  o.step = 1;
  o.states = 12;
  o.scales = scales;
  o.config = {bits, 4, ScaleDtype::BF16, 32, 16};
  o.group = 12;
  o.transform = transform;
  o.rank = rank;
  return o;
}

// A model most of whose matrices are packed, those of experts too, each kind in a form of its own, with and without
// factors; v is not.
class PackedModel {
 public:
  explicit PackedModel(const LanguageModelConfig& config) : dense_(config, 7) {
    for (int32_t layer = 0; layer < config.layers; ++layer) {
      for (size_t i = 0; i < kMatrices.size(); ++i) {
        for (int32_t expert = kNoExpert; expert < config.moe.experts; ++expert) {
          const bool there = dense_.weight(layer, kMatrices[i], expert) != nullptr;
          if (there && kMatrices[i] != WeightKind::v) pack({layer, kMatrices[i], expert}, static_cast<int32_t>(i));
        }
      }
    }
  }

  int64_t asked_packed = 0, asked_expanded = 0;

  WeightProvider provider(bool offer_packed) { return {this, load, offer_packed ? load_packed : nullptr}; }

 private:
  using Key = std::tuple<int32_t, WeightKind, int32_t>;
  struct Weight {
    std::unique_ptr<Encoded> encoded;
    std::vector<float> l1, l2;
  };

  void pack(const Key& key, int32_t i) {
    static const CodeBook nf3 = normal_float(3);
    EncodeOption options[] = {
        option(GridKind::nf, 3, ScaleKind::two_level, Transform::none, 2),
        option(GridKind::trellis, 2, ScaleKind::row, Transform::hadamard, 0),
        {},  // v
        option(GridKind::fitted, 3, ScaleKind::group, Transform::hadamard, 4),
        option(GridKind::trellis, 5, ScaleKind::row, Transform::hadamard, 2),
        option(GridKind::integer, 4, ScaleKind::row, Transform::scaled, 0),
        option(GridKind::trellis, 3, ScaleKind::row, Transform::none, 0),
    };
    options[0].book = &nf3;
    options[4].step = 2;
    options[4].tail_biting = true;
    options[6].states = 14;
    const LanguageModelConfig& c = dense_.config;
    const auto& [layer, kind, expert] = key;
    const int64_t inner = expert == kNoExpert ? traits_of(c, layer).width : c.moe.intermediate;
    const int64_t cols = kind == WeightKind::o ? c.heads * c.head_dim : kind == WeightKind::down ? inner : c.hidden;
    const int64_t rows = static_cast<int64_t>(dense_.weight(layer, kind, expert)->size()) / cols;
    const EncodeOption& o = options[i];
    Weight& w = weights_[key];
    const auto seed = static_cast<uint64_t>(31 + i + 100 * layer + 10 * expert);
    w.encoded = random_encoding(o, rows, cols, o.grid == GridKind::integer ? 0.02 : 0.1, seed);
    w.l1 = gaussian(rows * o.rank, seed, 0.2);
    w.l2 = gaussian(o.rank * cols, seed + 1, 0.2);
  }

  static Status load(void* user, int32_t layer, WeightKind kind, int32_t expert, float* out, int64_t count) {
    auto* self = static_cast<PackedModel*>(user);
    const auto found = self->weights_.find({layer, kind, expert});
    if (found == self->weights_.end()) {
      const WeightProvider dense = self->dense_.provider();
      return dense.load(dense.user, layer, kind, expert, out, count);
    }
    ++self->asked_expanded;
    const std::vector<float> weight = decoded(found->second.encoded->view, found->second.l1, found->second.l2);
    std::copy(weight.begin(), weight.end(), out);
    return {StatusCode::ok, -1, {}};
  }

  static Status load_packed(void* user, int32_t layer, WeightKind kind, int32_t expert, PackedWeight* out,
                            bool* found) {
    auto* self = static_cast<PackedModel*>(user);
    const auto at = self->weights_.find({layer, kind, expert});
    *found = at != self->weights_.end();
    if (*found) {
      ++self->asked_packed;
      *out = {at->second.encoded->view, at->second.l1.data(), at->second.l2.data()};
    }
    return {StatusCode::ok, -1, {}};
  }

  ReferenceModel dense_;
  std::map<Key, Weight> weights_;
};

}  // namespace

std::vector<LanguageModelCheck> check_packed_language_model(Backend& backend, const LanguageModelTolerance& tolerance) {
  Checks checks("packed");
  LanguageModelConfig wide = base();  // sizes without padding, beside those of base() with it
  wide.hidden = 128;
  wide.heads = 4;
  wide.kv_heads = 2;
  wide.head_dim = 32;
  wide.intermediate = 256;
  LanguageModelConfig routed = base();
  constexpr LayerTraits kTraits[] = {{0, LayerRotary::standard, 14, true}, {0, LayerRotary::standard, 28, false}};
  routed.traits = kTraits;
  routed.moe.experts = 4;
  routed.moe.top_k = 2;
  routed.moe.intermediate = 10;
  for (const LanguageModelConfig& config : {base(), wide, routed}) {
    constexpr int32_t kSequences = 3, kContext = 23;
    std::mt19937_64 random(11);
    std::vector<int32_t> tokens(kSequences * kContext);
    for (int32_t& t : tokens) t = static_cast<int32_t>(random() % config.vocab);
    PackedModel weights(config);
    struct Results {
      std::vector<double> losses = std::vector<double>(kSequences), with_gradients = losses, after = losses;
      std::vector<float> logits;
      Sums sums;
    };
    const auto run = [&](bool packed, Results* out) {
      out->logits.resize(static_cast<size_t>(kContext) * config.vocab);
      LanguageModel* created = nullptr;
      if (backend.create_language_model(config, weights.provider(packed), &created).code != StatusCode::ok)
        return false;
      const Model model(created);
      LanguageModel* m = model.model;
      const auto done = [](const Status& status) { return status.code == StatusCode::ok; };
      weights.asked_packed = weights.asked_expanded = 0;
      if (!done(m->losses(tokens.data(), kSequences, kContext, out->losses.data(), {})) ||
          !done(m->logits(tokens.data(), kContext, out->logits.data(), {}))) {
        return false;
      }
      const bool ran =
          done(m->calibrate(tokens.data(), kSequences, kContext, out->sums.sink(), out->with_gradients.data(), {})) &&
          done(m->losses(tokens.data(), kSequences, kContext, out->after.data(), {}));
      // Gradients need no other form than losses.
      checks.add("a matrix is asked for in one form", weights.asked_packed == 0 || weights.asked_expanded == 0, "");
      return ran;
    };
    Results expanded, packed;
    if (!run(false, &expanded) || !run(true, &packed)) {
      checks.add("runs", false, "");
      return checks.results;
    }
    const auto worst = [](const auto& a, const auto& b) {
      double out = 0;
      for (size_t i = 0; i < a.size(); ++i) out = std::max<double>(out, std::abs(a[i] - b[i]));
      return out;
    };
    // Each is within the tolerance of the exact ones.
    checks.within("losses", worst(packed.losses, expanded.losses), 2 * tolerance.loss);
    checks.within("logits", worst(packed.logits, expanded.logits), 2 * tolerance.logits);
    checks.within("losses with gradients", worst(packed.with_gradients, expanded.with_gradients), 2 * tolerance.loss);
    checks.within("losses after gradients", worst(packed.after, expanded.after), 2 * tolerance.loss);
    double gradients = packed.sums.values.size() == expanded.sums.values.size() ? 0 : 1;
    for (const auto& [place, values] : expanded.sums.values) {
      const double largest = *std::max_element(values.begin(), values.end());
      gradients = std::max(gradients, worst(packed.sums.values[place], values) / (largest + 1e-30));
    }
    // Packed forms are put together in another order, in operands of 16 bits of mantissa.
    checks.within("squared gradients", gradients, 1e-4);
  }
  return checks.results;
}

}  // namespace lq::contract
