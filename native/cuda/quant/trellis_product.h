// Products of few tokens with trellis codes, states turned into tensor-core operands in registers.
#pragma once

#include "lm/product.h"
#include "quant/encoded_parts.h"

namespace lq::cuda {

// Tokens the kernel holds at once; more are further passes over the codes.
constexpr int64_t kTrellisTile = 16;

// What launches on one device share: x in the coordinates of the transform, and sums of blocks that share rows. Grows
// to what it was asked for.
class TrellisWorkspace {
 public:
  // Of the current device.
  TrellisWorkspace();

 private:
  friend class TrellisProduct;
  int multiprocessors_ = 0;
  bool overlaps_ = false;  // a launch can start before the one in front of it has ended (sm_90 and later)
  DeviceBuffer<uint16_t> rotated_;
  DeviceBuffer<float> sums_;
  DeviceBuffer<uint32_t> arrivals_;  // zero between launches
};

// How a kernel finds the values of states in shared memory.
struct TrellisLookup {
  bool pairs;      // by the states of two neighbours at once, in one table
  int copies_log;  // of single values, 2^this copies, each in banks of its own
  int bytes;       // of the table
};

struct TrellisPlan {
  TrellisLookup lookup;
  int warps, stages;  // of a block, and of a warp's ring; none: not possible
  int shared_bytes;
};

class TrellisProduct {
 public:
  // Whether the kernel takes a matrix on the current device: trellis codes of up to 4 bits whose table fits into shared
  // memory, rows in multiples of 16, columns in multiples of 32.
  static bool takes(const EncodedParts& parts);
  // The parts outlive this.
  TrellisProduct(const Stream& stream, const EncodedParts& parts);

  int64_t bytes() const { return scales_.bytes(); }
  // out [tokens, rows] = x [tokens, cols] W' without the low-rank part, plus what was there when out accumulates. x has
  // one plane, its rows start on 16 bytes. Sums are taken in an order that depends on the sizes and the device alone.
  void multiply(const Operand& x, int64_t tokens, const Target& out, TrellisWorkspace* workspace) const;

 private:
  void multiply_tile(const uint16_t* x, int64_t stride, bool after_rotation, int tokens, const Target& out,
                     TrellisWorkspace* workspace) const;

  const Stream& stream_;
  const EncodedParts& parts_;
  TrellisPlan plans_[2];        // for 8 tokens and for 16
  DeviceBuffer<float> scales_;  // [rows], times the multiplier
};

}  // namespace lq::cuda
