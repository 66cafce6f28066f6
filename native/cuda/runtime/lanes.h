// Streams that calls from several threads run on at once: one call, one lane.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/memory.h"

namespace lq::cuda {

class Lanes {
 public:
  // Streams of the current device.
  explicit Lanes(int count) {
    for (int i = 0; i < count; ++i) free_.push_back(std::make_unique<Stream>());
  }

  // A stream of one's own for as long as the object lives; waits while all are taken.
  class Lease {
   public:
    explicit Lease(Lanes& lanes) : lanes_(lanes) {
      std::unique_lock<std::mutex> lock(lanes_.mutex_);
      lanes_.changed_.wait(lock, [&] { return !lanes_.free_.empty(); });
      stream_ = std::move(lanes_.free_.back());
      lanes_.free_.pop_back();
    }
    ~Lease() {
      const std::lock_guard<std::mutex> lock(lanes_.mutex_);
      lanes_.free_.push_back(std::move(stream_));
      lanes_.changed_.notify_one();
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    const Stream& stream() const { return *stream_; }

   private:
    Lanes& lanes_;
    std::unique_ptr<Stream> stream_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Stream>> free_;
};

}  // namespace lq::cuda
