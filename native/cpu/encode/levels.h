// Levels of scalar grids before any table is made of them. Needs nothing of the CPU backend: the CUDA backend compiles
// it too.
#pragma once

#include <cstdint>
#include <vector>

#include "lq/encode.h"

namespace lq::cpu {

// Levels by ascending value. An integer grid is the integers low .. high, without a book; an asymmetric one moves with
// its group's zero.
struct Levels {
  bool integers = false;
  int32_t low = 0, high = 0;  // of the integers, for zero 0 or, symmetric, as they are
  CodeBook book{};
  uint8_t codes[256] = {};  // code of each level of the book
  float top = 1;            // the absmax of a block in units of its scale
};

// The levels of an option whose book is known: all but `fitted`.
Levels levels_of(const EncodeOption& option);
Levels levels_of(const CodeBook& book);
// Levels a fitted book starts from.
CodeBook first_book(int32_t bits);

// A histogram of weighted values in units of their scales; a decoded scale may be smaller than its block, so values
// beyond 1 occur.
constexpr float kFitRange = 2;
constexpr int64_t kFitBins = 8192;
struct FitBin {
  double weight = 0, moment = 0;
};
// Lloyd's iteration on it: levels of least weighted squared error from those of `first` on, ascending, not yet rounded
// to what bf16 holds.
CodeBook fit_levels(const std::vector<FitBin>& bins, const CodeBook& first);

}  // namespace lq::cpu
