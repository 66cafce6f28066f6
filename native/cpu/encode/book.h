// A scalar book fitted to weighted values: Lloyd's iteration on a fine histogram.
#pragma once

#include <cstdint>
#include <vector>

#include "encode/levels.h"

namespace lq::cpu {

class BookFit {
 public:
  // Values come in `pieces` that may be filled at once and are added in order.
  explicit BookFit(int64_t pieces);
  void add(int64_t piece, const float* values, const float* weights, int64_t count);
  // Levels of least weighted squared error from those of `first` on, as bf16 holds them, ascending.
  CodeBook book(const CodeBook& first) const;

 private:
  std::vector<std::vector<FitBin>> pieces_;
};

}  // namespace lq::cpu
