// The encoder's rotation of inputs on the device: lq/encode.h.
#pragma once

#include <vector>

#include "runtime/memory.h"

namespace lq::cuda {

class DeviceRotation {
 public:
  DeviceRotation(const Stream& stream, int64_t cols, uint64_t seed);
  // Rows of x [rows, cols] from the weight's coordinates to the rotated ones, in place.
  void forward(const Stream& stream, float* x, int64_t rows) const;
  // The way back, each operation as lq/encode.h has it.
  void inverse(const Stream& stream, float* x, int64_t rows) const;
  // h to R h R', in place; h [cols, cols].
  void both_sides(const Stream& stream, double* h) const;

  // Columns of a run, and the signs [cols].
  int block() const { return block_; }
  const float* signs() const { return signs_.get(); }

 private:
  int64_t cols_;
  int block_;
  DeviceBuffer<float> signs_;
};

}  // namespace lq::cuda
