// Rotary position embedding: cosines and sines by position, for every scaling config.json can name that we support.
#pragma once

#include <cstdint>
#include <vector>

#include "lq/language_model.h"

namespace lq::lm {

// cosine and sine are [context, half], multiplied by the attention factor (yarn, longrope).
struct RotaryTable {
  int64_t half = 0;
  std::vector<float> cosine, sine;
};

// Inverse frequencies [rotated / 2], rotated being the dimensions of a head that are, for sequences of `context`
// tokens, before the attention factor. Formulas: linear (position interpolation), llama3 (Llama 3.1's wavelength ramp),
// dynamic_ntk (base grown with the context beyond max_positions), yarn (arXiv 2309.00071, section 3.2), longrope (arXiv
// 2402.13753: a divisor for each frequency, those beyond the original length or those up to it).
std::vector<double> inverse_frequencies(const LanguageModelConfig& config, int64_t context);

RotaryTable rotary_table(const LanguageModelConfig& config, int64_t context);
// What queries at a position are multiplied with.
double growth_at(const QueryGrowth& growth, int64_t position);

// The second embedding's; empty when there is none.
RotaryTable local_rotary_table(const LanguageModelConfig& config, int64_t context);

}  // namespace lq::lm
