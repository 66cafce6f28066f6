#include "weight_source.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <utility>

#include "arguments.h"
#include "convert.h"
#include "encode_arguments.h"
#include "file.h"
#include "gguf/blocks.h"
#include "task.h"
#include "threads.h"

namespace lq {
namespace {

constexpr std::pair<const char*, Dtype> kDtypes[] = {
    {"F64", Dtype::F64},         {"F32", Dtype::F32},         {"F16", Dtype::F16},   {"BF16", Dtype::BF16},
    {"F8_E4M3", Dtype::F8_E4M3}, {"F8_E5M2", Dtype::F8_E5M2}, {"I64", Dtype::I64},   {"I32", Dtype::I32},
    {"I16", Dtype::I16},         {"I8", Dtype::I8},           {"U64", Dtype::U64},   {"U32", Dtype::U32},
    {"U16", Dtype::U16},         {"U8", Dtype::U8},           {"BOOL", Dtype::BOOL},
};

Dtype parse_dtype(const Napi::Value& value) {
  const std::string name = text(value, "dtype");
  for (const auto& [known, dtype] : kDtypes) {
    if (name == known) return dtype;
  }
  throw Napi::TypeError::New(value.Env(), "dtype " + name + " is not supported");
}

PackedTensor parse_packed(const Napi::Value& value) {
  PackedTensor p{};
  p.config = parse_config(member(value, "config"));
  p.book = parse_book(member(value, "book"));
  if (p.book.bits != p.config.b0) throw Napi::TypeError::New(value.Env(), "book is not a code book of b0 bits");
  p.count = integer(value, "count");
  p.codes = parse_range(member(value, "codes"));
  p.scales = parse_range(member(value, "scales"));
  p.groups = parse_range(member(value, "groups"));
  p.offset = parse_range(member(value, "offset"));
  if (p.codes.bytes != code_bytes(p.config, p.count) || p.scales.bytes != scale_bytes(p.config, p.count) ||
      p.groups.bytes != group_bytes(p.config, p.count) || p.offset.bytes != 4) {
    throw Napi::TypeError::New(value.Env(), "a part of a packed tensor has another size than its configuration gives");
  }
  return p;
}

bool is_float(Dtype dtype) {
  switch (dtype) {
    case Dtype::F64:
    case Dtype::F32:
    case Dtype::F16:
    case Dtype::BF16:
    case Dtype::F8_E4M3:
    case Dtype::F8_E5M2:
      return true;
    default:
      return false;
  }
}

// Flat index of the first NaN or Inf, or -1. An exponent of all ones is either.
int64_t first_not_finite(const float* x, int64_t count) {
  constexpr uint32_t kExponent = 0x7f800000u;
  constexpr int64_t kStride = 4096;
  for (int64_t i = 0; i < count; i += kStride) {
    const int64_t end = std::min(count, i + kStride);
    bool bad = false;
    for (int64_t j = i; j < end; ++j) bad |= (std::bit_cast<uint32_t>(x[j]) & kExponent) == kExponent;
    if (!bad) continue;
    for (int64_t j = i; j < end; ++j) {
      if ((std::bit_cast<uint32_t>(x[j]) & kExponent) == kExponent) return j;
    }
  }
  return -1;
}

[[noreturn]] void refuse_not_finite(int64_t index, const std::string& path) {
  Status status{StatusCode::not_finite, index, {}};
  std::strncpy(status.message, "the weight has a NaN or an infinity", sizeof status.message - 1);
  throw_status(status, path);
}

void require_finite(const float* x, int64_t first, int64_t count, const std::string& path) {
  const int64_t bad = first_not_finite(x, count);
  if (bad >= 0) refuse_not_finite(first + bad, path);
}

// Doubles that fp32 does not hold are no infinities, and are refused as what they are.
void require_fp32_range(const char* doubles, int64_t count, const std::string& path) {
  for (int64_t i = 0; i < count; ++i) {
    double value;
    std::memcpy(&value, doubles + i * static_cast<int64_t>(sizeof value), sizeof value);
    if (std::isfinite(value) && !std::isfinite(static_cast<float>(value))) {
      throw_error(StatusCode::unsupported, "a value of the tensor is beyond the range of fp32", path);
    }
  }
}

// The elements in the order they are stored in.
void load_stored(const DenseSource& s, float* out, const Control& control) {
  constexpr int64_t kPiece = int64_t{1} << 16;  // elements: bytes and floats stay in a core's cache
  if (!is_float(s.dtype)) {
    throw_error(StatusCode::unsupported, "the tensor's type is not a floating-point type", s.path);
  }
  const File file(s.path);
  const int64_t count = s.rows * s.cols, width = dtype_bits(s.dtype) / 8;
  std::mutex finding;
  int64_t bad = count;  // the first of them, whichever thread finds it
  cpu::parallel_for(0, count, kPiece, [&](int64_t first, int64_t end) {
    thread_local std::vector<char> bytes;
    if (control.cancelled != nullptr && control.cancelled(control.user)) {
      throw_error(StatusCode::cancelled, "cancelled");
    }
    const int64_t n = end - first;
    bytes.resize(static_cast<size_t>(n * width));
    file.read(s.offset + first * width, n * width, bytes.data());
    cpu::to_float(bytes.data(), s.dtype, 0, n, out + first);
    if (s.dtype == Dtype::F64) require_fp32_range(bytes.data(), n, s.path);
    const int64_t found = first_not_finite(out + first, n);
    if (found < 0) return;
    const std::lock_guard<std::mutex> lock(finding);
    bad = std::min(bad, first + found);
  });
  if (bad < count) refuse_not_finite(bad, s.path);
}

void load_dense(const DenseSource& s, float* out, const Control& control) {
  if (!s.transposed) return load_stored(s, out, control);
  std::vector<float> stored(static_cast<size_t>(s.rows * s.cols));
  load_stored(s, stored.data(), control);
  transpose(stored.data(), s.cols, s.rows, out);
}

constexpr int64_t kMxBlock = 32;

Mxfp4Source parse_mxfp4(const Napi::Value& value) {
  Mxfp4Source s{integer(value, "rows"), integer(value, "cols"), parse_range(member(value, "blocks")),
                parse_range(member(value, "scales"))};
  const int64_t count = s.rows * s.cols;
  if (s.cols % kMxBlock != 0 || s.blocks.bytes != count / 2 || s.scales.bytes != count / kMxBlock) {
    throw Napi::TypeError::New(value.Env(), "a part of an MXFP4 tensor has another size than its shape gives");
  }
  return s;
}

void load_mxfp4(const Mxfp4Source& s, float* out, const Control& control) {
  constexpr float kLevels[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  constexpr int64_t kPiece = int64_t{1} << 16;  // blocks
  constexpr uint8_t kNaN = 255;
  const File codes(s.blocks.path), exponents(s.scales.path);
  std::vector<uint8_t> halves(kPiece * kMxBlock / 2), scales(kPiece);
  const int64_t blocks = s.scales.bytes;
  for (int64_t first = 0; first < blocks; first += kPiece) {
    if (control.cancelled != nullptr && control.cancelled(control.user)) {
      throw_error(StatusCode::cancelled, "cancelled");
    }
    const int64_t n = std::min(kPiece, blocks - first);
    codes.read(s.blocks.offset + first * kMxBlock / 2, n * kMxBlock / 2, halves.data());
    exponents.read(s.scales.offset + first, n, scales.data());
    for (int64_t b = 0; b < n; ++b) {
      const float scale = scales[b] == kNaN ? std::numeric_limits<float>::quiet_NaN()
                                            : std::ldexp(1.0f, static_cast<int>(scales[b]) - 127);
      float* to = out + (first + b) * kMxBlock;
      for (int64_t i = 0; i < kMxBlock; ++i) {
        const int code = halves[(b * kMxBlock + i) / 2] >> (i % 2 == 0 ? 0 : 4) & 15;
        to[i] = (code & 8 ? -kLevels[code & 7] : kLevels[code & 7]) * scale;
      }
    }
    require_finite(out + first * kMxBlock, first * kMxBlock, n * kMxBlock, s.blocks.path);
  }
}

std::optional<Dtype> element_type(const std::string& name) {
  for (const auto& [known, dtype] : kDtypes) {
    if (name == known && is_float(dtype)) return dtype;
  }
  return std::nullopt;
}

// Bytes of one row, or 0 for a type that cannot be read or a row that is no whole number of blocks.
int64_t gguf_row_bytes(const std::string& type, int64_t cols) {
  if (const auto dtype = element_type(type)) return cols * (dtype_bits(*dtype) / 8);
  const cpu::gguf::BlockFormat* format = cpu::gguf::find_format(type);
  return format == nullptr || cols % format->weights != 0 ? 0 : cols / format->weights * format->bytes;
}

GgufSource parse_gguf(const Napi::Value& value) {
  GgufSource s;
  s.type = text(value, "type");
  s.rows = integer(value, "rows");
  s.cols = integer(value, "cols");
  s.range = parse_range(member(value, "range"));
  if (member(value, "plus").IsNumber()) s.plus = member(value, "plus").ToNumber().FloatValue();
  const int64_t row = gguf_row_bytes(s.type, s.cols), extent = s.rows == 1 ? s.cols : s.rows;
  if (row == 0) throw Napi::TypeError::New(value.Env(), "a row of " + s.type + " is not a whole number of blocks");
  if (s.range.bytes != s.rows * row) {
    throw Napi::TypeError::New(value.Env(), "the range of a GGUF tensor has another size than its type and shape give");
  }
  if (member(value, "order").IsTypedArray()) s.order = row_order(member(value, "order"), extent);
  if (s.rows == 1 && !s.order.empty() && !element_type(s.type)) {
    throw Napi::TypeError::New(value.Env(), "the elements of a GGUF vector that are ordered are no elements");
  }
  return s;
}

// A packed tensor's parts.
void load_parts(const PackedTensor& p, LoadedPacked* out) {
  out->codes.resize(p.codes.bytes);
  out->scales.resize(p.scales.bytes);
  out->groups.resize(p.groups.bytes);
  read_bytes(p.codes, out->codes.data());
  read_bytes(p.scales, out->scales.data());
  read_bytes(p.groups, out->groups.data());
  float offset = 0;
  read_bytes(p.offset, &offset);
  out->view = {p.config, &p.book, p.count, out->codes.data(), out->scales.data(), out->groups.data(), offset};
}

void check(const Status& status, const std::string& file) {
  if (status.code != StatusCode::ok) throw_status(status, file);
}

}  // namespace

std::vector<int32_t> row_order(const Napi::Value& value, int64_t rows) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array ||
      static_cast<int64_t>(value.As<Napi::TypedArray>().ElementLength()) != rows) {
    throw Napi::TypeError::New(value.Env(), "an order of rows is no Int32Array of their number");
  }
  const auto given = value.As<Napi::Int32Array>();
  std::vector<int32_t> order(given.Data(), given.Data() + rows);
  std::vector<bool> seen(static_cast<size_t>(rows));
  for (const int32_t row : order) {
    if (row < 0 || row >= rows || seen[static_cast<size_t>(row)]) {
      throw Napi::TypeError::New(value.Env(), "an order of rows does not have each of them once");
    }
    seen[static_cast<size_t>(row)] = true;
  }
  return order;
}

std::vector<float> load_factor(const FactorSource& source, Backend& backend, const Control& control) {
  if (const auto* dense = std::get_if<DenseSource>(&source)) {
    std::vector<float> out(dense->rows * dense->cols);
    load_dense(*dense, out.data(), control);
    return out;
  }
  const auto& factor = std::get<PackedFactor>(source);
  std::vector<float> out(factor.rows * factor.cols);
  LoadedPacked packed;
  load_parts(factor.packed, &packed);
  check(backend.dequantize(packed.view, out.data(), control), factor.packed.codes.path);
  return out;
}

int64_t factor_rows(const FactorSource& source) {
  return std::visit([](const auto& f) { return f.rows; }, source);
}

int64_t factor_columns(const FactorSource& source) {
  return std::visit([](const auto& f) { return f.cols; }, source);
}

QuantConfig parse_config(const Napi::Value& value) {
  QuantConfig c{};
  c.b0 = static_cast<int32_t>(integer(value, "b0"));
  c.b1 = static_cast<int32_t>(integer(value, "b1"));
  c.block = static_cast<int32_t>(integer(value, "B0"));
  c.group = static_cast<int32_t>(integer(value, "B1"));
  const std::string b2 = text(value, "b2");
  if (b2 != "bf16" && b2 != "fp16" && b2 != "fp32") throw Napi::TypeError::New(value.Env(), "unknown scale type " + b2);
  c.b2 = b2 == "bf16" ? ScaleDtype::BF16 : b2 == "fp16" ? ScaleDtype::FP16 : ScaleDtype::FP32;
  if (c.block <= 0 || c.group <= 0) throw Napi::TypeError::New(value.Env(), "B0 or B1 is 0");
  return c;
}

CodeBook parse_book(const Napi::Value& value) {
  CodeBook book{};
  book.bits = static_cast<int32_t>(integer(value, "bits"));
  const Napi::Value levels = member(value, "levels");
  if (!levels.IsTypedArray() || levels.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array || book.bits > 8 ||
      levels.As<Napi::Float32Array>().ElementLength() != size_t{1} << book.bits) {
    throw Napi::TypeError::New(value.Env(), "book.levels is not a Float32Array of 2^bits levels");
  }
  const auto array = levels.As<Napi::Float32Array>();
  std::copy_n(array.Data(), array.ElementLength(), book.levels);
  return book;
}

ByteRange parse_range(const Napi::Value& value) {
  return {text(value, "path"), integer(value, "offset"), integer(value, "bytes")};
}

DenseSource parse_dense(const Napi::Value& value) {
  return {text(value, "path"),    integer(value, "offset"), parse_dtype(value),
          integer(value, "rows"), integer(value, "cols"),   member(value, "transposed").ToBoolean()};
}

FactorSource parse_factor(const Napi::Value& value) {
  if (text(value, "kind") == "dense") return parse_dense(value);
  PackedFactor f{integer(value, "rows"), integer(value, "cols"), parse_packed(member(value, "packed"))};
  if (f.packed.count != f.rows * f.cols) throw Napi::TypeError::New(value.Env(), "a packed factor's count is wrong");
  return f;
}

WeightSource parse_weight(const Napi::Value& value) {
  const std::string kind = text(value, "kind");
  if (kind == "dense") return parse_dense(value);
  if (kind == "gguf") return parse_gguf(value);
  if (kind == "encoded") return parse_encoded(value);
  if (kind == "mxfp4") return parse_mxfp4(value);
  LqSource s{integer(value, "rows"), integer(value, "cols"), parse_packed(member(value, "quantized")), {}, {}};
  if (s.quantized.count != s.rows * s.cols) throw Napi::TypeError::New(value.Env(), "quantized.count is wrong");
  if (const Napi::Value l1 = member(value, "l1"); l1.IsObject()) s.l1 = parse_factor(l1);
  if (const Napi::Value l2 = member(value, "l2"); l2.IsObject()) s.l2 = parse_factor(l2);
  if (s.l1.has_value() != s.l2.has_value()) throw Napi::TypeError::New(value.Env(), "l1 and l2 come in pairs");
  return s;
}

int64_t element_count(const WeightSource& source) {
  return std::visit([](const auto& s) { return s.rows * s.cols; }, source);
}

const std::string& path_of(const WeightSource& source) {
  if (const auto* dense = std::get_if<DenseSource>(&source)) return dense->path;
  if (const auto* gguf = std::get_if<GgufSource>(&source)) return gguf->range.path;
  if (const auto* encoded = std::get_if<EncodedSource>(&source)) return encoded->places.parts[0]->path;
  if (const auto* mx = std::get_if<Mxfp4Source>(&source)) return mx->blocks.path;
  return std::get<LqSource>(source).quantized.codes.path;
}

void read_bytes(const ByteRange& range, void* out) { File(range.path).read(range.offset, range.bytes, out); }

void write_bytes(const ByteRange& range, const void* in) {
  File(range.path, File::Mode::write).write(range.offset, range.bytes, in);
}

std::unique_ptr<LoadedPacked> load_packed(const LqSource& s, Backend& backend, const Control& control) {
  auto out = std::make_unique<LoadedPacked>();
  load_parts(s.quantized, out.get());
  if (!s.l1) return out;
  out->l1 = load_factor(*s.l1, backend, control);
  out->l2 = load_factor(*s.l2, backend, control);
  out->rank = static_cast<int32_t>(factor_columns(*s.l1));
  if (static_cast<int64_t>(out->l1.size()) != s.rows * out->rank ||
      static_cast<int64_t>(out->l2.size()) != out->rank * s.cols) {
    throw_error(StatusCode::invalid_argument, "the factors' shapes do not match the weight", s.quantized.codes.path);
  }
  return out;
}

void load_gguf(const GgufSource& s, float* out, const Control& control) {
  constexpr int64_t kPiece = int64_t{16} << 20;  // bytes
  const File file(s.range.path);
  const std::optional<Dtype> dtype = element_type(s.type);
  const cpu::gguf::BlockFormat* format = dtype ? nullptr : cpu::gguf::find_format(s.type);
  // The elements of a bias are ordered like the rows of its matrix.
  const bool vector = s.rows == 1 && !s.order.empty();
  const int64_t all = vector ? s.cols : s.rows, cols = vector ? 1 : s.cols;
  const int64_t row_bytes = gguf_row_bytes(s.type, cols), per_piece = std::max<int64_t>(1, kPiece / row_bytes);
  std::vector<uint8_t> bytes(static_cast<size_t>(std::min(all, per_piece) * row_bytes));
  for (int64_t first = 0; first < all; first += per_piece) {
    if (control.cancelled != nullptr && control.cancelled(control.user)) {
      throw_error(StatusCode::cancelled, "cancelled");
    }
    const int64_t rows = std::min(per_piece, all - first);
    file.read(s.range.offset + first * row_bytes, rows * row_bytes, bytes.data());
    cpu::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = s.order.empty() ? first + i : s.order[static_cast<size_t>(first + i)];
        const uint8_t* from = bytes.data() + i * row_bytes;
        if (format != nullptr) {
          cpu::gguf::decode(*format, from, cols / format->weights, out + row * cols);
        } else {
          cpu::to_float(from, *dtype, 0, cols, out + row * cols);
        }
        if (s.plus != 0) std::for_each_n(out + row * cols, cols, [&](float& x) { x += s.plus; });
      }
    });
  }
}

void load_weight(const WeightSource& source, Backend& backend, float* out, const Control& control) {
  if (const auto* dense = std::get_if<DenseSource>(&source)) return load_dense(*dense, out, control);
  if (const auto* gguf = std::get_if<GgufSource>(&source)) {
    load_gguf(*gguf, out, control);
    return require_finite(out, 0, gguf->rows * gguf->cols, gguf->range.path);
  }
  if (const auto* encoded = std::get_if<EncodedSource>(&source)) return load_encoded(*encoded, backend, out, control);
  if (const auto* mx = std::get_if<Mxfp4Source>(&source)) return load_mxfp4(*mx, out, control);
  const auto& s = std::get<LqSource>(source);
  const std::unique_ptr<LoadedPacked> packed = load_packed(s, backend, control);
  const bool factors = packed->rank > 0;
  check(backend.reconstruct(packed->view, factors ? packed->l1.data() : nullptr, factors ? packed->l2.data() : nullptr,
                            s.rows, s.cols, packed->rank, out, control),
        s.quantized.codes.path);
}

}  // namespace lq
