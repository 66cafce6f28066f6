// The transformer in double precision, written for reading: one sequence, one position, one head at a time.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <tuple>
#include <vector>

#include "lq/language_model.h"

namespace lq::contract {

// A random model: weights rounded to fp32, so that the reference and a backend compute with the same numbers.
class ReferenceModel {
 public:
  ReferenceModel(const LanguageModelConfig& config, uint64_t seed);

  const LanguageModelConfig config;

  // The weight the config gives a place, or null.
  std::vector<double>* weight(int32_t layer, WeightKind kind, int32_t expert = kNoExpert);
  WeightProvider provider();

  // Logits [context, vocab].
  std::vector<double> logits(const int32_t* tokens, int64_t context) const;
  // Mean cross entropy of the predictions.
  double loss(const int32_t* tokens, int64_t context) const;
  // Adds every token's input of every block's matrices.
  using Inputs = std::map<std::tuple<int32_t, BlockInput, int32_t>, std::vector<std::vector<double>>>;
  void add_inputs(const int32_t* tokens, int64_t context, Inputs* inputs);
  // d(loss)/d(weight[index]) by central differences.
  double derivative(int32_t layer, WeightKind kind, int64_t index, const int32_t* tokens, int64_t context,
                    int32_t expert = kNoExpert);

 private:
  const std::vector<double>& at(int32_t layer, WeightKind kind, int32_t expert = kNoExpert) const {
    return weights_.at({layer, kind, expert});
  }
  const std::vector<double>* find(int32_t layer, WeightKind kind, int32_t expert = kNoExpert) const;
  void attention(int32_t layer, std::vector<std::vector<double>>* x) const;
  // Adds the MLP of `source` to x.
  void mlp(int32_t layer, const std::vector<double>& source, std::vector<double>* x) const;
  std::pair<WeightKind, int64_t> origin(WeightKind kind, int64_t index, int32_t expert = kNoExpert) const;
  std::vector<double> angles(int64_t position, int64_t context, bool local) const;
  std::vector<double> normalized(int32_t layer, WeightKind weight, WeightKind bias, std::vector<double> x) const;
  std::vector<double> norm_by(int32_t layer, WeightKind weight, WeightKind bias, std::vector<double> x) const;
  void join(int32_t layer, WeightKind norm, WeightKind bias, std::vector<double> half, std::vector<double>* x) const;
  // down(f(gate(x), up(x))) of the layer or of one of its experts.
  std::vector<double> dense(int32_t layer, int32_t expert, const std::vector<double>& x) const;
  // The weight of every expert for a token, 0 for those that were not chosen.
  std::vector<double> route(int32_t layer, const std::vector<double>& x) const;

  void record(int32_t layer, BlockInput input, const std::vector<double>& x, int32_t expert = kNoExpert) const;

  std::map<std::tuple<int32_t, WeightKind, int32_t>, std::vector<double>> weights_;
  Inputs* inputs_ = nullptr;  // where they are recorded
};

}  // namespace lq::contract
