#include "arguments.h"

#include <cmath>

namespace lq {

Napi::Value member(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) throw Napi::TypeError::New(value.Env(), std::string("expected an object with ") + name);
  return value.As<Napi::Object>().Get(name);
}

int64_t integer(const Napi::Value& value, const char* name) {
  const Napi::Value v = member(value, name);
  const double d = v.IsNumber() ? v.As<Napi::Number>().DoubleValue() : -1;
  if (!(d >= 0 && d <= 9007199254740991.0) || d != std::floor(d)) {
    throw Napi::TypeError::New(value.Env(), std::string(name) + " is not a non-negative integer");
  }
  return static_cast<int64_t>(d);
}

std::string text(const Napi::Value& value, const char* name) {
  const Napi::Value v = member(value, name);
  if (!v.IsString()) throw Napi::TypeError::New(value.Env(), std::string(name) + " is not a string");
  return v.As<Napi::String>();
}

Napi::Float32Array floats(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
    throw Napi::TypeError::New(value.Env(), std::string(name) + " is not a Float32Array");
  }
  return value.As<Napi::Float32Array>();
}

}  // namespace lq
