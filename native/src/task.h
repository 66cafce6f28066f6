// Runs native work on a thread of its own and settles a promise with its result, reporting progress on the way.
#pragma once

#include <napi.h>

#include <functional>
#include <string>

#include "lq/types.h"

namespace lq {

// What a piece of work ended with. `file` and `tensor` say where, when the work knows.
struct Outcome {
  Status status{StatusCode::ok, -1, {}};
  std::string file;
  std::string tensor;
};

// Thrown by work to end with a failure.
struct TaskFailure {
  Outcome outcome;
};
[[noreturn]] void throw_status(const Status& status, std::string file = {}, std::string tensor = {});
[[noreturn]] void throw_error(StatusCode code, const std::string& message, std::string file = {});
// io_error with the text of `number` (an errno) and the number as index; ENOSPC and the like reach the caller that way.
[[noreturn]] void throw_errno(int number, const std::string& doing, std::string file);

// A JavaScript Error with `code`, `index` and, when known, `file` and `tensor`.
Napi::Error to_error(Napi::Env env, const Outcome& outcome);

// Calls work(control) on a new thread, then result(env) on the event loop, and resolves with what that returns. A
// TaskFailure, an exception, or a status other than ok rejects. `control` is a NativeControl or undefined. Progress is
// passed on at most every 50 ms, and once at the end. Arguments that work uses must be copied or referenced by it.
Napi::Value run_task(Napi::Env env, const Napi::Value& control, std::function<Status(const Control&)> work,
                     std::function<Napi::Value(Napi::Env)> result);

}  // namespace lq
