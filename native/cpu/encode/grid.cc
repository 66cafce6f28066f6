#include "encode/grid.h"

#include <cmath>
#include <cstring>

#include "convert.h"
#include "encode/fields.h"
#include "encode/trellis_values.h"
#include "quantizer.h"

namespace lq::cpu {
namespace {

// Magnitudes of E2M1 (OCP microscaling formats, MX v1.0).
constexpr float kFp4[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

Grid of_book(const CodeBook& book) {
  Grid grid;
  grid.table = make_table(book);
  for (int32_t i = 0; i < (1 << book.bits); ++i) {
    grid.codes[i] = static_cast<uint8_t>(i);
    grid.level[i] = book.levels[i];
  }
  return grid;
}

}  // namespace

Grid make_fitted_grid(const CodeBook& book) { return of_book(book); }

Grid make_grid(const EncodeOption& option) {
  if (option.grid == GridKind::integer) {
    Grid grid;
    grid.integers = true;
    const int32_t half = 1 << (option.bits - 1);
    grid.low = option.symmetric ? -half : 0;
    grid.high = option.symmetric ? half - 1 : 2 * half - 1;
    grid.top = static_cast<float>(2 * half - 1) / 2;  // GPTQ's scale: the range over its steps
    return grid;
  }
  if (option.grid == GridKind::fp4) {
    CodeBook book{};
    book.bits = 4;
    for (int32_t i = 0; i < 8; ++i) {
      book.levels[i] = -kFp4[7 - i];
      book.levels[8 + i] = kFp4[i];
    }
    book.levels[7] = 0;  // not -0
    Grid grid = of_book(book);
    for (int32_t i = 0; i < 8; ++i) {
      grid.codes[i] = static_cast<uint8_t>(i == 7 ? 0 : 15 - i);
      grid.codes[8 + i] = static_cast<uint8_t>(i);
      grid.level[i] = kFp4[i];
      grid.level[8 + i] = -kFp4[i];
    }
    grid.top = 6;
    return grid;
  }
  return of_book(*option.book);
}

CodeBook first_book(int32_t bits) {
  // A NormalFloat book; at 2 bits, whose NormalFloat is lopsided, an even one.
  CodeBook book{};
  book.bits = bits;
  if (bits == 2) {
    const float levels[] = {-0.75f, -0.25f, 0.25f, 0.75f};
    std::memcpy(book.levels, levels, sizeof levels);
    return book;
  }
  constexpr double kOffset = 0.9677083;
  const int32_t half = 1 << (bits - 1);
  const double scale = inverse_normal(kOffset);
  for (int32_t i = 0; i + 1 < half; ++i) {
    book.levels[i] = static_cast<float>(inverse_normal(1 - kOffset + i * (kOffset - 0.5) / (half - 1)) / scale);
  }
  for (int32_t i = 1; i <= half; ++i) {
    book.levels[half - 1 + i] = static_cast<float>(inverse_normal(0.5 + i * (kOffset - 0.5) / half) / scale);
  }
  return book;
}

Grid stored_grid(const EncodedView& e) {
  if (e.option.grid != GridKind::fitted) return make_grid(e.option);
  CodeBook book{};
  book.bits = e.option.bits;
  const uint8_t* stored = e.parts[static_cast<size_t>(EncodedPart::book)];
  for (int32_t i = 0; i < (1 << book.bits); ++i) {
    uint16_t bits;
    std::memcpy(&bits, stored + 2 * i, 2);
    book.levels[i] = from_bf16(bits);
  }
  return of_book(book);
}

QuantizedView two_level_view(const EncodedView& e) {
  float offset;
  std::memcpy(&offset, e.parts[static_cast<size_t>(EncodedPart::offset)], 4);
  return {e.option.config,
          nullptr,
          e.rows * e.cols,
          nullptr,
          e.parts[static_cast<size_t>(EncodedPart::scales)],
          e.parts[static_cast<size_t>(EncodedPart::groups)],
          offset};
}

void decode_grid(const EncodedView& e, const Grid& grid, int64_t begin, int64_t end, float* out) {
  const EncodeOption& o = e.option;
  const int64_t n = (end - begin) * e.cols, groups = groups_a_row(o, e.cols);
  std::vector<uint8_t> codes(static_cast<size_t>(n));
  unpack_fields(e.parts[static_cast<size_t>(EncodedPart::codes)], begin * e.cols, n, o.bits, codes.data());
  if (!grid.integers) {
    for (int64_t i = 0; i < n; ++i) out[i] = grid.level[codes[static_cast<size_t>(i)]];
    return;
  }
  const uint8_t* zeros = e.parts[static_cast<size_t>(EncodedPart::group_zeros)];
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t j = 0; j < e.cols; ++j) {
      const int64_t at = (i - begin) * e.cols + j;
      const int64_t group = i * groups + (has_groups(o) ? j / o.group : 0);
      const int32_t zero = o.symmetric ? 1 << (o.bits - 1) : static_cast<int32_t>(load_field(zeros, group, o.bits));
      out[at] = static_cast<float>(static_cast<int32_t>(codes[static_cast<size_t>(at)]) - zero);
    }
  }
}

}  // namespace lq::cpu
