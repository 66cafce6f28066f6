// openLanguageModel of extension/core/native.ts.
#pragma once

#include <napi.h>

namespace lq {

// Adds openLanguageModel to the addon's exports.
void register_language_model(Napi::Env env, Napi::Object exports);

}  // namespace lq
