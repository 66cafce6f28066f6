#include "encode/book.h"

#include <algorithm>
#include <cmath>

#include "convert.h"

namespace lq::cpu {
namespace {

// Blocks are scaled to about [-1, 1]; a decoded scale may be smaller than its block.
constexpr float kRange = 2;
constexpr int64_t kBins = 8192;
constexpr int32_t kSteps = 8;

}  // namespace

BookFit::BookFit(int64_t pieces) : pieces_(static_cast<size_t>(pieces)) {}

void BookFit::add(int64_t piece, const float* values, const float* weights, int64_t count) {
  std::vector<Bin>& bins = pieces_[static_cast<size_t>(piece)];
  bins.resize(kBins);
  for (int64_t i = 0; i < count; ++i) {
    const float at = (std::clamp(values[i], -kRange, kRange) + kRange) * (kBins / (2 * kRange));
    Bin& bin = bins[static_cast<size_t>(std::min<int64_t>(kBins - 1, static_cast<int64_t>(at)))];
    bin.weight += static_cast<double>(weights[i]);
    bin.moment += static_cast<double>(weights[i]) * static_cast<double>(values[i]);
  }
}

CodeBook BookFit::book(const CodeBook& first) const {
  std::vector<Bin> bins(kBins);
  for (const std::vector<Bin>& piece : pieces_) {
    for (size_t i = 0; i < piece.size(); ++i) {
      bins[i].weight += piece[i].weight;
      bins[i].moment += piece[i].moment;
    }
  }
  const size_t count = size_t{1} << first.bits;
  std::vector<double> levels(first.levels, first.levels + count);
  for (int32_t step = 0; step < kSteps; ++step) {
    std::vector<Bin> cells(count);
    size_t cell = 0;
    for (const Bin& bin : bins) {
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
  CodeBook book{};
  book.bits = first.bits;
  for (size_t i = 0; i < count; ++i) book.levels[i] = from_bf16(to_bf16(static_cast<float>(levels[i])));
  std::sort(book.levels, book.levels + count);
  return book;
}

}  // namespace lq::cpu
