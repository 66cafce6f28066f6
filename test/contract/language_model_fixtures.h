// What the checks of language models share.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <tuple>
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

// Everything a calibration can sum, by place. `moments` and `rows` are only asked for when wanted.
struct Sums {
  std::map<std::tuple<int32_t, WeightKind, int32_t>, std::vector<float>> values;
  std::map<std::tuple<int32_t, WeightKind, int32_t>, std::vector<double>> rows;
  std::map<std::tuple<int32_t, BlockInput, int32_t>, std::vector<float>> moments;
  bool only_first_layer = false;
  bool squares = true;  // whether elementwise ones are wanted

  CalibrationSink sink(bool everything = false) {
    CalibrationSink sink{this};
    sink.squares = [](void* user, int32_t layer, WeightKind kind, int32_t expert, int64_t rows,
                      int64_t cols) -> float* {
      auto* self = static_cast<Sums*>(user);
      return self->squares ? self->array(&self->values, layer, kind, expert, rows * cols) : nullptr;
    };
    if (!everything) return sink;
    sink.row_squares = [](void* user, int32_t layer, WeightKind kind, int32_t expert, int64_t rows) {
      auto* self = static_cast<Sums*>(user);
      return self->array(&self->rows, layer, kind, expert, rows);
    };
    sink.second_moment = [](void* user, int32_t layer, BlockInput input, int32_t expert, int64_t n) {
      auto* self = static_cast<Sums*>(user);
      return self->array(&self->moments, layer, input, expert, n * n);
    };
    return sink;
  }

  // Second moments alone.
  CalibrationSink moments_sink() {
    CalibrationSink sink = this->sink(true);
    sink.squares = nullptr;
    sink.row_squares = nullptr;
    return sink;
  }

 private:
  template <typename Key, typename Number>
  Number* array(std::map<std::tuple<int32_t, Key, int32_t>, std::vector<Number>>* sums, int32_t layer, Key key,
                int32_t expert, int64_t count) {
    if (only_first_layer && layer > 0) return nullptr;
    auto& v = (*sums)[{layer, key, expert}];
    if (v.empty()) v.resize(static_cast<size_t>(count), 0);
    return v.data();
  }
};

// The larger of a deviation and the worst so far; what is no number is worse than all.
inline double worse(double worst, double deviation) {
  return std::isnan(deviation) ? INFINITY : std::max(worst, deviation);
}

// Sum over tokens of a b^T, [n, n].
inline std::vector<double> moment(const std::vector<std::vector<double>>& a,
                                  const std::vector<std::vector<double>>& b) {
  const size_t n = a.front().size();
  std::vector<double> sum(n * n, 0.0);
  for (size_t t = 0; t < a.size(); ++t) {
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) sum[i * n + j] += a[t][i] * b[t][j];
    }
  }
  return sum;
}

// An expert's inputs are a few tokens', whose rounding is not averaged.
inline constexpr double kExpertSlack = 3;

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

// Divergence of models of other sizes and weights, with more words than a tile of any backend, from double precision.
std::vector<LanguageModelCheck> check_divergence(Backend& backend, const LanguageModelTolerance& tolerance);

// What is promised beyond numbers.
std::vector<LanguageModelCheck> check_conduct(Backend& backend);

// The pass in layer order.
std::vector<LanguageModelCheck> check_layer_pass(Backend& backend, const LanguageModelTolerance& tolerance);

}  // namespace lq::contract
