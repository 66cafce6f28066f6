// The thread pool every CPU op runs on.
//
// One pool a process, so that several calls at once share the cores instead of multiplying threads. OpenBLAS is held to
// one thread (see blas.h): matrices are split here, which bounds memory and lets a cancelled call stop between pieces.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

namespace lq::cpu {

// Threads that take part in a loop, the caller included, where its thread has no limit of its own. n <= 0: all hardware
// threads. Loops that are running finish with the threads they have.
void set_threads(int32_t n);

// Threads that take part in the loops of this thread.
int32_t threads();

// Gives the loops of this thread `n` participants while it lives, so that a call with few threads leaves the calls
// beside it alone. n <= 0: as many as `set_threads` said.
class ThreadLimit {
 public:
  explicit ThreadLimit(int32_t n);
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  int32_t before_;
};

// A reference to a callable, valid for the duration of the call it is passed to.
template <typename Signature>
class FunctionRef;

template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  template <typename F, typename = std::enable_if_t<!std::is_same_v<std::decay_t<F>, FunctionRef>>>
  FunctionRef(F&& f)  // NOLINT: implicit, so that lambdas can be passed
      : object_(const_cast<void*>(static_cast<const void*>(&f))), call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// Calls fn(b, e) for consecutive pieces [b, e) of [begin, end), at most `grain` long, on the pool and on this thread.
// Returns when all are done. Pieces start at begin + i * grain whatever the number of threads, so sums kept per piece
// are reproducible. Called inside a piece it runs inline. An exception in a piece stops the loop and is thrown here.
void parallel_for(int64_t begin, int64_t end, int64_t grain, FunctionRef<void(int64_t, int64_t)> fn);

// The same, with the number of the participant, below threads(): for scratch memory a thread.
void parallel_slots(int64_t begin, int64_t end, int64_t grain, FunctionRef<void(int64_t, int64_t, int32_t)> fn);

}  // namespace lq::cpu
