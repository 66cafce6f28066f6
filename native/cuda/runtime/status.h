// Errors inside the CUDA library: thrown as Failure, turned into a Status at the boundary by guarded().
#pragma once

#include <cuda_runtime_api.h>

#include "lq/types.h"

namespace lq::cuda {

struct Failure {
  Status status;
};

Status ok_status();
// printf-style.
Status make_status(StatusCode code, int64_t index, const char* format, ...) __attribute__((format(printf, 3, 4)));
[[noreturn]] void fail(StatusCode code, const char* format, ...) __attribute__((format(printf, 2, 3)));

// Throws device_memory for an exhausted device and device_error for anything else that is not success.
void check(cudaError_t error, const char* what);
// Checks the launch that came just before.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

Status status_of_current_exception();

// Runs `work` and returns its outcome; nothing is thrown to the caller.
template <typename Work>
Status guarded(Work&& work) {
  try {
    work();
    return ok_status();
  } catch (...) {
    return status_of_current_exception();
  }
}

// Cancellation and progress with null callbacks taken care of.
class Watch {
 public:
  explicit Watch(const Control& control) : control_(control) {}
  // Throws `cancelled` when the caller asked for it.
  void poll() const;
  void progress(double done, double total) const {
    if (control_.progress != nullptr) control_.progress(control_.user, done, total);
  }

 private:
  const Control& control_;
};

}  // namespace lq::cuda
