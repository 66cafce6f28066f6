#include "encode/levels.h"

#include <algorithm>
#include <cstring>

#include "encode/trellis_values.h"

namespace lq::cpu {
namespace {

// Magnitudes of E2M1 (OCP microscaling formats, MX v1.0).
constexpr float kFp4[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
constexpr int32_t kLloydSteps = 8;

}  // namespace

Levels levels_of(const CodeBook& book) {
  Levels out;
  out.book = book;
  for (int32_t i = 0; i < (1 << book.bits); ++i) out.codes[i] = static_cast<uint8_t>(i);
  return out;
}

Levels levels_of(const EncodeOption& option) {
  if (option.grid == GridKind::integer) {
    Levels out;
    out.integers = true;
    const int32_t half = 1 << (option.bits - 1);
    out.low = option.symmetric ? -half : 0;
    out.high = option.symmetric ? half - 1 : 2 * half - 1;
    out.top = static_cast<float>(2 * half - 1) / 2;  // GPTQ's scale: the range over its steps
    return out;
  }
  if (option.grid != GridKind::fp4) return levels_of(*option.book);
  CodeBook book{};
  book.bits = 4;
  for (int32_t i = 0; i < 8; ++i) {
    book.levels[i] = -kFp4[7 - i];
    book.levels[8 + i] = kFp4[i];
  }
  book.levels[7] = 0;  // not -0
  Levels out = levels_of(book);
  for (int32_t i = 0; i < 8; ++i) {
    out.codes[i] = static_cast<uint8_t>(i == 7 ? 0 : 15 - i);
    out.codes[8 + i] = static_cast<uint8_t>(i);
  }
  out.top = 6;
  return out;
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

CodeBook fit_levels(const std::vector<FitBin>& bins, const CodeBook& first) {
  const size_t count = size_t{1} << first.bits;
  std::vector<double> levels(first.levels, first.levels + count);
  for (int32_t step = 0; step < kLloydSteps; ++step) {
    std::vector<FitBin> cells(count);
    size_t cell = 0;
    for (const FitBin& bin : bins) {
      if (!(bin.weight > 0)) continue;
      const double value = bin.moment / bin.weight;
      while (cell + 1 < count && value > (levels[cell] + levels[cell + 1]) / 2) ++cell;
      cells[cell].weight += bin.weight;
      cells[cell].moment += bin.moment;
    }
    for (size_t i = 0; i < count; ++i) {
      if (cells[i].weight > 0) levels[i] = cells[i].moment / cells[i].weight;
    }
  }
  std::sort(levels.begin(), levels.end());
  CodeBook book{};
  book.bits = first.bits;
  for (size_t i = 0; i < count; ++i) book.levels[i] = static_cast<float>(levels[i]);
  return book;
}

}  // namespace lq::cpu
