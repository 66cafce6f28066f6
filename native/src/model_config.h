// NativeLanguageModelConfig of extension/core/native.ts as the backends have it.
#pragma once

#include <napi.h>

#include <vector>

#include "lq/language_model.h"

namespace lq {

// What a config points to.
struct ConfigArrays {
  std::vector<LayerTraits> traits;
  std::vector<float> alibi;
  std::vector<double> short_factors, long_factors;
};

// Throws Napi::TypeError for a field of another type or an unknown name.
LanguageModelConfig parse_config(const Napi::Object& object, ConfigArrays* arrays);

}  // namespace lq
