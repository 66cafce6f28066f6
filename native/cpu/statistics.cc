#include "statistics.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>
#include <type_traits>
#include <vector>

#include "convert.h"
#include "kernels/kernels.h"
#include "moments.h"
#include "status.h"

namespace lq::cpu {
namespace {

// Elements read and worked on at a time, and gathered into one partial result: long enough to stream, few enough for
// the second-level cache.
constexpr int64_t kPiece = 1 << 16;
// Elements kept for the histogram of a larger matrix, evenly spread.
constexpr int64_t kSample = 1 << 20;
// A sum of squares of scaled floats below this may have lost elements or their fourth powers to underflow, and is taken
// again in double.
constexpr double kTrusted = 0x1p-50;
// Magnitudes up to two to the power of this, and down to its reciprocal, are left as they are.
constexpr int kOrdinary = 8;
// Above this, float sums of columns may overflow.
constexpr double kLarge = 1e30;

// Types that fp32 does not hold exactly are worked on in double, element by element.
constexpr bool is_wide(Dtype d) {
  return d == Dtype::F64 || d == Dtype::I64 || d == Dtype::U64 || d == Dtype::I32 || d == Dtype::U32;
}

template <typename T>
void widen(const void* data, int64_t n, double* out) {
  const T* from = static_cast<const T*>(data);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<double>(from[i]);
}

// `n` elements of a stored type as T, float or double; possibly `data` itself.
template <typename T>
const T* elements(const void* data, Dtype dtype, int64_t n, std::vector<T>& values) {
  constexpr bool kDouble = std::is_same_v<T, double>;
  if (dtype == (kDouble ? Dtype::F64 : Dtype::F32)) return static_cast<const T*>(data);
  values.resize(static_cast<size_t>(n));
  if constexpr (kDouble) {
    if (dtype == Dtype::I64) widen<int64_t>(data, n, values.data());
    if (dtype == Dtype::U64) widen<uint64_t>(data, n, values.data());
    if (dtype == Dtype::I32) widen<int32_t>(data, n, values.data());
    if (dtype == Dtype::U32) widen<uint32_t>(data, n, values.data());
  } else {
    to_float(data, dtype, 0, n, values.data());
  }
  return values.data();
}

// One run of a row. `squares` is the sum of squares of x * scale for floats, of x itself for doubles: no scale keeps
// both ends of their range.
void add_run(const double* x, int64_t n, int64_t index, const Frame& frame, Moments* m, SquareSum* squares) {
  for (int64_t i = 0; i < n; ++i) {
    if (m->add(x[i], index + i, frame)) squares->add(x[i]);
  }
}

void add_run(const float* x, int64_t n, int64_t index, const Frame& frame, Moments* m, SquareSum* squares) {
  const MomentSums s = kernels().moments(x, n, static_cast<float>(frame.scale), static_cast<float>(frame.pivot));
  if (!s.finite || (s.raw_squares < kTrusted && s.zeros < n)) {
    for (int64_t i = 0; i < n; ++i) {
      const auto v = static_cast<double>(x[i]);
      if (m->add(v, index + i, frame)) squares->add(v * frame.scale);
    }
    return;
  }
  m->n += static_cast<double>(n);
  m->s1 += s.s1;
  m->s2 += s.s2;
  m->s3 += s.s3;
  m->s4 += s.s4;
  m->min = std::min(m->min, static_cast<double>(s.min));
  m->max = std::max(m->max, static_cast<double>(s.max));
  m->zeros += s.zeros;
  squares->mid += s.raw_squares;
}

// Sums of squares of the columns of one participant; floats over a few rows, folded into doubles.
class ColumnSums {
 public:
  void add(const float* x, int64_t col, int64_t n, int64_t cols, double scale) {
    make(cols);
    kernels().add_squares(x, static_cast<float>(scale), recent_.data() + col, n);
    if ((pending_ += n) >= 32 * cols) fold();
  }
  template <typename T>
  void add_careful(const T* x, int64_t col, int64_t n, int64_t cols, double scale) {
    make(cols);
    for (int64_t i = 0; i < n; ++i) {
      const auto v = static_cast<double>(x[i]);
      if (std::isfinite(v)) total_[static_cast<size_t>(col + i)].add(v * scale);
    }
  }
  void fold() {
    for (size_t i = 0; i < recent_.size(); ++i) total_[i].mid += static_cast<double>(recent_[i]);
    std::fill(recent_.begin(), recent_.end(), 0.0f);
    pending_ = 0;
  }
  const std::vector<SquareSum>& total() const { return total_; }

 private:
  void make(int64_t cols) {
    if (!total_.empty()) return;
    recent_.resize(static_cast<size_t>(cols));
    total_.resize(static_cast<size_t>(cols));
  }
  std::vector<float> recent_;
  std::vector<SquareSum> total_;
  int64_t pending_ = 0;
};

// A scan of a matrix whose elements are worked on as T.
template <typename T>
class Scan {
 public:
  Scan(const ElementSource& source, const StatisticsRequest& request, const Control& control)
      : source_(source),
        request_(request),
        control_(control),
        rows_(source.rows),
        cols_(source.cols),
        count_(source.rows * source.cols),
        size_(dtype_bits(source.dtype) / 8) {}

  Status run(Statistics* out) {
    Status status = look();
    if (failed(status)) return status;
    stride_ = request_.bins > 0 ? std::max<int64_t>(1, (count_ + kSample - 1) / kSample) : 0;
    sample_.resize(stride_ > 0 ? static_cast<size_t>((count_ + stride_ - 1) / stride_) : 0);
    status = pass();
    if (failed(status)) return status;
    // Stretches that all missed the bulk give a pivot far from the mean, and the powers about it cancel.
    if (total_.mean() * total_.mean() > 4 * total_.variance() && total_.min < total_.max) {
      frame_.pivot += total_.mean();
      if constexpr (std::is_same_v<T, float>) frame_.pivot = static_cast<double>(static_cast<float>(frame_.pivot));
      status = pass();
      if (failed(status)) return status;
    }
    if (request_.col_norms != nullptr) {
      status = column_norms();
      if (failed(status)) return status;
    }
    summarise(out);
    return ok();
  }

 private:
  // What elements are multiplied with before they are squared for norms.
  double norm_scale() const { return std::is_same_v<T, float> ? frame_.scale : 1.0; }
  double norm_of(const SquareSum& squares) const { return squares.norm() / norm_scale(); }

  struct Participant {
    ColumnSums columns;
    std::vector<unsigned char> raw;
    std::vector<T> values;
    double absmax = 0;
  };

  // Calls fn(values, begin, end, participant) for pieces of `grain` elements on the pool.
  template <typename F>
  Status each_piece(int64_t grain, const F& fn) {
    participants_.assign(static_cast<size_t>(threads()), Participant{});
    std::mutex mutex;
    std::atomic<bool> stop = false;
    Status status = ok();
    parallel_slots(0, count_, grain, [&](int64_t begin, int64_t end, int32_t slot) {
      if (stop.load(std::memory_order_relaxed)) return;
      Participant& mine = participants_[static_cast<size_t>(slot)];
      mine.raw.resize(static_cast<size_t>((end - begin) * size_));
      Status read = ok();
      const void* data = source_.read(begin * size_, (end - begin) * size_, mine.raw.data(), &read);
      if (failed(read) || is_cancelled(control_)) {
        std::lock_guard<std::mutex> lock(mutex);
        if (!stop.exchange(true)) status = failed(read) ? read : cancelled();
        return;
      }
      fn(elements(data, source_.dtype, end - begin, mine.values), begin, end, mine);
    });
    return status;
  }

  // The frame: a scale by the largest magnitude and a pivot close to the mean, so that centred powers do not cancel.
  // Doubles need the largest of all; floats have the range to spare for one from evenly spread stretches.
  Status look() {
    const int64_t looks = std::min<int64_t>(16, (count_ + 255) / 256);
    double n = 0, absmax = 0;
    std::vector<double> seen;
    std::vector<unsigned char> raw(static_cast<size_t>(256 * size_));
    std::vector<T> values;
    for (int64_t i = 0; i < looks; ++i) {
      const int64_t at = count_ / looks * i, length = std::min<int64_t>(256, count_ - at);
      Status status = ok();
      const void* data = source_.read(at * size_, length * size_, raw.data(), &status);
      if (failed(status)) return status;
      const T* x = elements(data, source_.dtype, length, values);
      for (int64_t j = 0; j < length; ++j) {
        const auto v = static_cast<double>(x[j]);
        if (!std::isfinite(v)) continue;
        seen.push_back(v);
        absmax = std::max(absmax, std::fabs(v));
        n += 1;
      }
    }
    if (source_.dtype == Dtype::F64) {
      const Status status = each_piece(kPiece, [](const T* x, int64_t begin, int64_t end, Participant& mine) {
        for (int64_t i = 0; i < end - begin; ++i) {
          const double a = std::fabs(static_cast<double>(x[i]));
          if (std::isfinite(a)) mine.absmax = std::max(mine.absmax, a);
        }
      });
      if (failed(status)) return status;
      for (const Participant& participant : participants_) absmax = std::max(absmax, participant.absmax);
    }
    // Within 2^100 a float's scale is a float, and the fourth power of every scaled float is a double.
    const int limit = std::is_same_v<T, float> ? 100 : 1000;
    const int exponent = absmax > 0 ? std::ilogb(absmax) : 0;
    frame_.scale = std::abs(exponent) <= kOrdinary ? 1.0 : std::ldexp(1.0, -std::clamp(exponent, -limit, limit));
    double sum = 0;
    for (const double v : seen) sum += v * frame_.scale;
    const double mean = n > 0 ? sum / n : 0;
    frame_.pivot = std::is_same_v<T, float> ? static_cast<double>(static_cast<float>(mean)) : mean;
    return ok();
  }

  Status pass() {
    const int64_t pieces = (count_ + kPiece - 1) / kPiece;
    std::vector<Moments> partials(static_cast<size_t>(pieces));
    // Norms of rows that a piece cuts are gathered from both sides afterwards.
    std::vector<Edge> edges(request_.row_norms != nullptr ? static_cast<size_t>(2 * pieces) : 0);
    std::mutex mutex;
    int64_t done = 0;
    const Status status = each_piece(kPiece, [&](const T* values, int64_t begin, int64_t end, Participant& mine) {
      const int64_t piece = begin / kPiece;
      scan_piece(values, begin, end, mine, &partials[static_cast<size_t>(piece)],
                 edges.empty() ? nullptr : &edges[static_cast<size_t>(2 * piece)]);
      if (control_.progress != nullptr) {
        std::lock_guard<std::mutex> lock(mutex);
        report(control_, static_cast<double>(done += end - begin), static_cast<double>(count_));
      }
    });
    if (failed(status)) return status;
    total_ = Moments{};
    for (const Moments& partial : partials) total_.add(partial);
    SquareSum squares;
    for (size_t i = 0; i < edges.size(); ++i) {
      if (edges[i].row < 0) continue;
      squares.add(edges[i].squares);
      size_t next = i + 1;
      while (next < edges.size() && edges[next].row < 0) ++next;
      if (next < edges.size() && edges[next].row == edges[i].row) continue;
      request_.row_norms[edges[i].row] = norm_of(squares);
      squares = SquareSum{};
    }
    return ok();
  }

  struct Edge {
    int64_t row = -1;
    SquareSum squares;
  };

  // Run by run of a row; without norms a piece is one run. `edges` receives the first and the last row when cut.
  void scan_piece(const T* values, int64_t begin, int64_t end, Participant& mine, Moments* partial, Edge* edges) {
    const bool norms = request_.row_norms != nullptr || request_.col_norms != nullptr;
    for (int64_t i = begin; i < end;) {
      const int64_t row = i / cols_, stop_at = norms ? std::min(end, (row + 1) * cols_) : end, n = stop_at - i;
      const T* x = values + (i - begin);
      const int64_t bad = partial->nans + partial->infs;
      SquareSum squares;
      add_run(x, n, i, frame_, partial, &squares);
      if (request_.row_norms != nullptr) {
        if (i % cols_ == 0 && n == cols_) {
          request_.row_norms[row] = norm_of(squares);
        } else {
          edges[i == begin ? 0 : 1] = {row, squares};
        }
      }
      if (request_.col_norms != nullptr) {
        const int64_t col = i - row * cols_;
        if constexpr (std::is_same_v<T, float>) {
          const bool plain = partial->nans + partial->infs == bad && squares.mid < kLarge && squares.big == 0;
          if (plain && squares.mid >= kTrusted) {
            mine.columns.add(x, col, n, cols_, norm_scale());
          } else if (squares.norm() > 0) {
            mine.columns.add_careful(x, col, n, cols_, norm_scale());
          }
        } else {
          mine.columns.add_careful(x, col, n, cols_, norm_scale());
        }
      }
      i = stop_at;
    }
    if (stride_ > 0) {
      for (int64_t i = (begin + stride_ - 1) / stride_ * stride_; i < end; i += stride_) {
        sample_[static_cast<size_t>(i / stride_)] = static_cast<double>(values[i - begin]);
      }
    }
  }

  // Adds up the participants' sums. Columns far below the others may have lost everything in float: those are taken
  // again, in double.
  Status column_norms() {
    std::vector<SquareSum> sums(static_cast<size_t>(cols_));
    for (Participant& participant : participants_) {
      participant.columns.fold();
      const std::vector<SquareSum>& own = participant.columns.total();
      for (size_t j = 0; j < own.size(); ++j) sums[j].add(own[j]);
    }
    std::vector<int64_t> doubtful;
    for (int64_t j = 0; j < cols_; ++j) {
      const SquareSum& sum = sums[static_cast<size_t>(j)];
      if (sum.mid < kTrusted && sum.small == 0 && sum.big == 0) doubtful.push_back(j);
    }
    if (std::is_same_v<T, float> && !doubtful.empty() && total_.zeros < count_) {
      for (const int64_t j : doubtful) sums[static_cast<size_t>(j)] = SquareSum{};
      const int64_t grain = std::max<int64_t>(1, kPiece / cols_) * cols_;
      const Status status = each_piece(grain, [&](const T* x, int64_t begin, int64_t end, Participant& mine) {
        for (int64_t row = 0; row < (end - begin) / cols_; ++row) {
          for (const int64_t j : doubtful) {
            mine.columns.add_careful(x + row * cols_ + j, j, 1, cols_, norm_scale());
          }
        }
      });
      if (failed(status)) return status;
      for (const Participant& participant : participants_) {
        const std::vector<SquareSum>& own = participant.columns.total();
        for (const int64_t j : doubtful) {
          if (!own.empty()) sums[static_cast<size_t>(j)].add(own[static_cast<size_t>(j)]);
        }
      }
    }
    for (int64_t j = 0; j < cols_; ++j) request_.col_norms[j] = norm_of(sums[static_cast<size_t>(j)]);
    return ok();
  }

  void summarise(Statistics* out) const {
    *out = {};
    out->count = count_;
    out->zeros = total_.zeros;
    out->nans = total_.nans;
    out->infs = total_.infs;
    out->first_nan = total_.first_nan;
    out->first_inf = total_.first_inf;
    if (total_.n > 0) {
      out->min = total_.min;
      out->max = total_.max;
      out->mean = (frame_.pivot + total_.mean()) / frame_.scale;
      out->stddev = total_.min == total_.max ? 0.0 : std::sqrt(total_.variance()) / frame_.scale;
      out->absmax = std::max(std::abs(total_.min), std::abs(total_.max));
      out->kurtosis = total_.min == total_.max ? 0.0 : total_.kurtosis();
    }
    if (request_.bins == 0) return;
    std::fill(request_.histogram, request_.histogram + request_.bins, 0);
    out->histogram_low = out->min;
    out->histogram_high = out->max;
    // In scaled units, where the width of the range of doubles is finite and that of subnormals is not lost.
    const double low = out->min * frame_.scale, width = out->max * frame_.scale - low;
    for (const double v : sample_) {
      if (!std::isfinite(v)) continue;
      const double position = width > 0 ? (v * frame_.scale - low) / width * request_.bins : 0.0;
      ++request_.histogram[std::clamp<int64_t>(static_cast<int64_t>(position), 0, request_.bins - 1)];
      ++out->sampled;
    }
  }

  const ElementSource& source_;
  const StatisticsRequest& request_;
  const Control& control_;
  const int64_t rows_, cols_, count_, size_;
  Frame frame_;
  Moments total_;
  std::vector<Participant> participants_;
  int64_t stride_ = 0;
  std::vector<double> sample_;
};

}  // namespace

Status statistics(const ElementSource& source, const StatisticsRequest& request, Statistics* out,
                  const Control& control) {
  if (source.rows * source.cols < 1) return error(StatusCode::invalid_argument, -1, "the matrix is empty");
  if (is_wide(source.dtype)) return Scan<double>(source, request, control).run(out);
  return Scan<float>(source, request, control).run(out);
}

}  // namespace lq::cpu
