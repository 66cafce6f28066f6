// Places in a language model, and tokens for it, as JavaScript names them.
#pragma once

#include <napi.h>

#include <cstdint>
#include <vector>

#include "calibration_files.h"

namespace lq {

// Of an object with `layer`, `kind` and perhaps `expert`, and of one with `input` for the kind. Throw Napi::TypeError
// for an unknown name.
Place parse_place(const Napi::Object& object);
InputPlace parse_input(const Napi::Object& object);

std::vector<int32_t> copy_tokens(const Napi::Value& value);
// Tokens a sequence; throws Napi::TypeError unless the tokens are whole sequences of two or more.
int32_t parse_context(const Napi::Value& value, const std::vector<int32_t>& tokens);

}  // namespace lq
