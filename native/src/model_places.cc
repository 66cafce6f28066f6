#include "model_places.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace lq {

namespace {

int32_t parse_expert(const Napi::Object& object) {
  const Napi::Value expert = object.Get("expert");
  return expert.IsUndefined() ? kNoExpert : expert.ToNumber().Int32Value();
}

}  // namespace

Place parse_place(const Napi::Object& object) {
  const std::string kind = object.Get("kind").ToString();
  const auto* const found = std::find(std::begin(kKindNames), std::end(kKindNames), kind);
  if (found == std::end(kKindNames)) throw Napi::TypeError::New(object.Env(), "unknown kind of weight: " + kind);
  return {object.Get("layer").ToNumber().Int32Value(), static_cast<WeightKind>(found - std::begin(kKindNames)),
          parse_expert(object)};
}

InputPlace parse_input(const Napi::Object& object) {
  const std::string input = object.Get("input").ToString();
  const auto* const found = std::find(std::begin(kInputNames), std::end(kInputNames), input);
  if (found == std::end(kInputNames)) throw Napi::TypeError::New(object.Env(), "unknown input of a block: " + input);
  return {object.Get("layer").ToNumber().Int32Value(), static_cast<BlockInput>(found - std::begin(kInputNames)),
          parse_expert(object)};
}

std::vector<int32_t> copy_tokens(const Napi::Value& value) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    throw Napi::TypeError::New(value.Env(), "tokens is not an Int32Array");
  }
  const auto array = value.As<Napi::Int32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

int32_t parse_context(const Napi::Value& value, const std::vector<int32_t>& tokens) {
  const int64_t context = value.IsNumber() ? value.As<Napi::Number>().Int64Value() : 0;
  if (context < 2 || context > INT32_MAX || tokens.empty() || tokens.size() % static_cast<size_t>(context) != 0) {
    throw Napi::TypeError::New(value.Env(), "tokens are not whole sequences of two or more");
  }
  return static_cast<int32_t>(context);
}

}  // namespace lq
