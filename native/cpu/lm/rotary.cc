#include "lm/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lq::lm {
namespace {

int64_t rotated(const LanguageModelConfig& c) { return c.rotary.dim > 0 ? c.rotary.dim : c.head_dim; }

double power(double base, int64_t i, int64_t dim) { return std::pow(base, 2.0 * i / dim); }

// Index of the pair that turns `rotations` times over the original context.
double correction_index(const LanguageModelConfig& c, double rotations) {
  return static_cast<double>(rotated(c)) *
         std::log(c.rope_original_max_positions / (rotations * 2 * std::numbers::pi)) / (2 * std::log(c.rope_theta));
}

}  // namespace

std::vector<double> inverse_frequencies(const LanguageModelConfig& c, int64_t context) {
  const int64_t dim = rotated(c), half = dim / 2;
  std::vector<double> f(half);
  double base = c.rope_theta;
  if (c.rope_type == RopeType::dynamic_ntk && context > c.max_positions) {
    base *=
        std::pow(c.rope_factor * context / c.max_positions - (c.rope_factor - 1), static_cast<double>(dim) / (dim - 2));
  }
  for (int64_t i = 0; i < half; ++i) f[i] = 1.0 / power(base, i, dim);
  switch (c.rope_type) {
    case RopeType::standard:
    case RopeType::dynamic_ntk:
      break;
    case RopeType::linear:
      for (double& x : f) x /= c.rope_factor;
      break;
    case RopeType::longrope: {
      const double* factors = context > c.rope_original_max_positions ? c.rotary.long_factors : c.rotary.short_factors;
      for (int64_t i = 0; i < half; ++i) f[i] /= factors[i];
      break;
    }
    case RopeType::llama3: {
      const double longest = c.rope_original_max_positions / c.rope_low_freq_factor;
      const double shortest = c.rope_original_max_positions / c.rope_high_freq_factor;
      for (double& x : f) {
        const double wavelength = 2 * std::numbers::pi / x;
        if (wavelength < shortest) continue;
        if (wavelength > longest) {
          x /= c.rope_factor;
          continue;
        }
        const double smooth = (c.rope_original_max_positions / wavelength - c.rope_low_freq_factor) /
                              (c.rope_high_freq_factor - c.rope_low_freq_factor);
        x = (1 - smooth) * x / c.rope_factor + smooth * x;
      }
      break;
    }
    case RopeType::yarn: {
      const bool exact = c.rotary.yarn_exact;
      const double first = correction_index(c, c.rope_beta_fast), last = correction_index(c, c.rope_beta_slow);
      const double low = std::max(exact ? first : std::floor(first), 0.0);
      double high = std::min(exact ? last : std::ceil(last), static_cast<double>(dim - 1));
      if (low == high) high += 0.001;
      for (int64_t i = 0; i < half; ++i) {
        const double interpolated = std::clamp((i - low) / (high - low), 0.0, 1.0);
        f[i] = f[i] / c.rope_factor * interpolated + f[i] * (1 - interpolated);
      }
      break;
    }
  }
  return f;
}

RotaryTable rotary_table(const LanguageModelConfig& c, int64_t context) {
  RotaryTable table;
  table.half = rotated(c) / 2;
  table.cosine.resize(context * table.half);
  table.sine.resize(context * table.half);
  const std::vector<double> f = inverse_frequencies(c, context);
  const bool stretched = c.rope_type == RopeType::yarn || c.rope_type == RopeType::longrope;
  const double scale = stretched ? c.rope_attention_factor : 1.0;
  for (int64_t t = 0; t < context; ++t) {
    for (int64_t i = 0; i < table.half; ++i) {
      // The product is rounded to fp32 because the modelling code of every family computes it so.
      const double angle = static_cast<float>(t) * static_cast<float>(f[i]);
      table.cosine[t * table.half + i] = static_cast<float>(std::cos(angle) * scale);
      table.sine[t * table.half + i] = static_cast<float>(std::sin(angle) * scale);
    }
  }
  return table;
}

double growth_at(const QueryGrowth& g, int64_t position) {
  return 1 + g.rate * std::log1p(std::floor(static_cast<double>(position + g.offset) / g.length));
}

RotaryTable local_rotary_table(const LanguageModelConfig& c, int64_t context) {
  if (c.rotary.local_theta <= 0) return {};
  LanguageModelConfig local = c;
  local.rope_theta = c.rotary.local_theta;
  local.rope_type = RopeType::standard;
  return rotary_table(local, context);
}

}  // namespace lq::lm
