#include "encode_arguments.h"

#include <cmath>
#include <string>
#include <utility>

#include "arguments.h"
#include "encode/encode.h"
#include "gguf/blocks.h"
#include "task.h"

namespace lq {
namespace {

int32_t bounded(const Napi::Value& value, const char* name, int64_t least, int64_t most) {
  const int64_t n = integer(value, name);
  if (n < least || n > most) {
    throw Napi::TypeError::New(
        value.Env(), std::string(name) + " must be between " + std::to_string(least) + " and " + std::to_string(most));
  }
  return static_cast<int32_t>(n);
}

bool flag(const Napi::Value& value, const char* name) {
  const Napi::Value v = member(value, name);
  if (!v.IsBoolean()) throw Napi::TypeError::New(value.Env(), std::string(name) + " is not a boolean");
  return v.ToBoolean();
}

double number(const Napi::Value& value, const char* name) {
  const Napi::Value v = member(value, name);
  if (!v.IsNumber() || !std::isfinite(v.ToNumber().DoubleValue())) {
    throw Napi::TypeError::New(value.Env(), std::string(name) + " is not a finite number");
  }
  return v.ToNumber();
}

// The value that `name` is called by in `known`.
template <typename T, size_t n>
T named(const Napi::Value& value, const char* name, const std::pair<const char*, T> (&known)[n]) {
  const std::string given = text(value, name);
  for (const auto& [label, meaning] : known) {
    if (given == label) return meaning;
  }
  throw Napi::TypeError::New(value.Env(), std::string("unknown ") + name + " " + given);
}

constexpr std::pair<const char*, Transform> kTransforms[] = {{"none", Transform::none},
                                                             {"hadamard", Transform::hadamard},
                                                             {"scaled", Transform::scaled},
                                                             {"two-sided", Transform::two_sided}};
constexpr std::pair<const char*, GridKind> kGrids[] = {
    {"nf", GridKind::nf},           {"fitted", GridKind::fitted}, {"int", GridKind::integer}, {"fp4", GridKind::fp4},
    {"trellis", GridKind::trellis}, {"gguf", GridKind::gguf},     {"zero", GridKind::zero},   {"exl3", GridKind::exl3}};
constexpr std::pair<const char*, Exl3Code> kExl3Codes[] = {
    {"3inst", Exl3Code::inst3}, {"mcg", Exl3Code::mcg}, {"mul1", Exl3Code::mul1}};
constexpr std::pair<const char*, ScaleKind> kScales[] = {{"two-level", ScaleKind::two_level},
                                                         {"group", ScaleKind::group},
                                                         {"row", ScaleKind::row},
                                                         {"block", ScaleKind::block},
                                                         {"searched", ScaleKind::searched}};
constexpr std::pair<const char*, Rounding> kRoundings[] = {
    {"nearest", Rounding::nearest}, {"feedback", Rounding::feedback}, {"descent", Rounding::descent}};
constexpr std::pair<const char*, MetricKind> kMetrics[] = {
    {"plain", MetricKind::plain}, {"fisher", MetricKind::fisher}, {"kfac", MetricKind::kfac}};
constexpr std::pair<const char*, ScaleDtype> kScaleTypes[] = {
    {"bf16", ScaleDtype::BF16}, {"fp16", ScaleDtype::FP16}, {"fp32", ScaleDtype::FP32}};

DenseSource statistic(const Napi::Value& value, const char* name, int64_t rows, int64_t cols) {
  DenseSource source = parse_dense(member(value, name));
  if (source.dtype != Dtype::F32 || source.rows != rows || source.cols != cols) {
    throw Napi::TypeError::New(
        value.Env(), std::string(name) + " is not fp32 of " + std::to_string(rows) + " x " + std::to_string(cols));
  }
  return source;
}

}  // namespace

EncodeOptionArgument parse_encode_option(const Napi::Value& value) {
  EncodeOptionArgument a{};
  EncodeOption& o = a.option;
  o.transform = named(value, "transform", kTransforms);
  o.rounding = named(value, "rounding", kRoundings);
  o.rank = bounded(value, "rank", 0, 1 << 20);

  const Napi::Value grid = member(value, "grid");
  o.grid = named(grid, "kind", kGrids);
  if (o.grid == GridKind::gguf) {
    const std::string type = text(grid, "type");
    const cpu::gguf::BlockFormat* format = cpu::gguf::find_format(type);
    if (format == nullptr) throw Napi::TypeError::New(value.Env(), "there is no block type " + type);
    o.block_type = static_cast<int32_t>(format->type);
    o.block_weights = format->weights;
    o.block_bytes = format->bytes;
  } else if (o.grid != GridKind::zero) {
    o.bits = o.grid == GridKind::fp4 ? 4 : bounded(grid, "bits", 1, 16);
  }
  o.step = 1;
  if (o.grid == GridKind::integer) o.symmetric = flag(grid, "symmetric");
  if (o.grid == GridKind::trellis) {
    o.step = bounded(grid, "step", 1, 2);
    o.states = bounded(grid, "states", 1, 20);
    o.tail_biting = flag(grid, "tailBiting");
    if (o.bits / o.step >= o.states) throw Napi::TypeError::New(value.Env(), "states has no more bits than a step");
  }
  if (o.grid == GridKind::exl3) {
    o.states = 16;
    o.tail_biting = true;
    o.exl3_code = named(grid, "code", kExl3Codes);
  }
  if (o.grid == GridKind::nf) {
    a.book = parse_book(member(value, "book"));
    if (a.book.bits != o.bits) throw Napi::TypeError::New(value.Env(), "book has not the bits of the grid");
  }

  const Napi::Value scales = member(value, "scales");
  o.scales = named(scales, "kind", kScales);
  o.config.b0 = o.bits;
  if (o.scales == ScaleKind::two_level) {
    o.config.b1 = bounded(scales, "b1", 1, 8);
    o.config.b2 = named(scales, "b2", kScaleTypes);
    o.config.block = bounded(scales, "B0", 1, 1 << 20);
    o.config.group = bounded(scales, "B1", 1, 1 << 20);
  } else if (o.scales == ScaleKind::searched) {
    o.scale_type = named(scales, "type", kScaleTypes);
  } else if (o.scales != ScaleKind::block && text(scales, "type") != "fp16") {
    throw Napi::TypeError::New(value.Env(), "group and row scales are fp16");
  }
  if (has_groups(o)) o.group = bounded(scales, "size", 1, 1 << 30);
  return a;
}

namespace {

std::optional<NestedScales> parse_nested(const Napi::Value& value, const EncodeOption& option, int64_t rows,
                                         int64_t cols) {
  if (value.IsUndefined()) return std::nullopt;
  NestedScales n;
  n.codes = parse_range(member(value, "codes"));
  n.map = parse_range(member(value, "map"));
  n.absmax = parse_range(member(value, "absmax"));
  n.block = integer(value, "block");
  n.offset = member(value, "offset").ToNumber().FloatValue();
  const int64_t scales = part_bytes(option, rows, cols, EncodedPart::group_scales) / 4;
  if (option.scale_type != ScaleDtype::FP32 || scales < 1 || n.codes.bytes != scales || n.map.bytes != 256 * 4 ||
      n.block < 1 || n.absmax.bytes != (scales + n.block - 1) / n.block * 4) {
    throw Napi::TypeError::New(value.Env(), "nested scales have other sizes than their option gives");
  }
  return n;
}

}  // namespace

EncodedPlaces parse_encoded_places(const Napi::Value& value, const EncodeOptionArgument& option, int64_t rows,
                                   int64_t cols) {
  EncodedPlaces places;
  if (rows < 1 || cols < 1) throw Napi::TypeError::New(value.Env(), "an encoded matrix is empty");
  const Napi::Value parts = member(value, "parts");
  places.nested = parse_nested(member(value, "nested"), option.option, rows, cols);
  for (int32_t i = 0; i < kPartCount; ++i) {
    if (places.nested && i == static_cast<int32_t>(EncodedPart::group_scales)) continue;
    const Napi::Value part = member(parts, kPartNames[i]);
    const int64_t bytes = part_bytes(option.option, rows, cols, static_cast<EncodedPart>(i));
    if (part.IsUndefined() && bytes == 0) continue;
    if (part.IsUndefined())
      throw Napi::TypeError::New(value.Env(), std::string("part ") + kPartNames[i] + " is missing");
    places.parts[static_cast<size_t>(i)] = parse_range(part);
    if (places.parts[static_cast<size_t>(i)]->bytes != bytes) {
      throw Napi::TypeError::New(value.Env(), std::string("part ") + kPartNames[i] + " has " +
                                                  std::to_string(places.parts[static_cast<size_t>(i)]->bytes) +
                                                  " bytes, its option gives " + std::to_string(bytes));
    }
  }
  places.high_first = member(value, "highFirst").ToBoolean();
  if (places.high_first &&
      (option.option.grid == GridKind::trellis || option.option.grid == GridKind::exl3 || option.option.bits != 4)) {
    throw Napi::TypeError::New(value.Env(), "only codes of 4 bits have halves of a byte");
  }
  if (option.option.rank == 0) return places;
  places.l1 = parse_factor(member(value, "l1"));
  places.l2 = parse_factor(member(value, "l2"));
  if (factor_rows(*places.l1) != rows || factor_columns(*places.l1) != option.option.rank ||
      factor_rows(*places.l2) != option.option.rank || factor_columns(*places.l2) != cols) {
    throw Napi::TypeError::New(value.Env(), "a factor has another shape than the rank gives");
  }
  return places;
}

EncodedSource parse_encoded(const Napi::Value& value) {
  const int64_t rows = integer(value, "rows"), cols = integer(value, "cols");
  EncodeOptionArgument option = parse_encode_option(member(value, "option"));
  EncodedPlaces places = parse_encoded_places(value, option, rows, cols);
  return {rows, cols, std::move(option), static_cast<uint64_t>(integer(value, "seed")), std::move(places)};
}

EncodedBuffers::EncodedBuffers(const EncodeOptionArgument& option, int64_t rows, int64_t cols, uint64_t seed)
    : book(option.book), view{option.option, rows, cols, seed, {}} {
  view.option.book = option.option.grid == GridKind::nf ? &book : nullptr;
  for (int32_t i = 0; i < kPartCount; ++i) {
    const int64_t bytes = part_bytes(option.option, rows, cols, static_cast<EncodedPart>(i));
    std::vector<uint8_t>& part = parts[static_cast<size_t>(i)];
    part.resize(static_cast<size_t>(bytes));
    view.parts[i] = bytes > 0 ? part.data() : nullptr;
  }
}

namespace {

void swap_halves(std::vector<uint8_t>& codes) {
  for (uint8_t& byte : codes) byte = static_cast<uint8_t>(byte << 4 | byte >> 4);
}

constexpr size_t kCodes = static_cast<size_t>(EncodedPart::codes);

// The group scales, fp32.
void read_nested(const NestedScales& nested, std::vector<uint8_t>* out) {
  std::vector<uint8_t> codes(static_cast<size_t>(nested.codes.bytes));
  std::vector<float> map(256), absmax(static_cast<size_t>(nested.absmax.bytes / 4)), scales(codes.size());
  read_bytes(nested.codes, codes.data());
  read_bytes(nested.map, map.data());
  read_bytes(nested.absmax, absmax.data());
  for (size_t i = 0; i < codes.size(); ++i) {
    scales[i] = map[codes[i]] * absmax[i / static_cast<size_t>(nested.block)] + nested.offset;
  }
  std::memcpy(out->data(), scales.data(), out->size());
}

}  // namespace

void EncodedBuffers::read(const EncodedPlaces& places) {
  for (size_t i = 0; i < parts.size(); ++i) {
    if (places.parts[i]) read_bytes(*places.parts[i], parts[i].data());
  }
  if (places.nested) read_nested(*places.nested, &parts[static_cast<size_t>(EncodedPart::group_scales)]);
  if (places.high_first) swap_halves(parts[kCodes]);
}

void EncodedBuffers::write(const EncodedPlaces& places) const {
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!places.parts[i]) continue;
    if (places.high_first && i == kCodes) {
      std::vector<uint8_t> codes = parts[i];
      swap_halves(codes);
      write_bytes(*places.parts[i], codes.data());
    } else {
      write_bytes(*places.parts[i], parts[i].data());
    }
  }
}

std::unique_ptr<LoadedEncoded> read_encoded(const EncodedSource& source, Backend& backend, const Control& control) {
  std::unique_ptr<LoadedEncoded> out(new LoadedEncoded{{source.option, source.rows, source.cols, source.seed}, {}, {}});
  out->buffers.read(source.places);
  if (source.option.option.rank > 0) {
    out->l1 = load_factor(*source.places.l1, backend, control);
    out->l2 = load_factor(*source.places.l2, backend, control);
  }
  return out;
}

void load_encoded(const EncodedSource& source, Backend& backend, float* out, const Control& control) {
  const std::unique_ptr<LoadedEncoded> e = read_encoded(source, backend, control);
  // Every backend would give the same bits.
  const Status status = cpu::decode(e->buffers.view, e->l1.data(), e->l2.data(), out, control);
  if (status.code != StatusCode::ok) throw_status(status, source.places.parts[0]->path);
}

MetricSource parse_metric(const Napi::Value& value, int64_t rows, int64_t cols) {
  MetricSource m;
  m.kind = named(value, "kind", kMetrics);
  if (m.kind == MetricKind::fisher) m.fisher = statistic(value, "fisher", rows, cols);
  if (m.kind == MetricKind::kfac) {
    m.row_weight = statistic(value, "rowWeight", 1, rows);
    const int64_t rows_given = parse_dense(member(value, "secondMoment")).rows;
    m.second_moment = statistic(value, "secondMoment", rows_given == 1 ? 1 : cols, cols);
    m.damping = number(value, "damping");
  }
  return m;
}

std::optional<CorrectionSource> parse_correction(const Napi::Value& value, int64_t cols) {
  if (value.IsUndefined()) return std::nullopt;
  return CorrectionSource{statistic(value, "cross", cols, cols), number(value, "alpha")};
}

}  // namespace lq
