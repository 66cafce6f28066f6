// Three passes over the stored elements: extremes; then, scaled by a power of two so that no square leaves the range of
// a double, sums and norms; then powers about the mean and the histogram. A block takes 64 rows of 256 columns and
// leaves its share in memory; shares are added in a fixed order.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/statistics.h"
#include "runtime/element.cuh"
#include "runtime/upload.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;  // columns of a block, one a thread
constexpr int kRows = 64;
constexpr int kWarps = kThreads / 32;
constexpr int kSharedBins = 8192;  // histograms up to this many bins are gathered in shared memory
constexpr unsigned long long kNone = ~0ull;

struct Totals {
  double min, max;
  unsigned long long finite, zeros, nans, infs, first_nan, first_inf;

  __device__ void add(const Totals& other) {
    min = fmin(min, other.min);
    max = fmax(max, other.max);
    finite += other.finite;
    zeros += other.zeros;
    nans += other.nans;
    infs += other.infs;
    first_nan = ::min(first_nan, other.first_nan);
    first_inf = ::min(first_inf, other.first_inf);
  }
};

struct Sum {
  double value;

  __device__ void add(const Sum& other) { value += other.value; }
};

// Magnitudes from `low` to below `high`, whose squares stay doubles when multiplied with `scale`.
struct Window {
  double low, high, scale;
};
// Of everything but doubles every square is a double. Squares of doubles are summed in three windows (the constants of
// LAPACK's dnrm2), so that none overflows or underflows.
constexpr Window kEverything{0.0, INFINITY, 1.0};
constexpr Window kWindows[] = {{0.0, 0x1p-511, 0x1p537}, {0x1p-511, 0x1p486, 1.0}, {0x1p486, INFINITY, 0x1p-538}};

struct Powers {
  double second, fourth;

  __device__ void add(const Powers& other) {
    second += other.second;
    fourth += other.fourth;
  }
};

__device__ inline Totals no_totals() { return {INFINITY, -INFINITY, 0, 0, 0, 0, kNone, kNone}; }

// Adds up the values of a block's threads in a fixed order; thread 0 has the result.
template <typename T>
__device__ inline T add_threads(T value, T* shared) {
  shared[threadIdx.x] = value;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) shared[threadIdx.x].add(shared[threadIdx.x + half]);
  }
  __syncthreads();
  return shared[0];
}

struct Source {
  const void* data;
  Dtype dtype;
  int64_t rows, cols;
};

// Grid: (tiles of columns) x (tiles of rows), flattened with columns first.
__global__ void __launch_bounds__(kThreads) extremes_kernel(const Source m, int64_t across, Totals* totals) {
  __shared__ Totals shared[kThreads];
  const int64_t col = blockIdx.x % across * kThreads + threadIdx.x;
  const int64_t row0 = blockIdx.x / across * kRows;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kRows), m.rows - row0));
  Totals mine = no_totals();
  if (col < m.cols) {
#pragma unroll 4
    for (int r = 0; r < rows; ++r) {
      const int64_t index = (row0 + r) * m.cols + col;
      const double value = load_element(m.data, m.dtype, index);
      if (isnan(value)) {
        ++mine.nans;
        mine.first_nan = min(mine.first_nan, static_cast<unsigned long long>(index));
      } else if (isinf(value)) {
        ++mine.infs;
        mine.first_inf = min(mine.first_inf, static_cast<unsigned long long>(index));
      } else {
        ++mine.finite;
        mine.zeros += value == 0.0 ? 1 : 0;
        mine.min = fmin(mine.min, value);
        mine.max = fmax(mine.max, value);
      }
    }
  }
  const Totals all = add_threads(mine, shared);
  if (threadIdx.x == 0) totals[blockIdx.x] = all;
}

// Sums of value * scale, and sums of squares of the magnitudes in a window by row and by column.
__global__ void __launch_bounds__(kThreads) sums_kernel(const Source m, int64_t across, double scale, Window window,
                                                        Sum* sums, double* row_squares, double* col_squares) {
  __shared__ Sum shared[kThreads];
  __shared__ double row_parts[kRows][kWarps];
  const int64_t tile_col = blockIdx.x % across, tile_row = blockIdx.x / across;
  const int64_t col = tile_col * kThreads + threadIdx.x;
  const int64_t row0 = tile_row * kRows;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kRows), m.rows - row0));
  Sum mine{0.0};
  double col_sum = 0.0;
#pragma unroll 4
  for (int r = 0; r < rows; ++r) {
    double square = 0.0;
    if (col < m.cols) {
      const double value = load_element(m.data, m.dtype, (row0 + r) * m.cols + col), magnitude = fabs(value);
      if (isfinite(value)) {
        mine.value += value * scale;
        if (magnitude >= window.low && magnitude < window.high) {
          square = (magnitude * window.scale) * (magnitude * window.scale);
          col_sum += square;
        }
      }
    }
    if (row_squares != nullptr) {
      for (int step = 16; step > 0; step /= 2) square += __shfl_xor_sync(0xffffffffu, square, step);
      if (threadIdx.x % 32 == 0) row_parts[r][threadIdx.x / 32] = square;
    }
  }
  if (col_squares != nullptr && col < m.cols) col_squares[tile_row * m.cols + col] = col_sum;
  const Sum all = add_threads(mine, shared);
  if (threadIdx.x == 0) sums[blockIdx.x] = all;
  if (row_squares != nullptr && static_cast<int>(threadIdx.x) < rows) {
    double sum = 0.0;
    for (int warp = 0; warp < kWarps; ++warp) sum += row_parts[threadIdx.x][warp];
    row_squares[tile_col * m.rows + row0 + threadIdx.x] = sum;
  }
}

__global__ void __launch_bounds__(kThreads)
    powers_kernel(const Source m, int64_t across, double scale, double mean, double low, double high, int bins,
                  Powers* powers, unsigned long long* histogram) {
  __shared__ Powers shared[kThreads];
  extern __shared__ unsigned counts[];
  const bool gather = bins <= kSharedBins;
  if (gather) {
    for (int i = threadIdx.x; i < bins; i += kThreads) counts[i] = 0;
    __syncthreads();
  }
  const int64_t col = blockIdx.x % across * kThreads + threadIdx.x;
  const int64_t row0 = blockIdx.x / across * kRows;
  const int rows = static_cast<int>(min(static_cast<int64_t>(kRows), m.rows - row0));
  const double width = high - low;
  Powers mine{0.0, 0.0};
  if (col < m.cols) {
#pragma unroll 4
    for (int r = 0; r < rows; ++r) {
      const double value = load_element(m.data, m.dtype, (row0 + r) * m.cols + col) * scale;
      if (!isfinite(value)) continue;
      const double square = (value - mean) * (value - mean);
      mine.second += square;
      mine.fourth += square * square;
      if (bins > 0) {
        const double position = width > 0.0 ? (value - low) / width * bins : 0.0;
        const int bin = min(max(static_cast<int>(position), 0), bins - 1);
        if (gather) {
          atomicAdd(counts + bin, 1u);
        } else {
          atomicAdd(histogram + bin, 1ull);
        }
      }
    }
  }
  const Powers all = add_threads(mine, shared);
  if (threadIdx.x == 0) powers[blockIdx.x] = all;
  if (gather) {
    for (int i = threadIdx.x; i < bins; i += kThreads) {
      if (counts[i] != 0) atomicAdd(histogram + i, static_cast<unsigned long long>(counts[i]));
    }
  }
}

// One block: the sum of all shares into shares[0].
template <typename T>
__global__ void __launch_bounds__(kThreads) add_shares_kernel(T* shares, int64_t count, T start) {
  __shared__ T shared[kThreads];
  T mine = start;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) mine.add(shares[i]);
  const T all = add_threads(mine, shared);
  if (threadIdx.x == 0) shares[0] = all;
}

// norms[i] joined by the square root of the sum of parts [count, size] over the first index, divided by `scale`.
__global__ void norms_kernel(const double* parts, int64_t count, int64_t size, double scale, double* norms) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= size) return;
  double sum = 0.0;
  for (int64_t part = 0; part < count; ++part) sum += parts[part * size + i];
  norms[i] = hypot(norms[i], sqrt(sum) / scale);
}

void join_norms(const Stream& stream, const DeviceBuffer<double>& parts, int64_t count, double scale,
                const DeviceBuffer<double>& norms, int64_t size) {
  norms_kernel<<<static_cast<unsigned>(ceil_div(size, kThreads)), kThreads, 0, stream.get()>>>(parts.get(), count, size,
                                                                                               scale, norms.get());
  check_launch("norms");
}

// One block a cell.
__global__ void __launch_bounds__(kThreads)
    preview_kernel(const Source m, int out_rows, int out_cols, float* minimum, float* maximum, float* mean) {
  __shared__ float lows[kThreads], highs[kThreads];
  __shared__ double sums[kThreads];
  const int64_t i = blockIdx.x / out_cols, j = blockIdx.x % out_cols;
  const int64_t row0 = i * m.rows / out_rows, row_end = (i + 1) * m.rows / out_rows;
  const int64_t col0 = j * m.cols / out_cols, col_end = (j + 1) * m.cols / out_cols;
  const int64_t width = col_end - col0, count = (row_end - row0) * width;
  float low = INFINITY, high = -INFINITY;
  double sum = 0.0;
  for (int64_t k = threadIdx.x; k < count; k += kThreads) {
    const int64_t row = row0 + k / width, col = col0 + k % width;
    const double value = load_element(m.data, m.dtype, row * m.cols + col);
    const auto narrow = static_cast<float>(value);
    low = narrow < low ? narrow : low;
    high = narrow > high ? narrow : high;
    sum += value;
  }
  lows[threadIdx.x] = low;
  highs[threadIdx.x] = high;
  sums[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) {
      lows[threadIdx.x] = fminf(lows[threadIdx.x], lows[threadIdx.x + half]);
      highs[threadIdx.x] = fmaxf(highs[threadIdx.x], highs[threadIdx.x + half]);
      sums[threadIdx.x] += sums[threadIdx.x + half];
    }
  }
  if (threadIdx.x == 0) {
    minimum[blockIdx.x] = lows[0];
    maximum[blockIdx.x] = highs[0];
    mean[blockIdx.x] = static_cast<float>(sums[0] / static_cast<double>(count));
  }
}

}  // namespace

void statistics(const Stream& stream, const MatrixView& m, const StatisticsRequest& request, Statistics* out,
                const Watch& watch) {
  check_matrix(m);
  if (request.bins < 0) fail(StatusCode::invalid_argument, "a histogram of %d bins", request.bins);
  const int64_t count = m.rows * m.cols;
  const DeviceBuffer<uint8_t> raw = upload_bytes(stream, m);
  const Source source{raw.get(), m.dtype, m.rows, m.cols};
  const int64_t across = ceil_div(m.cols, kThreads), down = ceil_div(m.rows, kRows);
  const auto grid = static_cast<unsigned>(across * down);
  DeviceBuffer<Totals> totals(stream, across * down);
  watch.poll();
  extremes_kernel<<<grid, kThreads, 0, stream.get()>>>(source, across, totals.get());
  check_launch("statistics, extremes");
  const double infinity = std::numeric_limits<double>::infinity();
  add_shares_kernel<<<1, kThreads, 0, stream.get()>>>(totals.get(), across * down,
                                                      Totals{infinity, -infinity, 0, 0, 0, 0, kNone, kNone});
  check_launch("statistics, extremes");
  Totals all{};
  totals.download(&all, 1);
  const double n = all.finite > 0 ? static_cast<double>(all.finite) : 1.0;
  const double low = all.finite > 0 ? all.min : 0.0, high = all.finite > 0 ? all.max : 0.0;
  const double absmax = std::max(std::fabs(low), std::fabs(high));
  watch.progress(static_cast<double>(count) / 3, static_cast<double>(count));
  watch.poll();

  // Only doubles reach powers that doubles do not hold.
  const bool wide = m.dtype == Dtype::F64;
  const double scale = wide && absmax > 0 ? std::ldexp(1.0, -std::max(-1000, std::min(1000, std::ilogb(absmax)))) : 1.0;
  DeviceBuffer<Sum> sums(stream, across * down);
  const int64_t norm_rows = request.row_norms != nullptr ? m.rows : 0;
  const int64_t norm_cols = request.col_norms != nullptr ? m.cols : 0;
  DeviceBuffer<double> row_squares(stream, across * norm_rows), row_norms(stream, norm_rows);
  DeviceBuffer<double> col_squares(stream, down * norm_cols), col_norms(stream, norm_cols);
  row_norms.clear();
  col_norms.clear();
  const Window* windows = wide ? kWindows : &kEverything;
  for (int i = 0; i < (wide ? 3 : 1); ++i) {
    sums_kernel<<<grid, kThreads, 0, stream.get()>>>(source, across, scale, windows[i], sums.get(),
                                                     norm_rows > 0 ? row_squares.get() : nullptr,
                                                     norm_cols > 0 ? col_squares.get() : nullptr);
    check_launch("statistics, sums");
    if (norm_rows > 0) join_norms(stream, row_squares, across, windows[i].scale, row_norms, norm_rows);
    if (norm_cols > 0) join_norms(stream, col_squares, down, windows[i].scale, col_norms, norm_cols);
  }
  if (norm_rows > 0) row_norms.download(request.row_norms, norm_rows);
  if (norm_cols > 0) col_norms.download(request.col_norms, norm_cols);
  add_shares_kernel<<<1, kThreads, 0, stream.get()>>>(sums.get(), across * down, Sum{0.0});
  check_launch("statistics, sums");
  Sum sum{};
  sums.download(&sum, 1);
  const double mean = sum.value / n;
  watch.progress(2 * static_cast<double>(count) / 3, static_cast<double>(count));
  watch.poll();

  DeviceBuffer<Powers> powers(stream, across * down);
  DeviceBuffer<unsigned long long> histogram(stream, request.bins);
  histogram.clear();
  const size_t shared = request.bins <= kSharedBins ? static_cast<size_t>(request.bins) * sizeof(unsigned) : 0;
  powers_kernel<<<grid, kThreads, shared, stream.get()>>>(source, across, scale, mean, low * scale, high * scale,
                                                          request.bins, powers.get(), histogram.get());
  check_launch("statistics, powers");
  add_shares_kernel<<<1, kThreads, 0, stream.get()>>>(powers.get(), across * down, Powers{0.0, 0.0});
  check_launch("statistics, powers");
  Powers about_mean{};
  powers.download(&about_mean, 1);
  if (request.bins > 0) {
    std::vector<unsigned long long> bins(static_cast<size_t>(request.bins));
    histogram.download(bins.data(), request.bins);
    for (int i = 0; i < request.bins; ++i) request.histogram[i] = static_cast<int64_t>(bins[i]);
  }

  *out = Statistics{};
  out->count = count;
  out->zeros = static_cast<int64_t>(all.zeros);
  out->nans = static_cast<int64_t>(all.nans);
  out->infs = static_cast<int64_t>(all.infs);
  out->first_nan = all.first_nan == kNone ? -1 : static_cast<int64_t>(all.first_nan);
  out->first_inf = all.first_inf == kNone ? -1 : static_cast<int64_t>(all.first_inf);
  out->min = low;
  out->max = high;
  out->absmax = absmax;
  out->mean = mean / scale;
  const double variance = about_mean.second / n;
  out->stddev = low == high ? 0.0 : std::sqrt(variance) / scale;
  out->kurtosis = low < high && variance > 0.0 ? about_mean.fourth / n / (variance * variance) : 0.0;
  if (request.bins > 0) {
    out->histogram_low = low;
    out->histogram_high = high;
    out->sampled = static_cast<int64_t>(all.finite);
  }
  watch.progress(static_cast<double>(count), static_cast<double>(count));
}

void preview(const Stream& stream, const MatrixView& m, const PreviewRequest& request, const Watch& watch) {
  check_matrix(m);
  if (request.out_rows < 1 || request.out_cols < 1 || request.out_rows > m.rows || request.out_cols > m.cols) {
    fail(StatusCode::invalid_argument, "a picture of %d x %d cells does not fit a %lld x %lld matrix", request.out_rows,
         request.out_cols, static_cast<long long>(m.rows), static_cast<long long>(m.cols));
  }
  const DeviceBuffer<uint8_t> raw = upload_bytes(stream, m);
  const int64_t cells = static_cast<int64_t>(request.out_rows) * request.out_cols;
  DeviceBuffer<float> minimum(stream, cells), maximum(stream, cells), mean(stream, cells);
  watch.poll();
  preview_kernel<<<static_cast<unsigned>(cells), kThreads, 0, stream.get()>>>(
      Source{raw.get(), m.dtype, m.rows, m.cols}, request.out_rows, request.out_cols, minimum.get(), maximum.get(),
      mean.get());
  check_launch("picture of the matrix");
  minimum.download(request.minimum, cells);
  maximum.download(request.maximum, cells);
  mean.download(request.mean, cells);
  const auto count = static_cast<double>(m.rows * m.cols);
  watch.progress(count, count);
}

}  // namespace lq::cuda
