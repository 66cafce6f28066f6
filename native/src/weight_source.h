// Weights named by where their bytes are: parsed from JavaScript, read into fp32.
#pragma once

#include <napi.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lq/backend.h"

namespace lq {

struct ByteRange {
  std::string path;
  int64_t offset, bytes;
};

// The elements of a matrix [rows, cols], which are stored as [cols, rows] when it is transposed.
struct DenseSource {
  std::string path;
  int64_t offset;
  Dtype dtype;
  int64_t rows, cols;
  bool transposed = false;
};

struct PackedTensor {
  QuantConfig config;
  CodeBook book;
  int64_t count;
  ByteRange codes, scales, groups, offset;
};

struct PackedFactor {
  int64_t rows, cols;
  PackedTensor packed;
};
using FactorSource = std::variant<DenseSource, PackedFactor>;

struct LqSource {
  int64_t rows, cols;
  PackedTensor quantized;
  std::optional<FactorSource> l1, l2;
};

// A tensor of a GGUF file: whole blocks a row, or elements of a floating-point type.
struct GgufSource {
  std::string type;  // as ggml names it
  int64_t rows, cols;
  ByteRange range;
  // Not empty: which row, or element of a vector, each stored one is.
  std::vector<int32_t> order;
  // Added to what is stored.
  float plus = 0;
};

// A matrix in the MX format of 4 bits (OCP Microscaling Formats 1.0): 32 weights of a row share a scale, a power of two
// of which the exponent plus 127 is stored. Two codes a byte, the first in the low half.
struct Mxfp4Source {
  int64_t rows, cols;
  ByteRange blocks, scales;
};

// An option and the levels its book points to when it is used.
struct EncodeOptionArgument {
  EncodeOption option;  // its book is set by EncodedBuffers, or by with_book
  CodeBook book;        // nf

  EncodeOption with_book() const {
    EncodeOption o = option;
    o.book = o.grid == GridKind::nf ? &book : nullptr;
    return o;
  }
};

// Group scales that are quantised themselves, as bitsandbytes does it: scale i is map[codes[i]] absmax[i / block] +
// offset.
struct NestedScales {
  ByteRange codes, map, absmax;  // U8; F32 [256]; F32
  int64_t block;
  float offset;
};

struct EncodedPlaces {
  std::array<std::optional<ByteRange>, kPartCount> parts;
  // In place of the part of group scales, which are fp32.
  std::optional<NestedScales> nested;
  // Of codes of 4 bits: the first of a byte is in its high half, as bitsandbytes stores them, not in the low one.
  bool high_first = false;
  std::optional<FactorSource> l1, l2;
};

struct EncodedSource {
  int64_t rows, cols;
  EncodeOptionArgument option;
  uint64_t seed;
  EncodedPlaces places;
};
using WeightSource = std::variant<DenseSource, LqSource, EncodedSource, GgufSource, Mxfp4Source>;

// These throw a TypeError that names the property when the value is not of the declared shape, or a size disagrees.
QuantConfig parse_config(const Napi::Value& value);
CodeBook parse_book(const Napi::Value& value);
ByteRange parse_range(const Napi::Value& value);
DenseSource parse_dense(const Napi::Value& value);
FactorSource parse_factor(const Napi::Value& value);
WeightSource parse_weight(const Napi::Value& value);
// An Int32Array that has each of `rows` numbers from 0 once. Throws Napi::TypeError.
std::vector<int32_t> row_order(const Napi::Value& value, int64_t rows);

// The file a weight is in, for errors.
const std::string& path_of(const WeightSource& source);
// Elements of a weight.
int64_t element_count(const WeightSource& source);
// to [cols, rows] = the transpose of from [rows, cols], in squares that caches hold.
template <typename Element>
void transpose(const Element* from, int64_t rows, int64_t cols, Element* to) {
  constexpr int64_t kSquare = 64;
  for (int64_t i = 0; i < rows; i += kSquare) {
    for (int64_t j = 0; j < cols; j += kSquare) {
      for (int64_t a = i; a < std::min(rows, i + kSquare); ++a) {
        for (int64_t b = j; b < std::min(cols, j + kSquare); ++b) to[b * rows + a] = from[a * cols + b];
      }
    }
  }
}

// Reads exactly range.bytes at range.offset. Throws TaskFailure (io_error) that names the file.
void read_bytes(const ByteRange& range, void* out);
// Writes exactly range.bytes at range.offset of an existing file. Throws like read_bytes; a full disk has errno ENOSPC.
void write_bytes(const ByteRange& range, const void* in);

// A low-rank factor in fp32, and its shape. Throws like load_weight.
std::vector<float> load_factor(const FactorSource& source, Backend& backend, const Control& control);
int64_t factor_rows(const FactorSource& source);
int64_t factor_columns(const FactorSource& source);

// A packed weight's parts and fp32 factors in memory. The view points into this object and, for its book, into the
// source.
struct LoadedPacked {
  std::vector<uint8_t> codes, scales, groups;
  QuantizedView view;
  std::vector<float> l1, l2;  // empty when rank is 0
  int32_t rank = 0;
};
// Throws like load_weight.
std::unique_ptr<LoadedPacked> load_packed(const LqSource& source, Backend& backend, const Control& control);

// Fills out [rows, cols] with a GGUF tensor in fp32, NaN and Inf as they are. Throws TaskFailure: io_error.
void load_gguf(const GgufSource& source, float* out, const Control& control);

// Fills out [rows, cols] with the weight in fp32; Q + L1 L2 is put together by `backend`. Throws TaskFailure: io_error,
// not_finite with the flat index of the first NaN or Inf, unsupported for a dtype that is no float, or the backend's.
void load_weight(const WeightSource& source, Backend& backend, float* out, const Control& control);

}  // namespace lq
