#include "lm/router.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace lq::lm {
namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double scale_of(const MoeConfig& m) { return m.scale > 0 ? m.scale : 1.0; }

void softmax(double* values, int64_t n) {
  const double most = *std::max_element(values, values + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += values[i] = std::exp(values[i] - most);
  for (int64_t i = 0; i < n; ++i) values[i] /= sum;
}

// Scores of all experts from their logits.
void score(const MoeConfig& m, const float* logits, double* scores) {
  std::copy_n(logits, m.experts, scores);
  if (m.score == RouterScore::softmax) softmax(scores, m.experts);
  if (m.score == RouterScore::sigmoid) std::transform(scores, scores + m.experts, scores, sigmoid);
}

// Rules out the experts of all groups but the best, a group being worth its two best (DeepSeek-V3, section 2.1.2).
void keep_groups(const MoeConfig& m, double* choice) {
  const int64_t size = m.experts / m.groups;
  std::vector<double> worth(m.groups);
  for (int64_t g = 0; g < m.groups; ++g) {
    double best = -std::numeric_limits<double>::infinity(), second = best;
    for (int64_t i = g * size; i < (g + 1) * size; ++i) {
      if (choice[i] > best) {
        second = best;
        best = choice[i];
      } else {
        second = std::max(second, choice[i]);
      }
    }
    worth[g] = best + second;
  }
  std::vector<int32_t> order(m.groups);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return worth[a] > worth[b]; });
  for (int64_t g = m.top_groups; g < m.groups; ++g) {
    std::fill_n(choice + order[g] * size, size, -std::numeric_limits<double>::infinity());
  }
}

// A token's experts, best first, and their weights.
void choose(const MoeConfig& m, const float* correction, const float* logits, double* scratch, int32_t* experts,
            float* weights) {
  double* scores = scratch;
  double* choice = scores + m.experts;
  double* chosen = choice + m.experts;
  score(m, logits, scores);
  for (int64_t e = 0; e < m.experts; ++e) choice[e] = scores[e] + (correction == nullptr ? 0.0 : correction[e]);
  if (m.groups > 1) keep_groups(m, choice);
  for (int64_t k = 0; k < m.top_k; ++k) {
    const int64_t best = std::max_element(choice, choice + m.experts) - choice;
    experts[k] = static_cast<int32_t>(best);
    chosen[k] = scores[best];
    choice[best] = -std::numeric_limits<double>::infinity();
  }
  // Experts of groups that were ruled out are never reached: there are top_k others.
  if (m.score == RouterScore::softmax_of_chosen) softmax(chosen, m.top_k);
  const double sum = m.renormalise ? std::accumulate(chosen, chosen + m.top_k, 0.0) : 1.0;
  for (int64_t k = 0; k < m.top_k; ++k) weights[k] = static_cast<float>(chosen[k] / sum * scale_of(m));
}

void sort_pairs(const MoeConfig& m, Routing* r) {
  r->begin.assign(m.experts + 1, 0);
  for (const int32_t expert : r->experts) ++r->begin[expert + 1];
  std::partial_sum(r->begin.begin(), r->begin.end(), r->begin.begin());
  std::vector<int64_t> next(r->begin.begin(), r->begin.end() - 1);
  r->by_expert.resize(r->experts.size());
  for (size_t pair = 0; pair < r->experts.size(); ++pair) {
    r->by_expert[next[r->experts[pair]]++] = static_cast<int32_t>(pair);
  }
}

}  // namespace

Routing route(const Batch& batch, const RouterWeights& w, const float* x) {
  const MoeConfig& m = batch.config.moe;
  const int64_t hidden = batch.config.hidden, rows = batch.rows();
  Routing r;
  r.top_k = m.top_k;
  r.logits.resize(rows * m.experts);
  r.experts.resize(rows * m.top_k);
  r.weights.resize(rows * m.top_k);
  batch.for_rows([&](int64_t first, int64_t count, int32_t) {
    float* logits = &r.logits[first * m.experts];
    for (int64_t i = 0; i < count && w.bias != nullptr; ++i) std::copy_n(w.bias, m.experts, logits + i * m.experts);
    // In fp32: a choice between experts that are close must not depend on rounding.
    batch.gemm(false, true, count, m.experts, hidden, 1.0f, x + first * hidden, hidden, w.weight, hidden,
               w.bias != nullptr ? 1.0f : 0.0f, logits, m.experts);
    std::vector<double> scratch(2 * m.experts + m.top_k);
    for (int64_t row = first; row < first + count; ++row) {
      choose(m, w.correction, &r.logits[row * m.experts], scratch.data(), &r.experts[row * m.top_k],
             &r.weights[row * m.top_k]);
    }
  });
  sort_pairs(m, &r);
  return r;
}

void route_backward(const Batch& batch, const RouterWeights& w, const Routing& r, const float* d, int64_t first,
                    int64_t count, float* scratch, float* dx) {
  const MoeConfig& m = batch.config.moe;
  std::vector<double> scores(m.experts), d_chosen(m.top_k), chosen(m.top_k);
  std::fill_n(scratch, count * m.experts, 0.0f);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = first + i;
    const int32_t* experts = &r.experts[row * m.top_k];
    float* d_logits = scratch + i * m.experts;
    score(m, &r.logits[row * m.experts], scores.data());
    for (int64_t k = 0; k < m.top_k; ++k) {
      chosen[k] = scores[experts[k]];
      d_chosen[k] = d[row * m.top_k + k] * scale_of(m);
    }
    if (m.score == RouterScore::softmax_of_chosen) softmax(chosen.data(), m.top_k);
    if (m.renormalise) {
      const double sum = std::accumulate(chosen.begin(), chosen.end(), 0.0);
      const double mean = std::inner_product(chosen.begin(), chosen.end(), d_chosen.begin(), 0.0) / sum;
      for (double& g : d_chosen) g = (g - mean) / sum;
    }
    const double mean = std::inner_product(chosen.begin(), chosen.end(), d_chosen.begin(), 0.0);
    switch (m.score) {
      case RouterScore::softmax:
        for (int64_t e = 0; e < m.experts; ++e) d_logits[e] = static_cast<float>(-scores[e] * mean);
        for (int64_t k = 0; k < m.top_k; ++k) d_logits[experts[k]] += static_cast<float>(chosen[k] * d_chosen[k]);
        break;
      case RouterScore::sigmoid:
        for (int64_t k = 0; k < m.top_k; ++k) {
          d_logits[experts[k]] = static_cast<float>(d_chosen[k] * chosen[k] * (1 - chosen[k]));
        }
        break;
      case RouterScore::softmax_of_chosen:
        for (int64_t k = 0; k < m.top_k; ++k) {
          d_logits[experts[k]] = static_cast<float>(chosen[k] * (d_chosen[k] - mean));
        }
        break;
    }
  }
  const int64_t hidden = batch.config.hidden;
  batch.gemm(false, false, count, hidden, m.experts, 1.0f, scratch, m.experts, w.weight, hidden, 1.0f, dx, hidden);
}

float lone_weight(const LanguageModelConfig& c, const Routing& r, int64_t row, int64_t expert) {
  return static_cast<float>(sigmoid(r.logits[row * c.moe.experts + expert]) * scale_of(c.moe));
}

}  // namespace lq::lm
