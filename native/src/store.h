// Writing tensors and factors at their places.
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "weight_source.h"

namespace lq {

// Throws a TypeError when a weight's elements are no floating-point numbers.
void refuse_integers(const Napi::Env& env, const DenseSource& weight);

// Throws out_of_range with the index of the first of a few values whose squares would leave fp32, and beside which all
// others of their matrix are invisible to a squared error. `m` is 2^-exponent times the weight. Where many values are
// as large, a matrix that was scaled is as good as another. Values that are not finite are for the backend to tell.
void refuse_unsquarable(const MatrixView& m, int exponent, const std::string& file);

// A packed tensor in memory, in buffers of the right size.
struct PackedBuffers {
  PackedBuffers(const QuantConfig& config, const CodeBook& book, int64_t count)
      : book(book),
        codes(static_cast<size_t>(code_bytes(config, count))),
        scales(static_cast<size_t>(scale_bytes(config, count))),
        groups(static_cast<size_t>(group_bytes(config, count))),
        view{config, &this->book, count, codes.data(), scales.data(), groups.data(), 0} {}
  PackedBuffers(const PackedBuffers&) = delete;

  void write(const ByteRange& to_codes, const ByteRange& to_scales, const ByteRange& to_groups,
             const ByteRange& to_offset) const {
    write_bytes(to_codes, codes.data());
    write_bytes(to_scales, scales.data());
    write_bytes(to_groups, groups.data());
    write_bytes(to_offset, &view.offset);
  }

  const CodeBook book;
  std::vector<uint8_t> codes, scales, groups;
  QuantizedView view;
};

// Floating-point types that weights and dense factors can be written in.
bool is_writable(Dtype dtype);
// Throws a TypeError for a dense factor of another type.
void refuse_unwritable(const Napi::Env& env, const std::optional<FactorSource>& factor);

// Rounds values to a floating-point type and writes them at the tensor's place.
void write_dense(const DenseSource& to, const float* values, const Control& control);

// Stores a factor at its destination and leaves in `values` what was stored.
void store_factor(const FactorSource& to, std::vector<float>& values, Backend& backend, const Control& control);

}  // namespace lq
