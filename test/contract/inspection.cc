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
  std::vector<double> rows, cols;  // norms
};

// In 80-bit long double, whose exponents reach 2^16383: no square or fourth power of a double leaves its range.
Exact exact_statistics(const std::vector<double>& x, int64_t rows, int64_t cols) {
  Exact e;
  std::vector<long double> row_squares(static_cast<size_t>(rows)), col_squares(static_cast<size_t>(cols));
  long double sum = 0;
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
      sum += static_cast<long double>(v);
      e.zeros += v == 0;
      e.min = std::min(e.min, v);
      e.max = std::max(e.max, v);
      const auto wide = static_cast<long double>(v);
      row_squares[static_cast<size_t>(i / cols)] += wide * wide;
      col_squares[static_cast<size_t>(i % cols)] += wide * wide;
    }
  }
  for (const long double squares : row_squares) e.rows.push_back(static_cast<double>(std::sqrt(squares)));
  for (const long double squares : col_squares) e.cols.push_back(static_cast<double>(std::sqrt(squares)));
  if (e.n == 0) return e;
  const auto n = static_cast<long double>(e.n);
  const long double mean = sum / n;
  long double m2 = 0, m4 = 0;
  for (const double v : x) {
    if (!std::isfinite(v)) continue;
    const long double d = (static_cast<long double>(v) - mean) * (static_cast<long double>(v) - mean);
    m2 += d;
    m4 += d * d;
  }
  e.mean = static_cast<double>(mean);
  e.stddev = static_cast<double>(std::sqrt(m2 / n));
  e.kurtosis = m2 > 0 ? static_cast<double>(m4 / n / ((m2 / n) * (m2 / n))) : 0;
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
  const double scale = std::max(std::abs(e.min), std::abs(e.max));
  suite.at_most(name + " mean", std::abs(s.mean - e.mean), 1e-6 * std::max(e.stddev, 1e-7 * scale));
  suite.at_most(name + " stddev", std::abs(s.stddev - e.stddev), 2e-6 * e.stddev + 1e-9 * scale);
  suite.at_most(name + " kurtosis", std::abs(s.kurtosis - e.kurtosis),
                e.stddev > 1e-6 * scale ? 1e-5 * e.kurtosis : 1e30);
  const auto worst = [](const std::vector<double>& found, const std::vector<double>& exact) {
    double most = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      // A norm of zero must be zero: that is what tells dead rows from small ones.
      const double error = std::abs(found[i] - exact[i]);
      most = std::max(most, exact[i] > 0 ? error / exact[i] : error > 0 ? 1.0 : 0.0);
    }
    return most;
  };
  suite.at_most(name + " row norms", worst(row, e.rows), 1e-5);
  suite.at_most(name + " column norms", worst(col, e.cols), 1e-5);
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
  for (const double magnitude : {1e-45, 1e-42, 1e-38, 1e-30, 1e-23, 1e-18, 1e-11, 1e18, 1e30, 1e37}) {
    std::vector<float> x = gaussian(130 * 70, 11, magnitude);
    check_floats(suite, "magnitude " + std::to_string(std::log10(magnitude)), x, 130, 70);
  }
  // Rows, columns and outliers of their own magnitude, with dead ones among them.
  std::vector<float> rows_apart = gaussian(96 * 1000, 12), cols_apart = gaussian(1000 * 96, 13);
  for (int64_t i = 0; i < 96 * 1000; ++i) {
    const auto by = [](int64_t line) { return line == 7 ? 0.0 : std::pow(10.0, 0.7 * static_cast<double>(line) - 40); };
    rows_apart[static_cast<size_t>(i)] *= static_cast<float>(by(i / 1000));
    cols_apart[static_cast<size_t>(i)] *= static_cast<float>(by(i % 96));
  }
  check_floats(suite, "rows apart", rows_apart, 96, 1000);
  check_floats(suite, "columns apart", cols_apart, 1000, 96);
  std::vector<float> outlier = gaussian(200 * 300, 14, 1e-25);
  outlier[31000] = 1e20f;
  check_floats(suite, "outlier", outlier, 200, 300);
  std::vector<float> sparse(200 * 300, 0.0f);
  sparse[31000] = 3e-30f;
  check_floats(suite, "one not zero", sparse, 200, 300);
  // The stretches looked at for a pivot are all of the first columns, which are unlike the others.
  std::vector<float> apart = gaussian(4096 * 512, 15, 1e-2);
  for (int64_t i = 0; i < 4096; ++i) std::fill_n(apart.begin() + i * 512, i % 256 == 0 ? 256 : 0, 100.0f);
  check_floats(suite, "stretches unlike the rest", apart, 4096, 512);
  std::vector<float> holes = gaussian(257 * 300, 6);
  holes[5] = holes[70000] = std::numeric_limits<float>::infinity();
  holes[66000] = holes[66001] = std::nanf("");
  holes[100] = 0.0f;
  check_floats(suite, "not finite", holes, 257, 300);
  check_floats(suite, "all NaN", std::vector<float>(64, std::nanf("")), 8, 8);

  for (const double magnitude : {1e-310, 1e-300, 1e-200, 1e-30, 1.0, 1e30, 1e200, 1e307}) {
    std::vector<double> x;
    for (const float v : gaussian(60 * 70, 16)) x.push_back(static_cast<double>(v) * magnitude);
    check_statistics(suite, "F64 magnitude " + std::to_string(std::log10(magnitude)), x.data(), Dtype::F64, x, 60, 70);
  }
  std::vector<double> far_apart;
  for (const float v : gaussian(60 * 70, 17)) {
    const auto at = static_cast<double>(far_apart.size());
    far_apart.push_back(static_cast<double>(v) * std::pow(10.0, std::floor(at / 70) * 10 - 307));
  }
  check_statistics(suite, "F64 rows apart", far_apart.data(), Dtype::F64, far_apart, 60, 70);
  std::vector<int64_t> large_integers;
  std::vector<double> large_values;
  for (int64_t i = 0; i < 60 * 70; ++i) {
    large_integers.push_back((int64_t{1} << 40) + i * 3);
    large_values.push_back(static_cast<double>(large_integers.back()));
  }
  check_statistics(suite, "I64 of 41 bits", large_integers.data(), Dtype::I64, large_values, 60, 70);

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
