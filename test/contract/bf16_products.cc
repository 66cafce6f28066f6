// Products of bf16 terms against double precision.
#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "bf16/bf16.h"
#include "suite.h"

namespace lq::contract {
namespace {

using namespace cpu::bf16;

// Each operand keeps 2^-16 of itself at worst and the rests' product, another 2^-16, is left out; a sum of terms is off
// by the root of the sum of their squares at that rate, fp32's own rounding included. A term that is missing or counted
// twice is off by one of them, 1 / sqrt(depth) of that root.
constexpr double kRate = 6e-5;
// Three terms leave fp32's rounding alone, of sums as long as these; a term of rests that is missing is off by 2^-16.
constexpr double kFp32Rate = 4e-6;

float as_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u);
}

struct Shape {
  int64_t m, n, depth;
};

void check_shape(Suite& suite, Instructions with, int32_t terms, const Shape& s, bool turn_a, bool turn_b,
                 bool bf16_weights) {
  const std::vector<float> a = gaussian(s.m * s.depth, 31, 1.0);
  std::vector<float> b = gaussian(s.depth * s.n, 32, 1.0);
  if (bf16_weights) std::transform(b.begin(), b.end(), b.begin(), as_bf16);
  const View va{a.data(), turn_a ? s.m : s.depth, turn_a}, vb{b.data(), turn_b ? s.depth : s.n, turn_b};
  // A row is longer than the result, and what is behind it stays.
  const int64_t ld = s.n + 3;
  const std::vector<float> before = gaussian(s.m * ld, 33, 1.0);
  const std::string name = std::string("bf16 product ") +
                           (with == Instructions::amx ? "by tiles " : "by dot products ") + "in " +
                           std::to_string(terms) + " terms " + std::to_string(s.m) + " x " + std::to_string(s.n) +
                           " of " + std::to_string(s.depth) + (turn_a ? ", a transposed" : "") +
                           (turn_b ? ", b transposed" : "") + (bf16_weights ? ", b in bf16" : "");
  const double rate = terms == 2 ? kRate : kFp32Rate;
  const auto worst = [&](const std::vector<float>& c, double scale, bool accumulate) {
    double most = 0;
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < ld; ++j) {
        const auto at = static_cast<size_t>(i * ld + j);
        if (j >= s.n) {
          if (c[at] != before[at]) return 1.0;
          continue;
        }
        double sum = accumulate ? static_cast<double>(before[at]) : 0, squares = sum * sum + 1e-6;
        for (int64_t k = 0; k < s.depth; ++k) {
          const double term = scale * static_cast<double>(*va.at(i, k)) * static_cast<double>(*vb.at(k, j));
          sum += term;
          squares += term * term;
        }
        most = std::max(most, std::fabs(static_cast<double>(c[at]) - sum) / std::sqrt(squares));
      }
    }
    return most;
  };
  for (const bool accumulate : {false, true}) {
    std::vector<float> c = before;
    product(with, terms, 0.3f, va, vb, s.m, s.n, s.depth, accumulate, c.data(), ld);
    suite.at_most(name + ", scaled", worst(c, static_cast<double>(0.3f), accumulate), rate);
    c = before;
    PackedMatrix packed(vb, s.depth, s.n, terms);
    product(with, 1.0f, va, &packed, {0, s.depth}, {0, s.n}, s.m, accumulate, c.data(), ld, [] {});
    suite.at_most(name + ", packed once", worst(c, 1, accumulate), rate);
  }
}

}  // namespace

void check_bf16_products(Suite& suite) {
  const Instructions best = available();
  if (best == Instructions::none) return;
  for (const Instructions with : {Instructions::avx512, best}) {
    for (const Shape& s : {Shape{1, 1, 1}, Shape{16, 32, 32}, Shape{7, 40, 31}, Shape{33, 65, 70}, Shape{150, 17, 129},
                           Shape{40, 33, 2100}}) {
      for (const bool bf16_weights : {false, true}) {
        // Dot products are not used with three: they cost as much as fp32's own.
        for (const int32_t terms : with == Instructions::amx ? std::vector<int32_t>{2, 3} : std::vector<int32_t>{2}) {
          check_shape(suite, with, terms, s, false, true, bf16_weights);
          check_shape(suite, with, terms, s, false, false, bf16_weights);
          check_shape(suite, with, terms, s, true, false, bf16_weights);
        }
      }
    }
  }
}

}  // namespace lq::contract
