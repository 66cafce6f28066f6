// What the checks of language models share.
#pragma once

#include <array>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "language_model.h"

namespace lq::contract {

inline constexpr std::array<WeightKind, 7> kMatrices{WeightKind::q,    WeightKind::k,  WeightKind::v,   WeightKind::o,
                                                     WeightKind::gate, WeightKind::up, WeightKind::down};

// A small model whose sizes are no multiples of anything.
inline LanguageModelConfig base() {
  LanguageModelConfig c{};
  c.layers = 2;
  c.hidden = 20;  // not heads * head_dim
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 6;
  c.intermediate = 28;
  c.vocab = 37;
  c.max_positions = 64;
  c.rms_eps = 1e-5f;
  c.rope_theta = 100;  // short wavelengths, so that a few positions tell the scalings apart
  c.rope_factor = 1;
  c.rope_attention_factor = 1;
  return c;
}

// Frees a model.
struct Model {
  explicit Model(LanguageModel* m) : model(m) {}
  ~Model() { model->destroy(); }
  LanguageModel* model;
};

// A matrix's accumulated squared gradients by place.
struct Sums {
  std::map<std::pair<int32_t, WeightKind>, std::vector<float>> values;
  bool only_first_layer = false;

  FisherSink sink() {
    return {this, [](void* user, int32_t layer, WeightKind kind, int64_t rows, int64_t cols) -> float* {
              auto* self = static_cast<Sums*>(user);
              if (self->only_first_layer && layer > 0) return nullptr;
              auto& v = self->values[{layer, kind}];
              if (v.empty()) v.resize(rows * cols, 0.0f);
              return v.data();
            }};
  }
};

class Checks {
 public:
  explicit Checks(std::string prefix) : prefix_(std::move(prefix)) {}
  std::vector<LanguageModelCheck> results;

  void add(const std::string& name, bool passed, const std::string& detail) {
    results.push_back({"language model, " + prefix_ + ": " + name, passed, detail});
  }
  void within(const std::string& name, double worst, double allowed) {
    char detail[96];
    std::snprintf(detail, sizeof detail, "worst %.2e, allowed %.2e", worst, allowed);
    add(name, worst <= allowed, detail);
  }

 private:
  const std::string prefix_;
};

// A packed model is the model that its matrices put together make.
std::vector<LanguageModelCheck> check_packed_language_model(Backend& backend, const LanguageModelTolerance& tolerance);

}  // namespace lq::contract
