// NativeLanguageModelConfig of extension/core/native.ts as the backends have it.
#pragma once

#include <napi.h>

#include <vector>

#include "lq/language_model.h"

namespace lq {

// `traits` holds what the config points to. Throws Napi::TypeError for a field of another type or an unknown name.
LanguageModelConfig parse_config(const Napi::Object& object, std::vector<LayerTraits>* traits);

}  // namespace lq
