#include "encode/book.h"

#include <algorithm>

#include "convert.h"

namespace lq::cpu {

BookFit::BookFit(int64_t pieces) : pieces_(static_cast<size_t>(pieces)) {}

void BookFit::add(int64_t piece, const float* values, const float* weights, int64_t count) {
  std::vector<FitBin>& bins = pieces_[static_cast<size_t>(piece)];
  bins.resize(kFitBins);
  for (int64_t i = 0; i < count; ++i) {
    const float at = (std::clamp(values[i], -kFitRange, kFitRange) + kFitRange) * (kFitBins / (2 * kFitRange));
    FitBin& bin = bins[static_cast<size_t>(std::min<int64_t>(kFitBins - 1, static_cast<int64_t>(at)))];
    bin.weight += static_cast<double>(weights[i]);
    bin.moment += static_cast<double>(weights[i]) * static_cast<double>(values[i]);
  }
}

CodeBook BookFit::book(const CodeBook& first) const {
  std::vector<FitBin> bins(kFitBins);
  for (const std::vector<FitBin>& piece : pieces_) {
    for (size_t i = 0; i < piece.size(); ++i) {
      bins[i].weight += piece[i].weight;
      bins[i].moment += piece[i].moment;
    }
  }
  CodeBook book = fit_levels(bins, first);
  for (int32_t i = 0; i < (1 << book.bits); ++i) book.levels[i] = from_bf16(to_bf16(book.levels[i]));
  return book;
}

}  // namespace lq::cpu
