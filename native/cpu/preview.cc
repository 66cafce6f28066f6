#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <vector>

#include "convert.h"
#include "statistics.h"
#include "status.h"

namespace lq::cpu {

Status preview(const ElementSource& source, const PreviewRequest& request, const Control& control) {
  const int64_t rows = source.rows, cols = source.cols, size = dtype_bits(source.dtype) / 8;
  const int64_t out_rows = request.out_rows, out_cols = request.out_cols;
  if (rows < 1 || cols < 1 || out_rows < 1 || out_cols < 1 || out_rows > rows || out_cols > cols) {
    return error(StatusCode::invalid_argument, -1, "a picture of %lld x %lld cells does not fit a %lld x %lld matrix",
                 static_cast<long long>(out_rows), static_cast<long long>(out_cols), static_cast<long long>(rows),
                 static_cast<long long>(cols));
  }
  std::mutex mutex;
  std::atomic<bool> stop = false;
  Status status = ok();
  int64_t done = 0;
  parallel_for(0, out_rows, 1, [&](int64_t begin, int64_t end) {
    thread_local std::vector<unsigned char> raw;
    thread_local std::vector<float> values;
    std::vector<double> sums(static_cast<size_t>(out_cols)), counts(static_cast<size_t>(out_cols));
    for (int64_t cell_row = begin; cell_row < end; ++cell_row) {
      float* low = request.minimum + cell_row * out_cols;
      float* high = request.maximum + cell_row * out_cols;
      std::fill(low, low + out_cols, std::numeric_limits<float>::infinity());
      std::fill(high, high + out_cols, -std::numeric_limits<float>::infinity());
      std::fill(sums.begin(), sums.end(), 0.0);
      std::fill(counts.begin(), counts.end(), 0.0);
      for (int64_t row = cell_row * rows / out_rows; row < (cell_row + 1) * rows / out_rows; ++row) {
        if (stop.load(std::memory_order_relaxed)) return;
        raw.resize(static_cast<size_t>(cols * size));
        values.resize(static_cast<size_t>(cols));
        Status read = ok();
        const void* data = source.read(row * cols * size, cols * size, raw.data(), &read);
        if (failed(read) || is_cancelled(control)) {
          std::lock_guard<std::mutex> lock(mutex);
          if (!stop.exchange(true)) status = failed(read) ? read : cancelled();
          return;
        }
        to_float(data, source.dtype, 0, cols, values.data());
        for (int64_t c = 0; c < out_cols; ++c) {
          const int64_t from = c * cols / out_cols, to = (c + 1) * cols / out_cols;
          double sum = 0;
          for (int64_t j = from; j < to; ++j) {
            const float v = values[static_cast<size_t>(j)];
            low[c] = v < low[c] ? v : low[c];
            high[c] = v > high[c] ? v : high[c];
            sum += static_cast<double>(v);
          }
          sums[static_cast<size_t>(c)] += sum;
          counts[static_cast<size_t>(c)] += static_cast<double>(to - from);
        }
      }
      for (int64_t c = 0; c < out_cols; ++c) {
        request.mean[cell_row * out_cols + c] =
            static_cast<float>(sums[static_cast<size_t>(c)] / counts[static_cast<size_t>(c)]);
      }
    }
    std::lock_guard<std::mutex> lock(mutex);
    report(control, static_cast<double>(done += end - begin), static_cast<double>(out_rows));
  });
  return status;
}

}  // namespace lq::cpu
