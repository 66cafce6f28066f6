#include "runtime/status.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

namespace lq::cuda {

Status ok_status() {
  Status status{};
  status.code = StatusCode::ok;
  status.index = -1;
  return status;
}

Status make_status(StatusCode code, int64_t index, const char* format, ...) {
  Status status{};
  status.code = code;
  status.index = index;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(status.message, sizeof status.message, format, arguments);
  va_end(arguments);
  return status;
}

void fail(StatusCode code, const char* format, ...) {
  Failure failure{};
  failure.status.code = code;
  failure.status.index = -1;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(failure.status.message, sizeof failure.status.message, format, arguments);
  va_end(arguments);
  throw failure;
}

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  // A failed allocation leaves an error behind that the next launch check would report as its own.
  cudaGetLastError();
  const StatusCode code = error == cudaErrorMemoryAllocation ? StatusCode::device_memory : StatusCode::device_error;
  fail(code, "%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

Status status_of_current_exception() {
  try {
    throw;
  } catch (const Failure& failure) {
    return failure.status;
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::out_of_memory, -1, "out of host memory");
  } catch (const std::exception& error) {
    return make_status(StatusCode::internal, -1, "%s", error.what());
  } catch (...) {
    return make_status(StatusCode::internal, -1, "unknown error");
  }
}

void Watch::poll() const {
  if (control_.cancelled != nullptr && control_.cancelled(control_.user)) fail(StatusCode::cancelled, "cancelled");
}

}  // namespace lq::cuda
