#include "statistics.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>
#include <vector>

#include "convert.h"
#include "kernels/kernels.h"
#include "status.h"

namespace lq::cpu {
namespace {

// Elements read and worked on at a time, and gathered into one partial result: long enough to stream, few enough for
// the second-level cache.
constexpr int64_t kPiece = 1 << 16;
// Elements kept for the histogram of a larger matrix, evenly spread.
constexpr int64_t kSample = 1 << 20;

// Moments about a pivot; merged exactly, in double.
struct Partial {
  double n = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0;
  double min = std::numeric_limits<double>::infinity(), max = -std::numeric_limits<double>::infinity();
  int64_t zeros = 0, nans = 0, infs = 0, first_nan = -1, first_inf = -1;

  void add(const Partial& o) {
    n += o.n;
    s1 += o.s1;
    s2 += o.s2;
    s3 += o.s3;
    s4 += o.s4;
    min = std::min(min, o.min);
    max = std::max(max, o.max);
    zeros += o.zeros;
    nans += o.nans;
    infs += o.infs;
    const auto first = [](int64_t a, int64_t b) { return a < 0 ? b : b < 0 ? a : std::min(a, b); };
    first_nan = first(first_nan, o.first_nan);
    first_inf = first(first_inf, o.first_inf);
  }
};

// One run of a row, element by element in double: for runs with NaN, Inf, or values whose powers overflow fp32.
double careful(const float* x, int64_t n, int64_t index, double pivot, Partial* p) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double v = static_cast<double>(x[i]);
    if (std::isnan(v)) {
      ++p->nans;
      if (p->first_nan < 0) p->first_nan = index + i;
      continue;
    }
    if (std::isinf(v)) {
      ++p->infs;
      if (p->first_inf < 0) p->first_inf = index + i;
      continue;
    }
    const double d = v - pivot;
    p->n += 1;
    p->s1 += d;
    p->s2 += d * d;
    p->s3 += d * d * d;
    p->s4 += d * d * d * d;
    p->min = std::min(p->min, v);
    p->max = std::max(p->max, v);
    p->zeros += v == 0;
    squares += v * v;
  }
  return squares;
}

double run_moments(const float* x, int64_t n, int64_t index, float pivot, Partial* p) {
  const MomentSums m = kernels().moments(x, n, pivot);
  if (!m.finite) return careful(x, n, index, static_cast<double>(pivot), p);
  p->n += static_cast<double>(n);
  p->s1 += m.s1;
  p->s2 += m.s2;
  p->s3 += m.s3;
  p->s4 += m.s4;
  p->min = std::min(p->min, static_cast<double>(m.min));
  p->max = std::max(p->max, static_cast<double>(m.max));
  p->zeros += m.zeros;
  return m.raw_squares;
}

// Column norms of one participant: floats over a few rows, folded into doubles.
class ColumnSums {
 public:
  void add(const float* x, int64_t col, int64_t n, int64_t cols) {
    if (recent_.empty()) {
      recent_.resize(static_cast<size_t>(cols));
      total_.resize(static_cast<size_t>(cols));
    }
    kernels().add_squares(x, recent_.data() + col, n);
    if ((pending_ += n) >= 32 * cols) fold();
  }
  void add_careful(const float* x, int64_t col, int64_t n, int64_t cols) {
    if (recent_.empty()) {
      recent_.resize(static_cast<size_t>(cols));
      total_.resize(static_cast<size_t>(cols));
    }
    for (int64_t i = 0; i < n; ++i) {
      const double v = static_cast<double>(x[i]);
      if (std::isfinite(v)) total_[static_cast<size_t>(col + i)] += v * v;
    }
  }
  void fold() {
    for (size_t i = 0; i < recent_.size(); ++i) total_[i] += static_cast<double>(recent_[i]);
    std::fill(recent_.begin(), recent_.end(), 0.0f);
    pending_ = 0;
  }
  const std::vector<double>& total() const { return total_; }

 private:
  std::vector<float> recent_;
  std::vector<double> total_;
  int64_t pending_ = 0;
};

struct Participant {
  Partial partial;
  ColumnSums columns;
  std::vector<unsigned char> raw;
  std::vector<float> values;
};

// A first look at evenly spread stretches gives the pivot: close to the mean, so that centred powers do not cancel.
Status choose_pivot(const ElementSource& source, float* pivot) {
  const int64_t count = source.rows * source.cols, size = dtype_bits(source.dtype) / 8;
  const int64_t looks = std::min<int64_t>(16, (count + 255) / 256);
  double sum = 0, n = 0;
  std::vector<unsigned char> raw(static_cast<size_t>(256 * size));
  std::vector<float> values(256);
  for (int64_t i = 0; i < looks; ++i) {
    const int64_t at = count / looks * i, length = std::min<int64_t>(256, count - at);
    Status status = ok();
    const void* data = source.read(at * size, length * size, raw.data(), &status);
    if (failed(status)) return status;
    to_float(data, source.dtype, 0, length, values.data());
    for (int64_t j = 0; j < length; ++j) {
      if (!std::isfinite(values[static_cast<size_t>(j)])) continue;
      sum += static_cast<double>(values[static_cast<size_t>(j)]);
      n += 1;
    }
  }
  *pivot = n > 0 ? static_cast<float>(sum / n) : 0.0f;
  return ok();
}

}  // namespace

Status statistics(const ElementSource& source, const StatisticsRequest& request, Statistics* out,
                  const Control& control) {
  const int64_t rows = source.rows, cols = source.cols, count = rows * cols, size = dtype_bits(source.dtype) / 8;
  if (count < 1) return error(StatusCode::invalid_argument, -1, "the matrix is empty");
  float pivot = 0;
  Status status = choose_pivot(source, &pivot);
  if (failed(status)) return status;

  const int64_t pieces = (count + kPiece - 1) / kPiece;
  std::vector<Partial> partials(static_cast<size_t>(pieces));
  std::vector<Participant> participants(static_cast<size_t>(threads()));
  // Norms of rows that a piece cuts are gathered from both sides afterwards.
  struct Edge {
    int64_t row = -1;
    double squares = 0;
  };
  std::vector<Edge> edges(request.row_norms != nullptr ? static_cast<size_t>(2 * pieces) : 0);
  const int64_t stride = request.bins > 0 ? std::max<int64_t>(1, (count + kSample - 1) / kSample) : 0;
  std::vector<float> sample(stride > 0 ? static_cast<size_t>((count + stride - 1) / stride) : 0);
  if (request.row_norms != nullptr) std::fill(request.row_norms, request.row_norms + rows, 0.0);

  std::mutex mutex;
  std::atomic<bool> stop = false;
  int64_t done = 0;
  parallel_slots(0, count, kPiece, [&](int64_t begin, int64_t end, int32_t slot) {
    if (stop.load(std::memory_order_relaxed)) return;
    Participant& mine = participants[static_cast<size_t>(slot)];
    mine.values.resize(kPiece);
    mine.raw.resize(static_cast<size_t>(kPiece * size));
    Status read = ok();
    const void* data = source.read(begin * size, (end - begin) * size, mine.raw.data(), &read);
    if (failed(read) || is_cancelled(control)) {
      std::lock_guard<std::mutex> lock(mutex);
      if (!stop.exchange(true)) status = failed(read) ? read : cancelled();
      return;
    }
    const float* values = static_cast<const float*>(data);
    if (source.dtype != Dtype::F32) {
      to_float(data, source.dtype, 0, end - begin, mine.values.data());
      values = mine.values.data();
    }
    const int64_t piece = begin / kPiece;
    Partial& partial = partials[static_cast<size_t>(piece)];
    // Run by run of a row; without norms a piece is one run.
    const bool norms = request.row_norms != nullptr || request.col_norms != nullptr;
    for (int64_t i = begin; i < end;) {
      const int64_t row = i / cols, stop_at = norms ? std::min(end, (row + 1) * cols) : end, n = stop_at - i;
      const float* x = values + (i - begin);
      const int64_t bad = partial.nans + partial.infs;
      const double squares = run_moments(x, n, i, pivot, &partial);
      if (request.row_norms != nullptr) {
        if (i % cols == 0 && n == cols) {
          request.row_norms[row] = std::sqrt(squares);
        } else {
          edges[static_cast<size_t>(2 * piece + (i == begin ? 0 : 1))] = {row, squares};
        }
      }
      if (request.col_norms != nullptr) {
        const bool plain = partial.nans + partial.infs == bad && squares < 1e30;
        if (plain) {
          mine.columns.add(x, i - row * cols, n, cols);
        } else {
          mine.columns.add_careful(x, i - row * cols, n, cols);
        }
      }
      i = stop_at;
    }
    if (stride > 0) {
      for (int64_t i = (begin + stride - 1) / stride * stride; i < end; i += stride) {
        sample[static_cast<size_t>(i / stride)] = values[i - begin];
      }
    }
    if (control.progress != nullptr) {
      std::lock_guard<std::mutex> lock(mutex);
      report(control, static_cast<double>(done += end - begin), static_cast<double>(count));
    }
  });
  if (failed(status)) return status;

  Partial total;
  for (const Partial& partial : partials) total.add(partial);
  if (request.row_norms != nullptr) {
    for (const Edge& edge : edges) {
      if (edge.row >= 0) request.row_norms[edge.row] += edge.squares;
    }
    int64_t last = -1;
    for (const Edge& edge : edges) {
      if (edge.row < 0 || edge.row == last) continue;
      last = edge.row;
      request.row_norms[last] = std::sqrt(request.row_norms[last]);
    }
  }
  if (request.col_norms != nullptr) {
    std::fill(request.col_norms, request.col_norms + cols, 0.0);
    for (Participant& participant : participants) {
      participant.columns.fold();
      const std::vector<double>& sums = participant.columns.total();
      for (size_t j = 0; j < sums.size(); ++j) request.col_norms[j] += sums[j];
    }
    for (int64_t j = 0; j < cols; ++j) request.col_norms[j] = std::sqrt(request.col_norms[j]);
  }

  const double n = std::max(total.n, 1.0);
  const double m1 = total.s1 / n, m2 = total.s2 / n, m3 = total.s3 / n, m4 = total.s4 / n;
  const double variance = std::max(0.0, m2 - m1 * m1);
  const double fourth = m4 - 4 * m1 * m3 + 6 * m1 * m1 * m2 - 3 * m1 * m1 * m1 * m1;
  *out = {};
  out->count = count;
  out->zeros = total.zeros;
  out->nans = total.nans;
  out->infs = total.infs;
  out->first_nan = total.first_nan;
  out->first_inf = total.first_inf;
  if (total.n > 0) {
    out->min = total.min;
    out->max = total.max;
    out->mean = static_cast<double>(pivot) + m1;
    out->stddev = total.min == total.max ? 0.0 : std::sqrt(variance);
    out->absmax = std::max(std::abs(total.min), std::abs(total.max));
    out->kurtosis = out->stddev > 0 ? fourth / (variance * variance) : 0.0;
  }
  if (request.bins > 0) {
    std::fill(request.histogram, request.histogram + request.bins, 0);
    out->histogram_low = out->min;
    out->histogram_high = out->max;
    const double width = out->max - out->min;
    for (const float v : sample) {
      if (!std::isfinite(v)) continue;
      const double position = width > 0 ? (static_cast<double>(v) - out->min) / width * request.bins : 0.0;
      ++request.histogram[std::clamp<int64_t>(static_cast<int64_t>(position), 0, request.bins - 1)];
      ++out->sampled;
    }
  }
  return ok();
}

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
