// Trellis codes on the device: one tile a block, a column of tiles a launch.
#pragma once

#include "lq/encode.h"
#include "runtime/memory.h"

namespace lq::cuda {

// Values of a code by state turned around (the newest bit lowest), as fp16 bits, for the one or two kinds of steps.
class DeviceCode {
 public:
  DeviceCode(const Stream& stream, const EncodeOption& option);
  const EncodeOption& option() const { return option_; }
  const uint16_t* values(int which) const { return values_[which].get(); }
  // Largest magnitude.
  float largest() const { return largest_; }

 private:
  EncodeOption option_;
  float largest_ = 0;
  DeviceBuffer<uint16_t> values_[2];
};

// The matrix being encoded; all [rows, cols] but where it says so.
struct TileMatrix {
  int64_t rows, cols;
  const float* target;
  const float* scales;  // [rows]
  float* values;        // in units of the scales
  float* error;         // target - values * scale
  uint8_t* codes;       // part `codes`, or null
  uint32_t* starts;     // [tiles], the fields of part `starts`
};

// Device memory that encode_tiles takes beside its arguments for states of so many bits: from 13 on costs and paths do
// not fit into shared memory. At most.
int64_t roomy_scratch(int32_t states);

// Encodes the column of tiles at `at + offset`. `wide` [rows, wide_cols] holds the targets of the columns from `at` on
// with the feedback of the columns before `at`; feedback [cols, cols], or null, gives that of the columns between.
void encode_tiles(const Stream& stream, const DeviceCode& code, const TileMatrix& matrix, const float* wide,
                  int64_t wide_cols, int64_t at, int64_t offset, const float* feedback);

}  // namespace lq::cuda
