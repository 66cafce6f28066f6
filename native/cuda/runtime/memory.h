// Ownership of device resources: streams, events, device and pinned host buffers.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "runtime/status.h"

namespace lq::cuda {

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }
  void synchronize() const { check(cudaStreamSynchronize(stream_), "waiting for the device"); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() {
    check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync), "creating an event");
  }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(const Stream& stream) { check(cudaEventRecord(event_, stream.get()), "recording an event"); }
  // What is put on `stream` from now on waits for it.
  void hold(const Stream& stream) const { check(cudaStreamWaitEvent(stream.get(), event_, 0), "waiting for an event"); }
  void synchronize() { check(cudaEventSynchronize(event_), "waiting for the device"); }

 private:
  cudaEvent_t event_ = nullptr;
};

// Device memory of `size` elements from the stream-ordered pool, freed in the order of the same stream. Contents are
// undefined until written.
template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(const Stream& stream, int64_t size) : stream_(stream.get()), size_(size) {
    if (size > 0) {
      check(cudaMallocAsync(reinterpret_cast<void**>(&data_), static_cast<size_t>(size) * sizeof(T), stream_),
            "allocating device memory");
    }
  }
  ~DeviceBuffer() {
    if (data_ != nullptr) cudaFreeAsync(data_, stream_);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    DeviceBuffer moved(std::move(other));
    swap(moved);
    return *this;
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  T* get() const { return data_; }
  int64_t size() const { return size_; }
  int64_t bytes() const { return size_ * static_cast<int64_t>(sizeof(T)); }

  void clear() {
    if (size_ > 0) check(cudaMemsetAsync(data_, 0, static_cast<size_t>(bytes()), stream_), "clearing device memory");
  }
  void upload(const T* source, int64_t count) {
    if (count > 0) {
      check(cudaMemcpyAsync(data_, source, static_cast<size_t>(count) * sizeof(T), cudaMemcpyHostToDevice, stream_),
            "copying to the device");
    }
  }
  // Returns when the data has arrived.
  void download(T* target, int64_t count) const {
    if (count <= 0) return;
    check(cudaMemcpyAsync(target, data_, static_cast<size_t>(count) * sizeof(T), cudaMemcpyDeviceToHost, stream_),
          "copying from the device");
    check(cudaStreamSynchronize(stream_), "waiting for the device");
  }

 private:
  void swap(DeviceBuffer& other) {
    std::swap(stream_, other.stream_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  cudaStream_t stream_ = nullptr;
  T* data_ = nullptr;
  int64_t size_ = 0;
};

// Page-locked host memory, which the device copies to while the host goes on.
template <typename T>
class PinnedBuffer {
 public:
  explicit PinnedBuffer(int64_t size) {
    check(cudaMallocHost(reinterpret_cast<void**>(&data_), static_cast<size_t>(size) * sizeof(T)),
          "allocating pinned memory");
    std::memset(static_cast<void*>(data_), 0, static_cast<size_t>(size) * sizeof(T));
  }
  ~PinnedBuffer() { cudaFreeHost(data_); }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  T* get() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
};

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace lq::cuda
