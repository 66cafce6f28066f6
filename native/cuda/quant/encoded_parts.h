// The parts of an encoded matrix (lq/encode.h) in device memory, and the weight that they stand for.
#pragma once

#include <memory>

#include "encode/rotation.h"
#include "lq/encode.h"
#include "quant/trellis_tables.h"
#include "quant/two_level_expand.h"
#include "runtime/memory.h"

namespace lq::cuda {

constexpr int64_t start_words(int64_t cols) { return (tiles_along(cols) + 1) / 2; }

class EncodedParts {
 public:
  // Copies the parts; returns when they are there. Throws invalid_argument for a missing part and an option outside the
  // format, unsupported for a block type of GGUF.
  EncodedParts(const Stream& stream, const EncodedView& e, TrellisTables* tables);

  const EncodeOption& option() const { return option_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  // Of device memory; tables that matrices share are not counted.
  int64_t bytes() const;

  // out [rows, cols] = the weight without its low-rank part, fp32, each operation as lq/encode.h has it.
  void decode(float* out) const;
  // out [rows, cols] += l1 [rows, rank] l2 [rank, cols], all fp32, in the order and with the roundings of lq/encode.h.
  static void add_low_rank(const Stream& stream, const float* l1, const float* l2, int64_t rows, int64_t cols,
                           int32_t rank, float* out);

  // Of two-level codes without a transform.
  TwoLevelCodes two_level() const;
  // Of a trellis code.
  // Of each tile the 16 bits before its stream, the last of them highest, as far as states reach back: two tiles a
  // word, the even one in its low half; rows of tiles have start_words(cols) words.
  const uint32_t* starts() const { return starts_.get(); }
  const uint8_t* codes() const { return reinterpret_cast<const uint8_t*>(codes_.get()); }
  const TrellisTable& table() const { return *table_; }
  const uint16_t* row_scales() const { return reinterpret_cast<const uint16_t*>(group_scales_.get()); }
  float multiplier() const { return multiplier_; }
  // Null without a rotation.
  const DeviceRotation* rotation() const { return rotation_.get(); }

 private:
  const Stream& stream_;
  EncodeOption option_;
  const int64_t rows_, cols_;
  float offset_ = 0, multiplier_ = 1;
  DeviceBuffer<uint32_t> codes_, scales_, groups_, group_scales_, group_zeros_, starts_, input_scales_;
  DeviceBuffer<float> levels_;
  std::shared_ptr<const TrellisTable> table_;
  std::unique_ptr<DeviceRotation> rotation_;
};

}  // namespace lq::cuda
