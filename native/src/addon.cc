// The addon's surface: extension/core/native.ts, method by method.
#include <napi.h>

#include "bf16/bf16.h"
#include "language_model.h"
#include "ops.h"
#include "threads.h"

namespace lq {
namespace {

// The number in extension/engine/load.ts; raised when the surface changes.
constexpr int kSurfaceVersion = 4;

Napi::Value devices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array list = Napi::Array::New(env), libraries = Napi::Array::New(env), problems = Napi::Array::New(env);
  for (const auto& device : Devices::get().all()) {
    DeviceInfo d{};
    device->backend->info(&d);
    Napi::Object o = Napi::Object::New(env);
    o.Set("id", device->id);
    o.Set("name", d.name);
    o.Set("detail", d.detail);
    o.Set("memoryTotal", static_cast<double>(d.memory_total));
    o.Set("memoryFree", static_cast<double>(d.memory_free));
    o.Set("lanes", device->gate.lanes());
    constexpr const char* kBf16[] = {"none", "avx512-bf16", "amx"};
    if (device->id == "cpu") o.Set("bf16", kBf16[static_cast<int32_t>(cpu::bf16::available())]);
    list.Set(list.Length(), o);
  }
  for (const FoundLibrary& library : Devices::get().libraries()) {
    Napi::Object o = Napi::Object::New(env);
    o.Set("name", library.name);
    o.Set("path", library.path);
    libraries.Set(libraries.Length(), o);
  }
  for (const std::string& problem : Devices::get().problems()) problems.Set(problems.Length(), problem);
  Napi::Object out = Napi::Object::New(env);
  out.Set("devices", list);
  out.Set("libraries", libraries);
  out.Set("problems", problems);
  return out;
}

Napi::Value set_threads(const Napi::CallbackInfo& info) {
  Devices::get();
  cpu::set_threads(info[0].ToNumber());
  return info.Env().Undefined();
}

// Bad arguments reject, as the declared types promise.
template <Napi::Value (*op)(const Napi::CallbackInfo&)>
Napi::Value promised(const Napi::CallbackInfo& info) {
  try {
    return op(info);
  } catch (const Napi::Error& error) {
    if (!error.Value().Has("code")) error.Set("code", Napi::String::New(info.Env(), "invalid_argument"));
    const auto deferred = Napi::Promise::Deferred::New(info.Env());
    deferred.Reject(error.Value());
    return deferred.Promise();
  }
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  exports.Set("version", kSurfaceVersion);
  exports.Set("devices", Napi::Function::New(env, devices, "devices"));
  exports.Set("setThreads", Napi::Function::New(env, set_threads, "setThreads"));
  exports.Set("hash", Napi::Function::New(env, promised<hash_op>, "hash"));
  exports.Set("copy", Napi::Function::New(env, promised<copy_op>, "copy"));
  exports.Set("exchange", Napi::Function::New(env, promised<exchange_op>, "exchange"));
  exports.Set("weightedSum", Napi::Function::New(env, promised<weighted_sum_op>, "weightedSum"));
  exports.Set("statistics", Napi::Function::New(env, promised<statistics_op>, "statistics"));
  exports.Set("preview", Napi::Function::New(env, promised<preview_op>, "preview"));
  exports.Set("difference", Napi::Function::New(env, promised<difference_op>, "difference"));
  exports.Set("singularValues", Napi::Function::New(env, promised<singular_values_op>, "singularValues"));
  exports.Set("sweep", Napi::Function::New(env, promised<sweep_op>, "sweep"));
  exports.Set("decompose", Napi::Function::New(env, promised<decompose_op>, "decompose"));
  exports.Set("encodeCosts", Napi::Function::New(env, promised<encode_costs_op>, "encodeCosts"));
  exports.Set("encode", Napi::Function::New(env, promised<encode_op>, "encode"));
  exports.Set("reconstruct", Napi::Function::New(env, promised<reconstruct_op>, "reconstruct"));
  exports.Set("convert", Napi::Function::New(env, promised<convert_op>, "convert"));
  exports.Set("orderRows", Napi::Function::New(env, promised<order_rows_op>, "orderRows"));
  exports.Set("arrays", make_array_ops(env));
  register_language_model(env, exports);
  return exports;
}

}  // namespace

Device& device_argument(const Napi::Value& value) {
  const std::string id = value.ToString();
  Device* device = Devices::get().find(id);
  if (device != nullptr) return *device;
  std::string message = "there is no device " + id;
  for (const std::string& problem : Devices::get().problems()) message += "; " + problem;
  Napi::Error error = Napi::Error::New(value.Env(), message);
  error.Set("code", Napi::String::New(value.Env(), "device_error"));
  throw error;
}

}  // namespace lq

Napi::Object initialise_addon(Napi::Env env, Napi::Object exports) { return lq::initialise(env, exports); }
NODE_API_MODULE(lqstudio, initialise_addon)
