// What lies between two blocks of all sequences of a run that goes block by block.
#pragma once

#include <vector>

#include "runtime/memory.h"

namespace lq::cuda {

// Hidden states of all sequences, [rows, width] fp32, on the device or on the host.
class HiddenStates {
 public:
  // Whether those of so many rows take no more than half of the device's memory.
  static bool fit(int64_t rows, int64_t width, int64_t usable_bytes) {
    return rows * width * static_cast<int64_t>(sizeof(float)) <= usable_bytes / 2;
  }

  HiddenStates() = default;
  HiddenStates(const Stream& stream, int64_t rows, int64_t width, bool on_device) : stream_(&stream), width_(width) {
    if (on_device) {
      device_ = DeviceBuffer<float>(stream, rows * width);
    } else {
      host_.resize(static_cast<size_t>(rows * width));
    }
  }

  // Rows [first, first + rows) on the device: in place, or brought to `room`.
  float* bring(int64_t first, int64_t rows, float* room) const {
    if (device_.get() != nullptr) return device_.get() + first * width_;
    copy(room, host_.data() + first * width_, rows, cudaMemcpyHostToDevice);
    return room;
  }
  // Keeps what bring() gave, changed since.
  void keep(int64_t first, int64_t rows, const float* from) {
    if (device_.get() == nullptr) copy(host_.data() + first * width_, from, rows, cudaMemcpyDeviceToHost);
  }

 private:
  void copy(float* to, const float* from, int64_t rows, cudaMemcpyKind kind) const {
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(rows * width_) * sizeof(float), kind, stream_->get()),
          "copying hidden states");
    stream_->synchronize();
  }

  const Stream* stream_ = nullptr;
  int64_t width_ = 0;
  DeviceBuffer<float> device_;
  std::vector<float> host_;
};

}  // namespace lq::cuda
