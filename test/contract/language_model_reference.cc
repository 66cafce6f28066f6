#include "language_model_reference.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lq::contract {
namespace {

using Vector = std::vector<double>;
using Kind = WeightKind;

Vector multiply(const Vector& w, const Vector& x, const Vector* bias) {
  const size_t rows = w.size() / x.size();
  Vector y(rows, 0.0);
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < x.size(); ++j) y[i] += w[i * x.size() + j] * x[j];
    if (bias != nullptr) y[i] += (*bias)[i];
  }
  return y;
}

void rms_norm(const double* weight, double offset, double eps, double* x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += x[i] * x[i];
  const double scale = 1 / std::sqrt(sum / static_cast<double>(n) + eps);
  for (size_t i = 0; i < n; ++i) x[i] *= scale * (weight[i] + offset);
}

// A null bias is 0.
void layer_norm(const double* weight, double offset, const double* bias, double eps, double* x, size_t n) {
  double mean = 0, variance = 0;
  for (size_t i = 0; i < n; ++i) mean += x[i] / static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean) / static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) {
    x[i] = (x[i] - mean) / std::sqrt(variance + eps) * (weight[i] + offset) + (bias == nullptr ? 0 : bias[i]);
  }
}

double activation(Activation f, double x) {
  switch (f) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu_tanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::gelu:
      return x / 2 * std::erfc(-x / std::numbers::sqrt2);
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::gelu_quick:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::identity:
      return x;
    default:
      return x > 0 ? x * x : 0;
  }
}

double or_one(double scale) { return scale > 0 ? scale : 1; }
double soft_cap(double x, double cap) { return cap > 0 ? cap * std::tanh(x / cap) : x; }

double log_sum_exp(const double* x, size_t n) {
  const double top = *std::max_element(x, x + n);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += std::exp(x[i] - top);
  return top + std::log(sum);
}

}  // namespace

// Angle of each pair of a head at a position.
std::vector<double> ReferenceModel::angles(int64_t position, int64_t context, bool local) const {
  const LanguageModelConfig& c = config;
  const double pi = std::numbers::pi;
  const int32_t rotated = c.rotary.dim > 0 ? c.rotary.dim : c.head_dim;
  if (local) {
    Vector out;
    for (int32_t i = 0; i < rotated / 2; ++i) {
      out.push_back(static_cast<double>(position) * std::pow(c.rotary.local_theta, -2.0 * i / rotated));
    }
    return out;
  }
  double theta = c.rope_theta;
  if (c.rope_type == RopeType::dynamic_ntk && context > c.max_positions) {
    theta *= std::pow(c.rope_factor * static_cast<double>(context) / c.max_positions - c.rope_factor + 1,
                      rotated / (rotated - 2.0));
  }
  Vector out;
  for (int32_t i = 0; i < rotated / 2; ++i) {
    const double frequency = std::pow(theta, -2.0 * i / rotated);
    double scaled = frequency;
    if (c.rope_type == RopeType::linear) scaled = frequency / c.rope_factor;
    if (c.rope_type == RopeType::llama3) {
      const double turns = c.rope_original_max_positions * frequency / (2 * pi);  // over the original context
      const double share = (turns - c.rope_low_freq_factor) / (c.rope_high_freq_factor - c.rope_low_freq_factor);
      const double keep = std::clamp(share, 0.0, 1.0);
      scaled = frequency * keep + frequency / c.rope_factor * (1 - keep);
    }
    if (c.rope_type == RopeType::yarn) {
      const auto pair_of = [&](double turns) {
        return rotated * std::log(c.rope_original_max_positions / (turns * 2 * pi)) / (2 * std::log(c.rope_theta));
      };
      const double first = pair_of(c.rope_beta_fast), last = pair_of(c.rope_beta_slow);
      const double low = std::max(0.0, c.rotary.yarn_exact ? first : std::floor(first));
      const double high = std::min(rotated - 1.0, c.rotary.yarn_exact ? last : std::ceil(last));
      const double ramp = std::clamp((i - low) / (high - low), 0.0, 1.0);
      scaled = frequency * (1 - ramp) + frequency / c.rope_factor * ramp;
    }
    out.push_back(static_cast<double>(position) * scaled);
  }
  return out;
}

void ReferenceModel::attention(int32_t layer, std::vector<Vector>* x) const {
  const LanguageModelConfig& c = config;
  const auto context = static_cast<int64_t>(x->size());
  const int32_t dim = c.head_dim, half = (c.rotary.dim > 0 ? c.rotary.dim : dim) / 2;
  const LayerTraits traits = traits_of(c, layer);
  const HeadNorm head_norm = c.attention.head_norm;
  const bool together = head_norm == HeadNorm::together;
  const bool local = traits.rotary == LayerRotary::local;
  const double stretch = c.rope_type == RopeType::yarn && !local ? c.rope_attention_factor : 1;
  // Llama 4 normalises heads after they are rotated, and those that are not at all.
  const bool bare = head_norm == HeadNorm::bare;
  const Vector ones(dim, 1.0);
  const QueryGrowth& growth = c.attention.growth;
  const bool grows = growth.rate != 0 && (!growth.unrotated || traits.rotary == LayerRotary::none);
  const auto normalize_head = [&](Kind norm, int64_t h, double* head) {
    const double* weight = at(layer, norm).data() + (head_norm == HeadNorm::layer_own ? h * dim : 0);
    if (head_norm == HeadNorm::each || head_norm == HeadNorm::rotated)
      return rms_norm(weight, c.norms.offset, c.rms_eps, head, dim);
    const Vector* bias = find(layer, norm == Kind::q_norm ? Kind::q_norm_bias : Kind::k_norm_bias);
    layer_norm(weight, c.norms.offset, bias == nullptr ? nullptr : bias->data(), c.rms_eps, head, dim);
  };
  const auto heads_of = [&](Kind kind, Kind bias, Kind norm, bool normed, bool rotated) {
    std::vector<Vector> out;
    for (int64_t t = 0; t < context; ++t) {
      const Vector in = normalized(layer, Kind::input_norm, Kind::input_norm_bias, (*x)[t]);
      if (kind == Kind::q) record(layer, BlockInput::attention, in);
      Vector y = multiply(at(layer, kind), in, c.attention_bias ? &at(layer, bias) : nullptr);
      for (double& value : y) {
        if (c.attention.clamp > 0) value = std::clamp(value, -c.attention.clamp, c.attention.clamp);
      }
      const Vector turn = angles(t, context, local);
      if (normed && together) rms_norm(at(layer, norm).data(), c.norms.offset, c.rms_eps, y.data(), y.size());
      for (size_t h = 0; h < y.size() / dim; ++h) {
        double* head = y.data() + h * dim;
        const bool after = head_norm == HeadNorm::rotated;
        if (normed && !together && !bare && !after) normalize_head(norm, static_cast<int64_t>(h), head);
        if (!rotated || traits.rotary == LayerRotary::none) {
          if (normed && after) normalize_head(norm, static_cast<int64_t>(h), head);
          continue;
        }
        for (int32_t i = 0; i < half; ++i) {
          double& low = head[c.rotary.interleaved ? 2 * i : i];
          double& high = head[c.rotary.interleaved ? 2 * i + 1 : i + half];
          const double a = low, b = high;
          low = stretch * (a * std::cos(turn[i]) - b * std::sin(turn[i]));
          high = stretch * (b * std::cos(turn[i]) + a * std::sin(turn[i]));
        }
        if (normed && bare) rms_norm(ones.data(), 0, c.rms_eps, head, dim);
        if (normed && after) normalize_head(norm, static_cast<int64_t>(h), head);
      }
      out.push_back(y);
    }
    return out;
  };
  auto q = heads_of(Kind::q, Kind::q_bias, Kind::q_norm, c.qk_norm, true);
  for (int64_t t = 0; grows && t < context; ++t) {
    for (double& value : q[t]) {
      value *= 1 + growth.rate * std::log(1 + std::floor(static_cast<double>(t + growth.offset) / growth.length));
    }
  }
  const auto k = heads_of(Kind::k, Kind::k_bias, Kind::k_norm, c.qk_norm, true);
  const auto v = heads_of(Kind::v, Kind::v_bias, Kind::q_norm, false, false);
  for (int64_t t = 0; t < context; ++t) {
    Vector attended(int64_t{c.heads} * dim, 0.0);
    const int64_t first = traits.window == 0    ? 0
                          : c.attention.chunked ? t - t % traits.window
                                                : std::max<int64_t>(0, t - traits.window + 1);
    const int64_t last = !c.attention.both_directions ? t
                         : traits.window > 0          ? std::min(context - 1, t + traits.window - 1)
                                                      : context - 1;
    for (int32_t h = 0; h < c.heads; ++h) {
      const int32_t shared = h / (c.heads / c.kv_heads);
      Vector scores;
      for (int64_t s = first; s <= last; ++s) {
        double score = 0;
        for (int32_t i = 0; i < dim; ++i) score += q[t][h * dim + i] * k[s][shared * dim + i];
        score *= c.attention.scale > 0 ? c.attention.scale : 1 / std::sqrt(static_cast<double>(dim));
        if (c.attention.alibi != nullptr) score += double{c.attention.alibi[h]} * static_cast<double>(s - t);
        scores.push_back(soft_cap(score, c.attention.softcap));
      }
      if (c.attention.sinks) scores.push_back(at(layer, Kind::sinks)[h]);
      const double all = log_sum_exp(scores.data(), scores.size());
      for (int64_t s = first; s <= last; ++s) {
        for (int32_t i = 0; i < dim; ++i) {
          attended[h * dim + i] += std::exp(scores[s - first] - all) * v[s][shared * dim + i];
        }
      }
    }
    record(layer, BlockInput::output, attended);
    join(layer, Kind::attention_output_norm, Kind::attention_output_norm_bias,
         multiply(at(layer, Kind::o), attended, c.output_bias ? &at(layer, Kind::o_bias) : nullptr), &(*x)[t]);
  }
}

std::vector<double> ReferenceModel::dense(int32_t layer, int32_t expert, const Vector& x) const {
  const MoeConfig& m = config.moe;
  Vector act = multiply(at(layer, Kind::up, expert), x, find(layer, Kind::up_bias, expert));
  if (config.mlp.plain) {
    for (double& v : act) v = activation(config.mlp.activation, v);
  } else {
    const Vector gate = multiply(at(layer, Kind::gate, expert), x, find(layer, Kind::gate_bias, expert));
    const bool clamped = expert != kNoExpert && m.clamp_limit > 0;
    for (size_t i = 0; i < act.size(); ++i) {
      if (clamped) {
        const double g = std::min(gate[i], m.clamp_limit), u = std::clamp(act[i], -m.clamp_limit, m.clamp_limit);
        act[i] = (u + 1) * g / (1 + std::exp(-m.clamp_alpha * g));
      } else {
        act[i] *= activation(config.mlp.activation, gate[i]);
      }
    }
  }
  record(layer, BlockInput::down, act, expert);
  return multiply(at(layer, Kind::down, expert), act, find(layer, Kind::down_bias, expert));
}

std::vector<double> ReferenceModel::route(int32_t layer, const Vector& x) const {
  const MoeConfig& m = config.moe;
  const Vector logits = multiply(at(layer, Kind::router), x, find(layer, Kind::router_bias));
  const Vector* correction = find(layer, Kind::router_correction);
  Vector scores = logits;
  const double all = log_sum_exp(logits.data(), logits.size());
  for (double& score : scores) {
    if (m.score == RouterScore::softmax) score = std::exp(score - all);
    if (m.score == RouterScore::sigmoid) score = 1 / (1 + std::exp(-score));
  }
  const auto choice = [&](int64_t e) { return scores[e] + (correction == nullptr ? 0 : (*correction)[e]); };
  std::vector<int64_t> order;
  const int64_t groups = std::max(m.groups, 1), size = m.experts / groups;
  std::vector<std::pair<double, int64_t>> worth;
  for (int64_t g = 0; g < groups; ++g) {
    Vector of;
    for (int64_t e = g * size; e < (g + 1) * size; ++e) of.push_back(choice(e));
    std::sort(of.rbegin(), of.rend());
    worth.emplace_back(of[0] + (size > 1 ? of[1] : 0), g);
  }
  std::sort(worth.rbegin(), worth.rend());
  for (int64_t i = 0; i < (groups > 1 ? m.top_groups : 1); ++i) {
    for (int64_t e = worth[i].second * size; e < (worth[i].second + 1) * size; ++e) order.push_back(e);
  }
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return choice(a) > choice(b); });
  order.resize(m.top_k);
  if (m.score == RouterScore::softmax_of_chosen) {
    double sum = 0;
    for (const int64_t e : order) sum += std::exp(logits[e]);
    for (const int64_t e : order) scores[e] = std::exp(logits[e]) / sum;
  }
  double sum = 0;
  for (const int64_t e : order) sum += scores[e];
  Vector weights(m.experts, 0.0);
  for (const int64_t e : order) weights[e] = scores[e] / (m.renormalise ? sum : 1) * (m.scale > 0 ? m.scale : 1);
  return weights;
}

void ReferenceModel::mlp(int32_t layer, const Vector& source, Vector* x) const {
  const LayerTraits traits = traits_of(config, layer);
  const bool shared = config.attention.shared_norm;
  const Vector in = normalized(layer, shared ? Kind::input_norm : Kind::post_attention_norm,
                               shared ? Kind::input_norm_bias : Kind::post_attention_norm_bias, source);
  record(layer, BlockInput::mlp, in);
  Vector half(config.hidden, 0.0);
  const auto add = [&](double weight, const Vector& out) {
    for (size_t i = 0; i < out.size(); ++i) half[i] += weight * out[i];
  };
  if (traits.width > 0) {
    const Vector* gate = find(layer, Kind::shared_gate);
    add(gate == nullptr ? 1 : 1 / (1 + std::exp(-multiply(*gate, in, nullptr)[0])), dense(layer, kNoExpert, in));
  }
  const Vector weights = traits.routed ? route(layer, in) : Vector{};
  for (size_t e = 0; e < weights.size(); ++e) {
    if (weights[e] == 0) continue;
    const bool scaled = config.moe.scale_input;
    Vector own = in;
    for (double& value : own) value *= scaled ? weights[e] : 1;
    record(layer, BlockInput::mlp, own, static_cast<int32_t>(e));
    add(scaled ? 1 : weights[e], dense(layer, static_cast<int32_t>(e), own));
  }
  join(layer, Kind::mlp_output_norm, Kind::mlp_output_norm_bias, half, x);
}

// What a norm before a half, or the final one, makes of x.
std::vector<double> ReferenceModel::normalized(int32_t layer, Kind weight, Kind bias, Vector x) const {
  const NormParts& n = config.norms;
  const bool none =
      layer < 0 ? n.none_last : n.none_before || (n.none_first && layer == 0 && weight == Kind::input_norm);
  return none ? x : norm_by(layer, weight, bias, std::move(x));
}

std::vector<double> ReferenceModel::norm_by(int32_t layer, Kind weight, Kind bias, Vector x) const {
  const Vector ones(x.size(), 1.0), *stored = find(layer, weight), *shift = find(layer, bias);
  const double* by = stored == nullptr ? ones.data() : stored->data();
  const double offset = stored == nullptr ? 0 : static_cast<double>(config.norms.offset);
  if (config.norms.kind == NormKind::layer) {
    layer_norm(by, offset, shift == nullptr ? nullptr : shift->data(), config.rms_eps, x.data(), x.size());
  } else {
    rms_norm(by, offset, config.rms_eps, x.data(), x.size());
  }
  return x;
}

// Adds what a half gives to the residual stream.
void ReferenceModel::join(int32_t layer, Kind norm, Kind bias, Vector half, Vector* x) const {
  if (config.norms.after) half = norm_by(layer, norm, bias, std::move(half));
  for (size_t i = 0; i < half.size(); ++i) (*x)[i] += or_one(config.residual_scale) * half[i];
  if (config.norms.of_sum) *x = norm_by(layer, norm, bias, *x);
}

std::vector<double> ReferenceModel::logits(const int32_t* tokens, int64_t context) const {
  const LanguageModelConfig& c = config;
  std::vector<Vector> x;
  for (int64_t t = 0; t < context; ++t) {
    const int64_t token = tokens[t] < 0 ? c.mask_token : tokens[t];
    const auto row = at(-1, Kind::embedding).begin() + token * c.hidden;
    x.emplace_back(row, row + c.hidden);
    for (int32_t i = 0; i < c.hidden; ++i) {
      double& v = x.back()[i];
      v *= or_one(c.embedding.scale);
      if (c.embedding.positions > 0) v += at(-1, Kind::positions)[(t + c.embedding.position_offset) * c.hidden + i];
      if (c.embedding.types > 0) v += at(-1, Kind::types)[i];
    }
    if (c.embedding.norm) x.back() = norm_by(-1, Kind::embedding_norm, Kind::embedding_norm_bias, x.back());
  }
  for (int32_t layer = 0; layer < c.layers; ++layer) {
    const std::vector<Vector> before = x;
    attention(layer, &x);
    for (size_t t = 0; t < x.size(); ++t) mlp(layer, c.attention.parallel ? before[t] : Vector(x[t]), &x[t]);
  }
  Vector out;
  for (const Vector& row : x) {
    Vector last = normalized(-1, Kind::final_norm, Kind::final_norm_bias, row);
    if (c.head.transform) {
      last = multiply(at(-1, Kind::head_dense), last, find(-1, Kind::head_dense_bias));
      for (double& v : last) v = activation(c.head.activation, v);
      if (c.head.transform_norm) last = norm_by(-1, Kind::head_norm, Kind::head_norm_bias, last);
    }
    const Vector z =
        multiply(at(-1, c.tied_embeddings ? Kind::embedding : Kind::head), last, find(-1, Kind::head_bias));
    for (const double v : z) out.push_back(soft_cap(or_one(c.head.scale) * v, c.head.softcap));
  }
  return out;
}

double ReferenceModel::loss(const int32_t* tokens, int64_t context) const {
  const Vector z = logits(tokens, context);
  double sum = 0, count = 0;
  for (int64_t t = 0; t < context; ++t) {
    if (config.masked ? tokens[t] >= 0 : t + 1 == context) continue;
    const double* row = z.data() + t * config.vocab;
    sum += log_sum_exp(row, config.vocab) - row[config.masked ? ~tokens[t] : tokens[t + 1]];
    ++count;
  }
  return sum / count;
}

void ReferenceModel::record(int32_t layer, BlockInput input, const Vector& x, int32_t expert) const {
  if (inputs_ != nullptr) (*inputs_)[{layer, input, expert}].push_back(x);
}

void ReferenceModel::add_inputs(const int32_t* tokens, int64_t context, Inputs* inputs) {
  inputs_ = inputs;
  logits(tokens, context);
  inputs_ = nullptr;
}

double ReferenceModel::derivative(int32_t layer, Kind kind, int64_t index, const int32_t* tokens, int64_t context,
                                  int32_t expert) {
  constexpr double kStep = 1e-5;
  if (kind == Kind::qkv || kind == Kind::gate_up) {
    const auto [part, own] = origin(kind, index, expert);
    return derivative(layer, part, own, tokens, context, expert);
  }
  double& w = weight(layer, kind, expert)->at(index);
  const double was = w;
  w = was + kStep;
  const double above = loss(tokens, context);
  w = was - kStep;
  const double below = loss(tokens, context);
  w = was;
  return (above - below) / (2 * kStep);
}

}  // namespace lq::contract
