// openLanguageModel of extension/engine/native.ts.
#pragma once

#include <napi.h>

#include <functional>
#include <string>

#include "lq/backend.h"

namespace lq {

// The backend of a device id such as 'cpu' or 'cuda:0'; throws a Napi::Error when there is none. Backends live as long
// as the process.
using BackendLookup = std::function<Backend&(Napi::Env, const std::string&)>;

// Adds openLanguageModel to the addon's exports.
void register_language_model(Napi::Env env, Napi::Object exports, BackendLookup lookup);

}  // namespace lq
