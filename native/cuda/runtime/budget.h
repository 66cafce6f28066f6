// Device memory shared between the lanes of a device: what a sweep is going to allocate is granted before it launches
// anything, so that lanes wait for each other instead of running out in the middle.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "runtime/status.h"

namespace lq::cuda {

// Bytes of the current device that can still be allocated: free, or held by the pool and unused.
int64_t available_device_bytes();

class MemoryBudget {
 public:
  // A grant, given back when the object goes.
  class Share {
   public:
    Share(MemoryBudget& budget, int64_t bytes) : budget_(budget), bytes_(bytes) {}
    ~Share();
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    int64_t bytes() const { return bytes_; }

   private:
    MemoryBudget& budget_;
    const int64_t bytes_;
  };

  // Waits until `least` bytes are left by the other shares and grants up to `wanted`. Somebody alone is never refused:
  // whether the device really has that much is for the allocation to say. Throws `cancelled` while waiting.
  Share take(int64_t least, int64_t wanted, const Watch& watch);

 private:
  // Left for fragmentation, for ops that ask for no share, and for other programs that grow.
  static constexpr double kUsable = 0.9;

  std::mutex mutex_;
  std::condition_variable changed_;
  int holders_ = 0;
  int64_t total_ = 0, granted_ = 0;
};

}  // namespace lq::cuda
