// A matrix Q + L1 L2 that stays in device memory in its packed form.
#pragma once

#include "lm/product.h"
#include "lm/shape.h"
#include "quant/fused_product.h"

namespace lq::cuda {

// Scratch memory that the products of a stream share; it grows to the largest matrix expanded.
struct PackedWorkspace {
  FusedWorkspace fused;
  DeviceBuffer<uint16_t> expanded;  // Q
  DeviceBuffer<float> projected;    // x L2'
  DeviceBuffer<uint16_t> projected_planes;
};

class PackedMatrix {
 public:
  // Copies Q [rows, cols] and the host factors l1 [rows, rank] and l2 [rank, cols] (may be null when rank is 0) to the
  // device, the factors in `planes` planes. Products have Q's rows and columns where `placement` puts them, and zeros
  // between. Throws invalid_argument for a configuration outside the format and sizes that disagree.
  PackedMatrix(const Stream& stream, const QuantizedView& q, const float* l1, const float* l2, int32_t rank,
               const Placement& placement, int planes);

  // Sizes of products, padding included: multiples of 8.
  int64_t padded_rows() const { return padded_rows_; }
  int64_t padded_cols() const { return padded_cols_; }
  // Of device memory.
  int64_t bytes() const;
  // Makes room in the workspace for the matrix expanded.
  void reserve(PackedWorkspace* workspace) const;

  // out [tokens, padded_rows] = x [tokens, padded_cols] (Q + L1 L2)', or adds to it. Few tokens are multiplied with the
  // codes themselves; for more, and for configurations and paddings that kernel does not take, Q is expanded into the
  // workspace first. x has at most as many planes as the matrix.
  void times_transposed(const Products& products, const Operand& x, int64_t tokens, const Target& out,
                        PackedWorkspace* workspace) const;

 private:
  void expand(uint16_t* out) const;

  const Stream& stream_;
  Placement placement_;
  int64_t padded_rows_, padded_cols_;
  int planes_;
  bool fused_;
  DeviceBuffer<uint8_t> codes_;
  DeviceBuffer<uint32_t> scales_, groups_;
  DeviceBuffer<float> levels_;
  DeviceBuffer<uint16_t> l1_, l2_;  // [padded_rows, padded rank] and [padded rank, padded_cols]
  PackedParts parts_{};
};

}  // namespace lq::cuda
