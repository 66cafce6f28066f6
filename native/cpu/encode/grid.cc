#include "encode/grid.h"

#include <cstring>

#include "convert.h"
#include "encode/fields.h"
#include "quantizer.h"

namespace lq::cpu {

Grid make_grid(const Levels& levels) {
  Grid grid;
  static_cast<Levels&>(grid) = levels;
  if (levels.integers) return grid;
  grid.table = make_table(levels.book);
  for (int32_t i = 0; i < (1 << levels.book.bits); ++i) grid.level[levels.codes[i]] = levels.book.levels[i];
  return grid;
}

Grid stored_grid(const EncodedView& e) {
  if (e.option.grid != GridKind::fitted) return make_grid(levels_of(e.option));
  CodeBook book{};
  book.bits = e.option.bits;
  const uint8_t* stored = e.parts[static_cast<size_t>(EncodedPart::book)];
  for (int32_t i = 0; i < (1 << book.bits); ++i) {
    uint16_t bits;
    std::memcpy(&bits, stored + 2 * i, 2);
    book.levels[i] = from_bf16(bits);
  }
  return make_grid(levels_of(book));
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
