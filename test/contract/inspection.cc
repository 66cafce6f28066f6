// statistics and preview against plain loops in double, for every stored type.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "suite.h"

namespace lq::contract {
namespace {

struct Exact {
  double n = 0, mean = 0, stddev = 0, kurtosis = 0, min = std::numeric_limits<double>::infinity(),
         max = -std::numeric_limits<double>::infinity();
  int64_t zeros = 0, nans = 0, infs = 0, first_nan = -1, first_inf = -1;
  std::vector<double> rows, cols;
};

Exact exact_statistics(const std::vector<double>& x, int64_t rows, int64_t cols) {
  Exact e;
  e.rows.resize(static_cast<size_t>(rows));
  e.cols.resize(static_cast<size_t>(cols));
  double sum = 0;
  for (int64_t i = 0; i < rows * cols; ++i) {
    const double v = x[static_cast<size_t>(i)];
    if (std::isnan(v)) {
      ++e.nans;
      if (e.first_nan < 0) e.first_nan = i;
    } else if (std::isinf(v)) {
      ++e.infs;
      if (e.first_inf < 0) e.first_inf = i;
    } else {
      e.n += 1;
      sum += v;
      e.zeros += v == 0;
      e.min = std::min(e.min, v);
      e.max = std::max(e.max, v);
      e.rows[static_cast<size_t>(i / cols)] += v * v;
      e.cols[static_cast<size_t>(i % cols)] += v * v;
    }
  }
  if (e.n == 0) return e;
  e.mean = sum / e.n;
  double m2 = 0, m4 = 0;
  for (const double v : x) {
    if (!std::isfinite(v)) continue;
    const double d = (v - e.mean) * (v - e.mean);
    m2 += d;
    m4 += d * d;
  }
  e.stddev = std::sqrt(m2 / e.n);
  e.kurtosis = m2 > 0 ? m4 / e.n / ((m2 / e.n) * (m2 / e.n)) : 0;
  return e;
}

void check_statistics(Suite& suite, const std::string& what, const void* data, Dtype dtype,
                      const std::vector<double>& values, int64_t rows, int64_t cols) {
  const std::string name = "statistics " + what + " " + shape_name(rows, cols);
  std::vector<int64_t> histogram(32, -1);
  std::vector<double> row(static_cast<size_t>(rows), -1), col(static_cast<size_t>(cols), -1);
  Statistics s{};
  const Status status = suite.backend.statistics({data, dtype, rows, cols},
                                                 {32, histogram.data(), row.data(), col.data()}, &s, kNoControl);
  suite.code(name, status, StatusCode::ok);
  if (status.code != StatusCode::ok) return;
  const Exact e = exact_statistics(values, rows, cols);
  suite.check(name + " counts",
              s.count == rows * cols && s.zeros == e.zeros && s.nans == e.nans && s.infs == e.infs &&
                  s.first_nan == e.first_nan && s.first_inf == e.first_inf,
              std::to_string(s.zeros) + " zeros, " + std::to_string(s.nans) + " NaN at " + std::to_string(s.first_nan));
  if (e.n == 0) return;
  suite.check(name + " extremes",
              s.min == e.min && s.max == e.max && s.absmax == std::max(std::abs(e.min), std::abs(e.max)),
              std::to_string(s.min) + " to " + std::to_string(s.max));
  const double scale = std::max(std::abs(e.min), std::abs(e.max)) + 1e-300;
  suite.at_most(name + " mean", std::abs(s.mean - e.mean), 1e-6 * std::max(e.stddev, 1e-7 * scale));
  suite.at_most(name + " stddev", std::abs(s.stddev - e.stddev), 2e-6 * e.stddev + 1e-9 * scale);
  suite.at_most(name + " kurtosis", std::abs(s.kurtosis - e.kurtosis),
                e.stddev > 1e-6 * scale ? 1e-5 * e.kurtosis : 1e30);
  double worst = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const double x = std::sqrt(e.rows[static_cast<size_t>(i)]);
    worst = std::max(worst, std::abs(row[static_cast<size_t>(i)] - x) / (x + 1e-300));
  }
  suite.at_most(name + " row norms", worst, 1e-5);
  worst = 0;
  for (int64_t j = 0; j < cols; ++j) {
    const double x = std::sqrt(e.cols[static_cast<size_t>(j)]);
    worst = std::max(worst, std::abs(col[static_cast<size_t>(j)] - x) / (x + 1e-300));
  }
  suite.at_most(name + " column norms", worst, 1e-5);
  int64_t counted = 0;
  for (const int64_t n : histogram) counted += n;
  suite.check(name + " histogram", counted == s.sampled && s.sampled > 0 && s.sampled <= static_cast<int64_t>(e.n),
              std::to_string(counted) + " counted of " + std::to_string(s.sampled));
}

void check_floats(Suite& suite, const std::string& what, const std::vector<float>& x, int64_t rows, int64_t cols) {
  check_statistics(suite, what, x.data(), Dtype::F32, std::vector<double>(x.begin(), x.end()), rows, cols);
}

void check_preview(Suite& suite, const std::vector<float>& x, int64_t rows, int64_t cols, int32_t out_rows,
                   int32_t out_cols) {
  const std::string name = "preview " + shape_name(rows, cols) + " in " + shape_name(out_rows, out_cols);
  const size_t cells = static_cast<size_t>(out_rows) * static_cast<size_t>(out_cols);
  std::vector<float> low(cells), high(cells), mean(cells);
  suite.code(name,
             suite.backend.preview({x.data(), Dtype::F32, rows, cols},
                                   {out_rows, out_cols, low.data(), high.data(), mean.data()}, kNoControl),
             StatusCode::ok);
  int64_t bad = 0;
  for (int64_t r = 0; r < out_rows; ++r) {
    for (int64_t c = 0; c < out_cols; ++c) {
      float lowest = std::numeric_limits<float>::infinity(), highest = -lowest;
      double sum = 0, n = 0;
      for (int64_t i = r * rows / out_rows; i < (r + 1) * rows / out_rows; ++i) {
        for (int64_t j = c * cols / out_cols; j < (c + 1) * cols / out_cols; ++j) {
          const float v = x[static_cast<size_t>(i * cols + j)];
          lowest = std::min(lowest, v);
          highest = std::max(highest, v);
          sum += static_cast<double>(v);
          n += 1;
        }
      }
      const size_t at = static_cast<size_t>(r * out_cols + c);
      bad += low[at] != lowest || high[at] != highest || std::abs(static_cast<double>(mean[at]) - sum / n) > 1e-6;
    }
  }
  suite.check(name, bad == 0, std::to_string(bad) + " cells differ");
}

}  // namespace

void check_inspection(Suite& suite) {
  check_floats(suite, "gaussian", gaussian(300 * 688, 1), 300, 688);
  check_floats(suite, "row", gaussian(200001, 2), 1, 200001);
  check_floats(suite, "column", gaussian(70003, 3), 70003, 1);
  check_floats(suite, "one", {0.5f}, 1, 1);
  check_floats(suite, "zeros", std::vector<float>(3000, 0.0f), 30, 100);
  check_floats(suite, "constant", std::vector<float>(3000, -0.7f), 30, 100);
  std::vector<float> shifted = gaussian(100 * 130, 4, 1e-3);
  for (float& v : shifted) v += 1.0f;  // a mean far from zero must not cost the variance its digits
  check_floats(suite, "shifted", shifted, 100, 130);
  check_floats(suite, "huge", gaussian(100 * 130, 5, 1e30), 100, 130);
  std::vector<float> holes = gaussian(257 * 300, 6);
  holes[5] = holes[70000] = std::numeric_limits<float>::infinity();
  holes[66000] = holes[66001] = std::nanf("");
  holes[100] = 0.0f;
  check_floats(suite, "not finite", holes, 257, 300);
  check_floats(suite, "all NaN", std::vector<float>(64, std::nanf("")), 8, 8);

  // Small integers are exact in every type; the bytes are written by hand.
  const int64_t n = 6 * 33;
  std::vector<double> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) values[static_cast<size_t>(i)] = static_cast<double>((i * 7) % 5);
  const auto as = [&](auto sample, Dtype dtype, const char* what) {
    std::vector<decltype(sample)> data;
    for (const double v : values) data.push_back(static_cast<decltype(sample)>(v));
    check_statistics(suite, what, data.data(), dtype, values, 6, 33);
  };
  as(double{}, Dtype::F64, "F64");
  as(int64_t{}, Dtype::I64, "I64");
  as(int32_t{}, Dtype::I32, "I32");
  as(int16_t{}, Dtype::I16, "I16");
  as(int8_t{}, Dtype::I8, "I8");
  as(uint64_t{}, Dtype::U64, "U64");
  as(uint32_t{}, Dtype::U32, "U32");
  as(uint16_t{}, Dtype::U16, "U16");
  as(uint8_t{}, Dtype::U8, "U8");
  const auto table = [&](const std::vector<uint16_t>& codes, int bytes, Dtype dtype, const char* what) {
    std::vector<uint8_t> data;
    for (const double v : values) {
      const uint16_t code = codes[static_cast<size_t>(v)];
      data.push_back(static_cast<uint8_t>(code));
      if (bytes == 2) data.push_back(static_cast<uint8_t>(code >> 8));
    }
    check_statistics(suite, what, data.data(), dtype, values, 6, 33);
  };
  table({0x0000, 0x3f80, 0x4000, 0x4040, 0x4080}, 2, Dtype::BF16, "BF16");
  table({0x0000, 0x3c00, 0x4000, 0x4200, 0x4400}, 2, Dtype::F16, "F16");
  table({0x00, 0x38, 0x40, 0x44, 0x48}, 1, Dtype::F8_E4M3, "F8_E4M3");
  table({0x00, 0x3c, 0x40, 0x42, 0x44}, 1, Dtype::F8_E5M2, "F8_E5M2");

  check_preview(suite, gaussian(100 * 130, 7), 100, 130, 10, 13);
  check_preview(suite, gaussian(101 * 127, 8), 101, 127, 16, 50);
  check_preview(suite, gaussian(7 * 9, 9), 7, 9, 7, 9);
  check_preview(suite, gaussian(1000, 10), 1, 1000, 1, 64);
}

}  // namespace lq::contract
