// Products of few tokens with a packed matrix, codes turned into tensor-core operands in registers.
#pragma once

#include "lm/product.h"
#include "lq/types.h"
#include "runtime/memory.h"

namespace lq::cuda {

// Tokens the kernel holds at once; more are further blocks that read the weights again, from cache.
constexpr int64_t kFusedTile = 64;

// A packed matrix in device memory, and its factors. Codes and fields of scales are those of QuantizedView; the scale
// and group arrays can be read in whole 32-bit words up to one word past their last byte.
struct PackedParts {
  const uint8_t* codes;
  const uint32_t* scales;
  const uint32_t* groups;
  QuantConfig config;
  float offset;
  float levels[16];
  int64_t rows, cols;
  const uint16_t* l1;  // bf16 [rows, rank]; null when rank is 0
  const uint16_t* l2;  // bf16 [rank, cols]
  int64_t rank;        // padded with zeros to a multiple of 32
};

// Whether the kernel takes this configuration: 2 to 4 bits, blocks of 16, 32 or 64, groups of a power of two from 4 on,
// rows in multiples of 8, columns in multiples of 128.
bool fused_product_takes(const QuantConfig& config, int64_t rows, int64_t cols);

// What launches on one device share: sums of blocks that split a row, and x L2'. Grows to what it was asked for.
class FusedWorkspace {
 public:
  // Of the current device.
  FusedWorkspace();

 private:
  friend void fused_product(const Stream&, const PackedParts&, const Operand&, int64_t, const Target&, FusedWorkspace*);
  int multiprocessors_ = 0;
  bool overlaps_ = false;  // a launch can start before the one in front of it has ended (sm_90 and later)
  DeviceBuffer<float> sums_;
  DeviceBuffer<uint32_t> arrivals_;  // zero between launches
  DeviceBuffer<uint16_t> projected_;
};

// out [tokens, rows] = x [tokens, cols] (Q + L1 L2)', plus what was there when out accumulates. x has one plane, its
// rows start on 16 bytes. Sums are taken in an order that depends on the sizes alone.
void fused_product(const Stream& stream, const PackedParts& parts, const Operand& x, int64_t tokens, const Target& out,
                   FusedWorkspace* workspace);

}  // namespace lq::cuda
