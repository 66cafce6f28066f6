#include "task.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <thread>

#include "threads.h"

namespace lq {
namespace {

const char* code_name(StatusCode code) {
  switch (code) {
    case StatusCode::ok:
      return "ok";
    case StatusCode::cancelled:
      return "cancelled";
    case StatusCode::invalid_argument:
      return "invalid_argument";
    case StatusCode::not_finite:
      return "not_finite";
    case StatusCode::out_of_range:
      return "out_of_range";
    case StatusCode::out_of_memory:
      return "out_of_memory";
    case StatusCode::device_memory:
      return "device_memory";
    case StatusCode::device_error:
      return "device_error";
    case StatusCode::io_error:
      return "io_error";
    case StatusCode::unsupported:
      return "unsupported";
    case StatusCode::internal:
      return "internal";
  }
  return "internal";
}

Status make_status(StatusCode code, const std::string& message, int64_t index = -1) {
  Status status{code, index, {}};
  std::strncpy(status.message, message.c_str(), sizeof status.message - 1);
  return status;
}

struct Task {
  Task(Napi::Env env, std::function<Status(const Control&)> work, std::function<Napi::Value(Napi::Env)> result)
      : deferred(Napi::Promise::Deferred::New(env)), work(std::move(work)), result(std::move(result)) {}

  Napi::Promise::Deferred deferred;
  std::function<Status(const Control&)> work;
  std::function<Napi::Value(Napi::Env)> result;
  Napi::ObjectReference cancel_array;  // keeps the shared flag alive
  const int32_t* cancel = nullptr;
  Napi::FunctionReference on_progress;
  bool reports = false;
  int32_t threads = 0;            // participants of the CPU's loops, 0 for the usual number
  Napi::ThreadSafeFunction loop;  // to the event loop
  std::atomic<double> done{0}, total{0};
  std::atomic<int64_t> last_report{0};
  Outcome outcome;

  static int64_t now() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  static bool cancelled(void* user) {
    const auto* task = static_cast<Task*>(user);
    return task->cancel != nullptr && __atomic_load_n(task->cancel, __ATOMIC_RELAXED) != 0;
  }

  static void progress(void* user, double done, double total) {
    auto* task = static_cast<Task*>(user);
    task->done = done;
    task->total = total;
    int64_t last = task->last_report;
    const int64_t time = now();
    if (!task->reports || time - last < 50 || !task->last_report.compare_exchange_strong(last, time)) return;
    task->loop.NonBlockingCall([task](Napi::Env, Napi::Function) { task->report(); });
  }

  void report() {
    const Napi::Env env = on_progress.Env();
    Napi::HandleScope scope(env);
    on_progress.Call({Napi::Number::New(env, done), Napi::Number::New(env, total)});
  }

  void run() {
    const cpu::ThreadLimit limit(threads);
    const Control control{this, &Task::cancelled, &Task::progress};
    try {
      outcome.status = work(control);
    } catch (const TaskFailure& failure) {
      outcome = failure.outcome;
    } catch (const std::bad_alloc&) {
      outcome.status = make_status(StatusCode::out_of_memory, "not enough memory");
    } catch (const std::exception& error) {
      outcome.status = make_status(StatusCode::internal, error.what());
    }
    // The event loop owns the task from here on.
    Napi::ThreadSafeFunction last = loop;
    last.BlockingCall([this](Napi::Env env, Napi::Function) { settle(env); });
    last.Release();
  }

  void settle(Napi::Env env) {
    Napi::HandleScope scope(env);
    const std::unique_ptr<Task> self(this);
    if (outcome.status.code != StatusCode::ok) {
      deferred.Reject(to_error(env, outcome).Value());
      return;
    }
    try {
      if (reports && total > 0) report();
      deferred.Resolve(result(env));
    } catch (const Napi::Error& error) {
      deferred.Reject(error.Value());
    }
  }
};

}  // namespace

void throw_status(const Status& status, std::string file, std::string tensor) {
  throw TaskFailure{{status, std::move(file), std::move(tensor)}};
}

void throw_error(StatusCode code, const std::string& message, std::string file) {
  throw_status(make_status(code, message), std::move(file));
}

void throw_errno(int number, const std::string& doing, std::string file) {
  throw_status(make_status(StatusCode::io_error, doing + ": " + std::strerror(number), number), std::move(file));
}

Napi::Error to_error(Napi::Env env, const Outcome& outcome) {
  const Status& status = outcome.status;
  Napi::Error error = Napi::Error::New(env, status.message[0] != 0 ? status.message : code_name(status.code));
  error.Set("code", Napi::String::New(env, code_name(status.code)));
  error.Set("index", Napi::Number::New(env, static_cast<double>(status.index)));
  if (!outcome.file.empty()) error.Set("file", Napi::String::New(env, outcome.file));
  if (!outcome.tensor.empty()) error.Set("tensor", Napi::String::New(env, outcome.tensor));
  return error;
}

Napi::Value run_task(Napi::Env env, const Napi::Value& control, std::function<Status(const Control&)> work,
                     std::function<Napi::Value(Napi::Env)> result) {
  auto task = std::make_unique<Task>(env, std::move(work), std::move(result));
  if (control.IsObject()) {
    const auto object = control.As<Napi::Object>();
    if (const Napi::Value cancel = object.Get("cancel"); cancel.IsTypedArray()) {
      const auto array = cancel.As<Napi::Int32Array>();
      task->cancel_array = Napi::Persistent(cancel.As<Napi::Object>());
      task->cancel = array.Data();
    }
    if (const Napi::Value progress = object.Get("progress"); progress.IsFunction()) {
      task->on_progress = Napi::Persistent(progress.As<Napi::Function>());
      task->reports = true;
    }
    if (const Napi::Value threads = object.Get("threads"); threads.IsNumber())
      task->threads = threads.As<Napi::Number>().Int32Value();
  }
  const Napi::Promise promise = task->deferred.Promise();
  task->loop = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}),
                                             "lq-studio task", 0, 1);
  Task* running = task.release();
  std::thread([running] { running->run(); }).detach();
  return promise;
}

}  // namespace lq
