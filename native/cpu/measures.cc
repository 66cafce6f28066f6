#include "measures.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "prepared.h"
#include "quantizer.h"
#include "status.h"
#include "threads.h"

namespace lq::cpu {
namespace {

// Adds up fn(begin row, end row) over panels, in order of the panels.
Status sum_panels(const MatrixView& m, const Control& control, FunctionRef<QuantizeError(int64_t, int64_t)> fn,
                  QuantizeError* out) {
  const Panels panels = panels_of(m.rows, m.cols, 1);
  std::vector<QuantizeError> parts(static_cast<size_t>(panels.count), QuantizeError{0, 0});
  std::atomic<bool> stopped = false;
  parallel_for(0, panels.count, 1, [&](int64_t p, int64_t) {
    if (stopped || is_cancelled(control)) {
      stopped = true;
      return;
    }
    const int64_t b = p * panels.panel_rows;
    parts[static_cast<size_t>(p)] = fn(b, std::min(m.rows, b + panels.panel_rows));
  });
  if (stopped) return cancelled();
  *out = {0, 0};
  for (const QuantizeError& part : parts) {
    out->squared += part.squared;
    out->weighted += part.weighted;
  }
  return ok();
}

}  // namespace

Status squared_norm(const MatrixView& m, const float* fisher, const Control& control, QuantizeError* out) {
  const FloatRows rows(m);
  return sum_panels(
      m, control,
      [&](int64_t b, int64_t e) {
        thread_local std::vector<float> scratch;
        return kernels().squares(rows.rows(b, e, scratch), fisher != nullptr ? fisher + b * m.cols : nullptr,
                                 (e - b) * m.cols);
      },
      out);
}

Status stored_error(const MatrixView& m, int32_t exponent, const QuantizedView& q, const float* l1, const float* l2,
                    int32_t rank, const float* fisher, const Control& control, QuantizeError* out) {
  const FloatRows rows(m);
  const BookTable table = make_table(*q.book);
  std::vector<float> scales;
  decode_scales(q, scales);
  std::vector<float> scaled;
  if (exponent != 0) {
    for (float& scale : scales) scale = std::ldexp(scale, -exponent);
    for (int64_t i = 0; i < m.rows * rank; ++i) scaled.push_back(std::ldexp(l1[i], -exponent));
    l1 = scaled.data();
  }
  return sum_panels(
      m, control,
      [&](int64_t b, int64_t e) {
        thread_local std::vector<float> scratch, stored;
        thread_local std::vector<uint8_t> codes;
        const int64_t n = (e - b) * m.cols;
        stored.resize(static_cast<size_t>(n));
        decode_weights(q, table, scales, b * m.cols, e * m.cols, stored.data(), codes);
        if (rank > 0)
          kernels().add_low_rank(stored.data(), l1 + b * rank, l2, stored.data(), e - b, m.cols, rank, false);
        const float* w = rows.rows(b, e, scratch);
        for (int64_t i = 0; i < n; ++i) stored[static_cast<size_t>(i)] = w[i] - stored[static_cast<size_t>(i)];
        return kernels().squares(stored.data(), fisher != nullptr ? fisher + b * m.cols : nullptr, n);
      },
      out);
}

Status fisher_scales(const float* fisher, int64_t rows, int64_t cols, bool means_of_sqrt, float* row, float* col) {
  constexpr int64_t kRows = 64;
  const int64_t pieces = (rows + kRows - 1) / kRows;
  // Columns are summed by a fixed number of parts, in order, so that the result does not depend on the threads.
  const int64_t parts = std::min<int64_t>(pieces, 16);
  std::vector<double> row_sums(static_cast<size_t>(rows)), col_sums(static_cast<size_t>(parts * cols));
  std::atomic<int64_t> bad = rows * cols;
  parallel_for(0, parts, 1, [&](int64_t part, int64_t) {
    double* columns = col_sums.data() + part * cols;
    for (int64_t i = rows * part / parts; i < rows * (part + 1) / parts; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < cols; ++j) {
        const float f = fisher[i * cols + j];
        if (!(f >= 0) || !std::isfinite(f)) {
          int64_t seen = bad.load();
          while (i * cols + j < seen && !bad.compare_exchange_weak(seen, i * cols + j)) {
          }
          return;
        }
        const double x = means_of_sqrt ? std::sqrt(static_cast<double>(f)) : static_cast<double>(f);
        sum += x;
        columns[j] += x;
      }
      row_sums[static_cast<size_t>(i)] = sum;
    }
  });
  if (bad < rows * cols) {
    const float f = fisher[bad.load()];
    if (!std::isfinite(f)) return not_finite(bad);
    return error(StatusCode::invalid_argument, bad, "element %lld is negative", static_cast<long long>(bad.load()));
  }
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t j = 0; j < cols; ++j)
      col_sums[static_cast<size_t>(j)] += col_sums[static_cast<size_t>(part * cols + j)];
  }
  const auto finish = [&](const double* sums, int64_t n, int64_t over, float* out) {
    double largest = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double mean = sums[i] / static_cast<double>(over);
      out[i] = static_cast<float>(means_of_sqrt ? mean : std::sqrt(mean));
      largest = std::max(largest, static_cast<double>(out[i]));
    }
    const float floor = largest > 0 ? static_cast<float>(largest * 1e-6) : 1.0f;
    for (int64_t i = 0; i < n; ++i) out[i] = std::max(out[i], floor);
  };
  finish(row_sums.data(), rows, cols, row);
  finish(col_sums.data(), cols, rows, col);
  return ok();
}

}  // namespace lq::cpu
