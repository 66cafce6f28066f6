#include "suite.h"

#include <cmath>
#include <cstdio>
#include <random>

namespace lq::contract {

void Suite::check(const std::string& name, bool passed, const std::string& detail) {
  ++(passed ? passed_ : failed_);
  if (!passed) std::printf("FAILED %s: %s\n", name.c_str(), detail.c_str());
}

void Suite::at_most(const std::string& name, double value, double limit) {
  char detail[96];
  std::snprintf(detail, sizeof detail, "%.6g, limit %.6g", value, limit);
  check(name, value <= limit, detail);
}

void Suite::code(const std::string& name, const Status& status, StatusCode expected) {
  check(name, status.code == expected, "code " + std::to_string(static_cast<int>(status.code)) + " " + status.message);
}

namespace {

// Box-Muller on a fixed generator: the library's normal distribution differs between implementations.
class Normal {
 public:
  explicit Normal(uint64_t seed) : generator_(seed) {}
  double operator()() {
    const double u = (static_cast<double>(generator_() >> 11) + 1) * 0x1p-53, v = uniform();
    return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v);
  }

 private:
  double uniform() { return static_cast<double>(generator_() >> 11) * 0x1p-53; }
  std::mt19937_64 generator_;
};

// Inverse of the normal distribution function by bisection of erfc.
double normal_quantile(double p) {
  double low = -10, high = 10;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

}  // namespace

std::vector<float> gaussian(int64_t count, uint64_t seed, double scale) {
  Normal normal(seed);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = static_cast<float>(scale * normal());
  return out;
}

std::vector<float> decaying(int64_t rows, int64_t cols, uint64_t seed) {
  std::vector<float> out = gaussian(rows * cols, seed, 0.02);
  Normal normal(seed + 1);
  for (int component = 0; component < 12; ++component) {
    const double size = 0.3 / (1 + component);
    std::vector<double> u(static_cast<size_t>(rows)), v(static_cast<size_t>(cols));
    for (double& x : u) x = normal();
    for (double& x : v) x = normal();
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        out[static_cast<size_t>(i * cols + j)] +=
            static_cast<float>(size * 0.1 * u[static_cast<size_t>(i)] * v[static_cast<size_t>(j)]);
      }
    }
  }
  return out;
}

CodeBook normal_float(int32_t bits) {
  constexpr double kOffset = 0.9677083;
  CodeBook book{};
  book.bits = bits;
  const int32_t half = 1 << (bits - 1);
  int32_t n = 0;
  const auto add = [&](double p) {
    book.levels[n++] = static_cast<float>(normal_quantile(p) / normal_quantile(kOffset));
  };
  for (int32_t i = 0; i + 1 < half; ++i) add(1 - kOffset + (0.5 - (1 - kOffset)) * i / (half - 1));
  book.levels[n++] = 0.0f;
  for (int32_t i = 1; i <= half; ++i) add(0.5 + (kOffset - 0.5) * i / half);
  return book;
}

std::string shape_name(int64_t rows, int64_t cols) { return std::to_string(rows) + "x" + std::to_string(cols); }

}  // namespace lq::contract
