// Options, metrics and parts of encoded matrices, from JavaScript and on disk.
#pragma once

#include <napi.h>

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "weight_source.h"

namespace lq {

// Throws a TypeError that names the property when the value is not a NativeOption.
EncodeOptionArgument parse_encode_option(const Napi::Value& value);

// The parts and factors of one encoded matrix at their places; every part has exactly the bytes its option gives.
EncodedPlaces parse_encoded_places(const Napi::Value& value, const EncodeOptionArgument& option, int64_t rows,
                                   int64_t cols);

EncodedSource parse_encoded(const Napi::Value& value);

// Buffers of every part of an option, and the view of them.
struct EncodedBuffers {
  EncodedBuffers(const EncodeOptionArgument& option, int64_t rows, int64_t cols, uint64_t seed);
  EncodedBuffers(const EncodedBuffers&) = delete;

  void read(const EncodedPlaces& places);
  void write(const EncodedPlaces& places) const;

  const CodeBook book;
  std::array<std::vector<uint8_t>, kPartCount> parts;
  EncodedView view;
};

// An encoded source's parts and fp32 factors in memory.
struct LoadedEncoded {
  EncodedBuffers buffers;
  std::vector<float> l1, l2;  // empty at rank 0
};
// Throws like load_weight.
std::unique_ptr<LoadedEncoded> read_encoded(const EncodedSource& source, Backend& backend, const Control& control);

// The weight of an encoded source in fp32. Throws like load_weight.
void load_encoded(const EncodedSource& source, Backend& backend, float* out, const Control& control);

// A metric by where its statistics are.
struct MetricSource {
  MetricKind kind = MetricKind::plain;
  // A second moment of one row is the diagonal of one.
  std::optional<DenseSource> fisher, row_weight, second_moment;
  double damping = 0;
};
// Checks the shapes against the weight's.
MetricSource parse_metric(const Napi::Value& value, int64_t rows, int64_t cols);

struct CorrectionSource {
  DenseSource cross;
  double alpha;
};
std::optional<CorrectionSource> parse_correction(const Napi::Value& value, int64_t cols);

}  // namespace lq
