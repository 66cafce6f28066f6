// What products of single experts run on: an expert's tokens are few, so that several products at once fill a device,
// and one thread does not launch them as fast as the device computes them.
#pragma once

#include <array>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "lm/product.h"

namespace lq::cuda {

class ExpertQueues {
 public:
  struct Queue {
    Stream stream;
    Products products{stream};  // cuBLAS wants a handle a stream: workspaces are its own
    Event done;
  };

  // On the current device.
  explicit ExpertQueues(int64_t experts);
  ~ExpertQueues();
  ExpertQueues(const ExpertQueues&) = delete;
  ExpertQueues& operator=(const ExpertQueues&) = delete;

  // Starts bringing counts [experts] of tokens from the device, once `stream` is there; one at a time.
  void fetch_counts(const Stream& stream, const int32_t* counts, int64_t experts);
  // Waits for them. What was put on the stream since goes on meanwhile.
  const int32_t* counts();

  // Calls work(queue, i) for i below `count`, in turns on the queues, each with a thread of its own, after what is on
  // `stream` and before what is put there next. Throws what a call threw, once all have ended.
  void spread(const Stream& stream, int64_t count, const std::function<void(const Queue&, int64_t)>& work);

 private:
  static constexpr size_t kQueues = 4;
  void serve(size_t queue);
  void run(size_t queue, const std::function<void(size_t)>& job);

  std::array<Queue, kQueues> queues_;
  Event begun_, arrived_;
  PinnedBuffer<int32_t> counts_;

  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void(size_t)>* job_ = nullptr;  // of the turn
  int64_t turn_ = 0;
  size_t busy_ = 0;  // threads that have not ended it
  bool closed_ = false;
  std::exception_ptr failure_;
  std::array<std::thread, kQueues - 1> threads_;  // the caller has the first queue
};

}  // namespace lq::cuda
