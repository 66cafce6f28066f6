// Objects of JavaScript that stand for something open: methods that return promises, and close().
#pragma once

#include <napi.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <utility>

#include "task.h"

namespace lq {

// Where wrap() keeps an opened thing, so that another's method can find it.
constexpr const char* kHandle = "handle";

template <typename Opened>
std::shared_ptr<Opened> unwrap(const Napi::Value& value, const char* what) {
  if (value.IsObject() && value.As<Napi::Object>().Get(kHandle).IsExternal()) {
    const auto& holder = *value.As<Napi::Object>().Get(kHandle).As<Napi::External<std::shared_ptr<Opened>>>().Data();
    if (holder) return holder;
  }
  throw Napi::TypeError::New(value.Env(), std::string("not an open ") + what);
}

// Everything thrown becomes a rejection, as the declared type promises.
template <typename Call>
Napi::Value promised(const Napi::CallbackInfo& info, const Call& call) {
  try {
    return call();
  } catch (const Napi::Error& error) {
    const auto deferred = Napi::Promise::Deferred::New(info.Env());
    deferred.Reject(error.Value());
    return deferred.Promise();
  } catch (const TaskFailure& failure) {
    const auto deferred = Napi::Promise::Deferred::New(info.Env());
    deferred.Reject(to_error(info.Env(), failure.outcome).Value());
    return deferred.Promise();
  }
}

template <typename Opened>
using Method = Napi::Value (*)(const std::shared_ptr<Opened>&, const Napi::CallbackInfo&);

// A JavaScript object of methods. They share one holder, so that close() empties it for all.
template <typename Opened>
Napi::Object wrap(Napi::Env env, const char* what, std::shared_ptr<Opened> opened,
                  std::initializer_list<std::pair<const char*, Method<Opened>>> methods) {
  auto holder = std::make_shared<std::shared_ptr<Opened>>(std::move(opened));
  Napi::Object object = Napi::Object::New(env);
  for (const auto& [name, run] : methods) {
    const Method<Opened> call = run;
    object.Set(name, Napi::Function::New(
                         env,
                         [holder, call, what](const Napi::CallbackInfo& info) {
                           return promised(info, [&] {
                             if (!*holder) throw Napi::Error::New(info.Env(), std::string(what) + " is closed");
                             return call(*holder, info);
                           });
                         },
                         name));
  }
  // Not enumerable: nothing that prints or compares the object meets it.
  using Holder = std::shared_ptr<Opened>;
  object.DefineProperty(Napi::PropertyDescriptor::Value(
      kHandle, Napi::External<Holder>::New(env, holder.get(), [holder](Napi::Env, Holder*) {}), napi_default));
  object.Set("close", Napi::Function::New(
                          env, [holder](const Napi::CallbackInfo&) { holder->reset(); }, "close"));
  return object;
}

}  // namespace lq
