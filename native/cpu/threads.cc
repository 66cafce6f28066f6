#include "threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace lq::cpu {
namespace {

thread_local bool inside_piece = false;
thread_local int32_t thread_limit = 0;  // participants of this thread's loops; 0: the usual number

struct Loop {
  FunctionRef<void(int64_t, int64_t, int32_t)> fn;
  int64_t begin, end, grain, pieces;
  int32_t slots = 1;  // participants allowed
  std::atomic<int64_t> next = 0;
  int32_t joined = 1;                    // participants so far, the caller first; under the pool's mutex
  int32_t inside = 0;                    // workers in the loop now; under the pool's mutex
  std::exception_ptr failure = nullptr;  // first exception; under the pool's mutex
};

class Pool {
 public:
  // Never destroyed: workers may outlive static destructors when the process exits in the middle of work.
  static Pool& get() {
    static Pool* pool = new Pool();
    return *pool;
  }

  int32_t threads() {
    std::lock_guard<std::mutex> lock(mutex_);
    return participants();
  }

  void set_usual(int32_t n) {
    if (n <= 0) n = std::max(1, static_cast<int32_t>(std::thread::hardware_concurrency()));
    std::lock_guard<std::mutex> lock(mutex_);
    usual_ = n;
    resize(n);
  }

  void grow(int32_t n) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (n > count_) resize(n);
  }

  void run(Loop& loop) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      loop.slots = participants();
      loops_.push_back(&loop);
    }
    const int64_t helpers = std::min<int64_t>(loop.slots, loop.pieces) - 1;
    for (int64_t i = 0; i < helpers; ++i) wake_.notify_one();
    pieces(loop, 0);
    std::unique_lock<std::mutex> lock(mutex_);
    loops_.erase(std::find(loops_.begin(), loops_.end(), &loop));
    done_.wait(lock, [&] { return loop.inside == 0; });
    if (loop.failure) std::rethrow_exception(loop.failure);
  }

 private:
  Pool() { set_usual(0); }

  // Under the mutex.
  int32_t participants() const { return thread_limit > 0 ? std::min(thread_limit, count_) : std::min(usual_, count_); }

  // Under the mutex.
  void resize(int32_t n) {
    if (n == count_) return;
    count_ = n;
    ++generation_;
    for (int32_t i = 1; i < n; ++i) std::thread([this, g = generation_] { work(g); }).detach();
    wake_.notify_all();
  }

  void pieces(Loop& loop, int32_t slot) {
    inside_piece = true;
    try {
      for (int64_t i; (i = loop.next.fetch_add(1, std::memory_order_relaxed)) < loop.pieces;) {
        const int64_t b = loop.begin + i * loop.grain;
        loop.fn(b, std::min(loop.end, b + loop.grain), slot);
      }
    } catch (...) {
      loop.next.store(loop.pieces, std::memory_order_relaxed);
      std::lock_guard<std::mutex> lock(mutex_);
      if (!loop.failure) loop.failure = std::current_exception();
    }
    inside_piece = false;
  }

  // A loop that has pieces left and room for one more participant; under the mutex.
  Loop* open_loop() {
    for (Loop* loop : loops_) {
      if (loop->joined < loop->slots && loop->next.load(std::memory_order_relaxed) < loop->pieces) return loop;
    }
    return nullptr;
  }

  void work(uint64_t generation) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      Loop* loop = nullptr;
      wake_.wait(lock, [&] { return generation != generation_ || (loop = open_loop()) != nullptr; });
      if (generation != generation_) return;
      const int32_t slot = loop->joined++;
      ++loop->inside;
      lock.unlock();
      pieces(*loop, slot);
      lock.lock();
      if (--loop->inside == 0) done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<Loop*> loops_;
  int32_t count_ = 0;        // workers, and the caller of a loop
  int32_t usual_ = 0;        // participants of a loop whose thread has no limit
  uint64_t generation_ = 0;  // workers of an older one leave
};

}  // namespace

void set_threads(int32_t n) { Pool::get().set_usual(n); }

ThreadLimit::ThreadLimit(int32_t n) : before_(thread_limit) {
  thread_limit = std::max(0, n);
  if (n > 0) Pool::get().grow(n);
}

ThreadLimit::~ThreadLimit() { thread_limit = before_; }

int32_t threads() { return Pool::get().threads(); }

void parallel_slots(int64_t begin, int64_t end, int64_t grain, FunctionRef<void(int64_t, int64_t, int32_t)> fn) {
  if (begin >= end) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t pieces = (end - begin + grain - 1) / grain;
  if (inside_piece || pieces == 1) {
    for (int64_t b = begin; b < end; b += grain) fn(b, std::min(end, b + grain), 0);
    return;
  }
  Loop loop{fn, begin, end, grain, pieces};
  Pool::get().run(loop);
}

void parallel_for(int64_t begin, int64_t end, int64_t grain, FunctionRef<void(int64_t, int64_t)> fn) {
  parallel_slots(begin, end, grain, [&](int64_t b, int64_t e, int32_t) { fn(b, e); });
}

}  // namespace lq::cpu
