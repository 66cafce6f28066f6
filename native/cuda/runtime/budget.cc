#include "runtime/budget.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>

namespace lq::cuda {

int64_t available_device_bytes() {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for the device's memory");
  int device = 0;
  cudaMemPool_t pool = nullptr;
  uint64_t reserved = 0, used = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetDefaultMemPool(&pool, device), "asking for the memory pool");
  check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved), "asking for the memory pool");
  check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used), "asking for the memory pool");
  return static_cast<int64_t>(free + (reserved - used));
}

MemoryBudget::Share MemoryBudget::take(int64_t least, int64_t wanted, const Watch& watch) {
  constexpr auto kPoll = std::chrono::milliseconds(50);
  std::unique_lock<std::mutex> lock(mutex_);
  while (holders_ > 0 && total_ - granted_ < least) {
    // By the system's clock: waiting by the steady one needs a newer glibc than the package's floor.
    changed_.wait_until(lock, std::chrono::system_clock::now() + kPoll);
    watch.poll();
  }
  if (holders_ == 0) total_ = static_cast<int64_t>(kUsable * static_cast<double>(available_device_bytes()));
  const int64_t bytes = std::clamp(total_ - granted_, least, std::max(least, wanted));
  ++holders_;
  granted_ += bytes;
  return Share(*this, bytes);
}

MemoryBudget::Share::~Share() {
  const std::lock_guard<std::mutex> lock(budget_.mutex_);
  --budget_.holders_;
  budget_.granted_ -= bytes_;
  budget_.changed_.notify_all();
}

}  // namespace lq::cuda
