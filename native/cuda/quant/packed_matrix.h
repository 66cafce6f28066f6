// A matrix W = Q + L1 L2 that stays in device memory in its packed form: lq/encode.h.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "lm/product.h"
#include "lm/shape.h"
#include "quant/encoded_parts.h"
#include "quant/fused_product.h"
#include "quant/trellis_product.h"

namespace lq::cuda {

// What the packed matrices of a stream share. Scratch memory grows to the largest matrix expanded.
struct PackedWorkspace {
  TrellisTables tables;
  FusedWorkspace fused;
  TrellisWorkspace trellis;
  DeviceBuffer<float> dense;        // W in fp32, rows and columns as they are
  DeviceBuffer<uint16_t> expanded;  // W, or Q, in planes
  DeviceBuffer<float> projected;    // x L2'
  DeviceBuffer<uint16_t> projected_planes;
};

class PackedMatrix {
 public:
  // Copies an encoded matrix and its factors (host, null at rank 0) to the device, the factors in `planes` planes.
  // Products have its rows and columns where `placement` puts them, and zeros between. With `order` (not empty) row i
  // of products is the matrix's row order[i], or zero where that is -1, and the rows of the placement say nothing.
  // Throws invalid_argument for a missing part and an option outside the format, unsupported for a block type of GGUF.
  PackedMatrix(const Stream& stream, const EncodedView& w, const float* l1, const float* l2, const Placement& placement,
               const std::vector<int32_t>& order, int planes, PackedWorkspace* workspace);
  PackedMatrix(const PackedMatrix&) = delete;

  // Sizes of products, padding included: multiples of 8.
  int64_t padded_rows() const { return padded_rows_; }
  int64_t padded_cols() const { return padded_cols_; }
  int planes() const { return planes_; }
  const Stream& stream() const { return stream_; }
  // Of device memory; tables that matrices share are not counted.
  int64_t bytes() const;
  // Makes room in the workspace for the matrix expanded.
  void reserve(PackedWorkspace* workspace) const;

  // out [tokens, padded_rows] = x [tokens, padded_cols] W', or adds to it. Few tokens are multiplied with the codes
  // themselves where a kernel takes them, with one plane of x; for more, and for all that no kernel takes, W is
  // expanded into the workspace first. x has at most as many planes as the matrix.
  void times_transposed(const Products& products, const Operand& x, int64_t tokens, const Target& out,
                        PackedWorkspace* workspace) const;
  // out [padded_rows, padded_cols] = W in the matrix's planes, rows dense, the second plane `plane` elements after the
  // first. Takes the workspace's `dense`.
  void expand(uint16_t* out, int64_t plane, PackedWorkspace* workspace) const;

 private:
  // out = x (L1 L2)', or adds to it.
  void times_factors(const Products& products, const Operand& x, int64_t tokens, const Target& out,
                     PackedWorkspace* workspace) const;

  const Stream& stream_;
  const Placement placement_;
  DeviceBuffer<int32_t> order_;  // empty: the placement's
  const int64_t padded_rows_, padded_cols_;
  const int planes_;
  const EncodedParts parts_;
  int64_t rank_;                    // padded
  DeviceBuffer<uint16_t> l1_, l2_;  // [padded_rows, rank] and [rank, padded_cols]
  // What multiplies few tokens, if anything.
  std::optional<PackedParts> fused_;
  std::unique_ptr<TrellisProduct> trellis_;
};

// Makes room in a buffer of the workspace.
template <typename T>
T* grown(const Stream& stream, DeviceBuffer<T>* buffer, int64_t size) {
  if (buffer->size() < size) {
    *buffer = {};
    *buffer = DeviceBuffer<T>(stream, size);
  }
  return buffer->get();
}

}  // namespace lq::cuda
