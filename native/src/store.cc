#include "store.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "convert.h"
#include "file.h"
#include "prepared.h"
#include "task.h"
#include "threads.h"

namespace lq {
namespace {

void check(const Status& status, const std::string& file) {
  if (status.code != StatusCode::ok) throw_status(status, file);
}

}  // namespace

void refuse_integers(const Napi::Env& env, const DenseSource& weight) {
  switch (weight.dtype) {
    case Dtype::F64:
    case Dtype::F32:
    case Dtype::F16:
    case Dtype::BF16:
    case Dtype::F8_E4M3:
    case Dtype::F8_E5M2:
      return;
    default:
      throw Napi::TypeError::New(env, "the weight's type is not a floating-point type");
  }
}

void refuse_unsquarable(const MatrixView& m, int exponent, const std::string& file) {
  const float limit = std::ldexp(1.0f, 60 - exponent);
  const int64_t at = cpu::first_beyond(m, limit), count = m.rows * m.cols;
  if (at < 0 || cpu::first_non_finite(m) >= 0) return;
  if (exponent != 0) {
    constexpr int64_t kPiece = 1 << 16;
    std::vector<float> values(static_cast<size_t>(kPiece));
    int64_t large = 0;
    for (int64_t first = 0; first < count; first += kPiece) {
      const int64_t n = std::min(kPiece, count - first);
      cpu::to_float(m.data, m.dtype, first, n, values.data());
      large += std::count_if(values.begin(), values.begin() + n, [&](float x) { return std::fabs(x) > limit; });
    }
    // Beyond this the scales and factors of such a weight could leave the range of fp32 themselves.
    constexpr int kLargest = 124;
    if (large > std::max<int64_t>(1, count / 1000) && exponent <= kLargest) return;
  }
  Status status{StatusCode::out_of_range, at, {}};
  std::strncpy(status.message, "the weight has a value too large to be squared", sizeof status.message - 1);
  throw_status(status, file);
}

void write_dense(const DenseSource& to, const float* values, const Control& control) {
  if (to.transposed) {
    std::vector<float> stored(static_cast<size_t>(to.rows * to.cols));
    transpose(values, to.rows, to.cols, stored.data());
    return write_dense({to.path, to.offset, to.dtype, to.cols, to.rows}, stored.data(), control);
  }
  const File file(to.path, File::Mode::write);
  const int64_t n = to.rows * to.cols, width = dtype_bits(to.dtype) / 8;
  constexpr int64_t kPiece = 4 << 20;
  std::vector<uint16_t> rounded;
  for (int64_t at = 0; at < n; at += kPiece) {
    if (control.cancelled(control.user)) throw_error(StatusCode::cancelled, "cancelled");
    const int64_t m = std::min(kPiece, n - at);
    if (to.dtype == Dtype::F32) {
      file.write(to.offset + at * width, m * width, values + at);
      continue;
    }
    rounded.resize(static_cast<size_t>(m));
    cpu::parallel_for(0, m, 1 << 16, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        const float x = values[at + i];
        rounded[static_cast<size_t>(i)] = to.dtype == Dtype::BF16 ? cpu::to_bf16(x) : cpu::to_f16(x);
      }
    });
    file.write(to.offset + at * width, m * width, rounded.data());
  }
}

bool is_writable(Dtype dtype) { return dtype == Dtype::F32 || dtype == Dtype::BF16 || dtype == Dtype::F16; }

void refuse_unwritable(const Napi::Env& env, const std::optional<FactorSource>& factor) {
  const auto* dense = factor.has_value() ? std::get_if<DenseSource>(&*factor) : nullptr;
  if (dense != nullptr && !is_writable(dense->dtype)) {
    throw Napi::TypeError::New(env, "factors are stored as F32, BF16, F16 or packed");
  }
}

void store_factor(const FactorSource& to, std::vector<float>& values, Backend& backend, const Control& control) {
  if (const auto* dense = std::get_if<DenseSource>(&to)) {
    write_dense(*dense, values.data(), control);
    for (float& x : values) {
      if (dense->dtype == Dtype::BF16) x = cpu::from_bf16(cpu::to_bf16(x));
      if (dense->dtype == Dtype::F16) x = cpu::from_f16(cpu::to_f16(x));
    }
    return;
  }
  const PackedTensor& place = std::get<PackedFactor>(to).packed;
  PackedBuffers packed(place.config, place.book, place.count);
  check(backend.quantize({values.data(), Dtype::F32, 1, place.count}, &packed.view, control), place.codes.path);
  packed.write(place.codes, place.scales, place.groups, place.offset);
  check(backend.dequantize(packed.view, values.data(), control), place.codes.path);
}

}  // namespace lq
