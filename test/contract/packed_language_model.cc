// Models whose matrices stay packed, against the same ones expanded.
#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "language_model_fixtures.h"
#include "language_model_reference.h"
#include "suite.h"

namespace lq::contract {
namespace {

// A model most of whose matrices are packed, every kind in a configuration of its own, with and without factors; v is
// not.
class PackedModel {
 public:
  PackedModel(Backend& backend, const LanguageModelConfig& config) : backend_(backend), dense_(config, 7) {
    for (int32_t layer = 0; layer < config.layers; ++layer) {
      for (size_t i = 0; i < kMatrices.size(); ++i) {
        if (kMatrices[i] != WeightKind::v) pack(layer, kMatrices[i], static_cast<int32_t>(i));
      }
    }
  }

  int64_t asked_packed = 0, asked_expanded = 0;

  WeightProvider provider(bool offer_packed) { return {this, load, offer_packed ? load_packed : nullptr}; }

 private:
  struct Weight {
    CodeBook book;
    std::vector<uint8_t> codes, scales, groups;
    QuantizedView view;
    std::vector<float> l1, l2;
    int64_t rows, cols;
    int32_t rank;
  };

  void pack(int32_t layer, WeightKind kind, int32_t i) {
    const std::vector<double>& values = *dense_.weight(layer, kind);
    const LanguageModelConfig& c = dense_.config;
    Weight& w = weights_[{layer, kind}];
    w.cols = kind == WeightKind::o ? c.heads * c.head_dim : kind == WeightKind::down ? c.intermediate : c.hidden;
    w.rows = static_cast<int64_t>(values.size()) / w.cols;
    w.rank = i % 3 * 2;
    w.book = normal_float(i % 3 + 2);
    const QuantConfig config{w.book.bits, i % 2 + 3, static_cast<ScaleDtype>(i % 3), 16 << i % 3, 16};
    const auto count = static_cast<int64_t>(values.size());
    w.codes.resize(code_bytes(config, count));
    w.scales.resize(scale_bytes(config, count));
    w.groups.resize(group_bytes(config, count));
    w.view = {config, &w.book, count, w.codes.data(), w.scales.data(), w.groups.data(), 0};
    const std::vector<float> rounded(values.begin(), values.end());
    backend_.quantize({rounded.data(), Dtype::F32, w.rows, w.cols}, &w.view, {});
    w.l1 = gaussian(w.rows * w.rank, 31 + i, 0.2);
    w.l2 = gaussian(w.rank * w.cols, 41 + i, 0.2);
  }

  static Status load(void* user, int32_t layer, WeightKind kind, int32_t expert, float* out, int64_t count) {
    auto* self = static_cast<PackedModel*>(user);
    const auto found = self->weights_.find({layer, kind});
    if (found == self->weights_.end()) {
      const WeightProvider dense = self->dense_.provider();
      return dense.load(dense.user, layer, kind, expert, out, count);
    }
    ++self->asked_expanded;
    const Weight& w = found->second;
    return self->backend_.reconstruct(w.view, w.l1.data(), w.l2.data(), w.rows, w.cols, w.rank, out, {});
  }

  static Status load_packed(void* user, int32_t layer, WeightKind kind, PackedWeight* out, bool* found) {
    auto* self = static_cast<PackedModel*>(user);
    const auto at = self->weights_.find({layer, kind});
    *found = at != self->weights_.end();
    if (*found) {
      ++self->asked_packed;
      *out = {at->second.view, at->second.l1.data(), at->second.l2.data(), at->second.rank};
    }
    return {StatusCode::ok, -1, {}};
  }

  Backend& backend_;
  ReferenceModel dense_;
  std::map<std::pair<int32_t, WeightKind>, Weight> weights_;
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
  for (const LanguageModelConfig& config : {base(), wide}) {
    constexpr int32_t kSequences = 3, kContext = 23;
    std::mt19937_64 random(11);
    std::vector<int32_t> tokens(kSequences * kContext);
    for (int32_t& t : tokens) t = static_cast<int32_t>(random() % config.vocab);
    PackedModel weights(backend, config);
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
      checks.add("a matrix is asked for in one form", weights.asked_packed == 0 || weights.asked_expanded == 0, "");
      return done(
                 m->calibrate(tokens.data(), kSequences, kContext, out->sums.sink(), out->with_gradients.data(), {})) &&
             done(m->losses(tokens.data(), kSequences, kContext, out->after.data(), {}));
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
    checks.within("squared gradients", gradients, 1e-5);
  }
  return checks.results;
}

}  // namespace lq::contract
