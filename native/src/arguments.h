// Reading JavaScript values into plain ones. All throw a TypeError that names the property.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

namespace lq {

Napi::Value member(const Napi::Value& value, const char* name);
// A number without a fraction, in [0, 2^53).
int64_t integer(const Napi::Value& value, const char* name);
std::string text(const Napi::Value& value, const char* name);
// The array itself; its memory is only valid on the event loop.
Napi::Float32Array floats(const Napi::Value& value, const char* name);

}  // namespace lq
