// Plain data shared by the addon and every backend.
//
// Everything here crosses a shared-library boundary (the CUDA backend is a separate library that may be built by
// another compiler), so it is C layout only: no std:: containers, no exceptions, no ownership. Sizes are in elements
// unless a name says bytes; matrices are row-major [rows, cols].
#pragma once

#include <cstddef>
#include <cstdint>

namespace lq {

// Element types a backend can read. The names follow the safetensors format.
enum class Dtype : int32_t { F64 = 0, F32, F16, BF16, F8_E4M3, F8_E5M2, I64, I32, I16, I8, U64, U32, U16, U8, BOOL };

// Bits of one element.
constexpr int32_t dtype_bits(Dtype d) {
  switch (d) {
    case Dtype::F64:
    case Dtype::I64:
    case Dtype::U64:
      return 64;
    case Dtype::F32:
    case Dtype::I32:
    case Dtype::U32:
      return 32;
    case Dtype::F16:
    case Dtype::BF16:
    case Dtype::I16:
    case Dtype::U16:
      return 16;
    default:
      return 8;
  }
}

// A matrix in host memory in its stored type. A vector is [1, n].
struct MatrixView {
  const void* data;
  Dtype dtype;
  int64_t rows;
  int64_t cols;
};

// The result of a call: code 0 is success. Messages name what was wrong, the caller adds file and tensor.
enum class StatusCode : int32_t {
  ok = 0,
  cancelled,
  invalid_argument,
  not_finite,     // index holds the first NaN or Inf
  out_of_range,   // index holds the first value that is too large to be squared
  out_of_memory,  // host
  device_memory,  // accelerator
  device_error,
  io_error,  // index holds errno
  unsupported,
  internal,
};

struct Status {
  StatusCode code;
  int64_t index;
  char message[496];
};

// Progress and cancellation. `cancelled` is polled at least every 100 ms of work and may be called from any thread;
// `progress` reports done of total in units the operation documents. Either may be null.
struct Control {
  void* user;
  bool (*cancelled)(void* user);
  void (*progress)(void* user, double done, double total);
};

// --- Quantisation (method: NormalFloat with two-level scales)
// ---------------------------------------------------------

enum class ScaleDtype : int32_t { BF16 = 0, FP16, FP32 };

constexpr int32_t scale_bits(ScaleDtype d) { return d == ScaleDtype::FP32 ? 32 : 16; }

// Levels in ascending order, 2^bits of them. NormalFloat is one way to fill it; fitted books are another.
struct CodeBook {
  int32_t bits;  // 2, 3, 4 or 8
  float levels[256];
};

// c = (b0, b1, b2, B0, B1): b0-bit codes, b1-bit block scales, group maxima of type b2, B0 weights a block, B1 blocks a
// group. Blocks run over the flattened row-major matrix; the last block and the last group may be short.
struct QuantConfig {
  int32_t b0;
  int32_t b1;
  ScaleDtype b2;
  int32_t block;  // B0
  int32_t group;  // B1
};

constexpr int64_t block_count(const QuantConfig& c, int64_t n) { return (n + c.block - 1) / c.block; }
constexpr int64_t group_count(const QuantConfig& c, int64_t n) { return (block_count(c, n) + c.group - 1) / c.group; }
// Packed sizes: fields of b bits, little-endian, lowest bits first, padded to a byte at the end of the tensor.
constexpr int64_t code_bytes(const QuantConfig& c, int64_t n) { return (n * c.b0 + 7) / 8; }
constexpr int64_t scale_bytes(const QuantConfig& c, int64_t n) { return (block_count(c, n) * c.b1 + 7) / 8; }
constexpr int64_t group_bytes(const QuantConfig& c, int64_t n) { return group_count(c, n) * scale_bits(c.b2) / 8; }

// One quantised tensor in its packed form, in buffers of exactly the sizes above. The caller owns them.
struct QuantizedView {
  QuantConfig config;
  const CodeBook* book;
  int64_t count;    // number of weights
  uint8_t* codes;   // code_bytes
  uint8_t* scales;  // scale_bytes
  uint8_t* groups;  // group_bytes
  float offset;     // minimum block absmax of the tensor
};

// --- LQ decomposition -----------------------------------------------------------------------------------------------

// min || D_row (W - Q - L1 L2) D_col ||, the error measured with the elementwise weight `fisher` when there is one.
struct LqProblem {
  MatrixView weight;
  const float* fisher;       // [rows*cols] elementwise weight of the squared error, or null for 1
  const float* row_scale;    // D_row [rows], or null for 1; positive
  const float* col_scale;    // D_col [cols], or null for 1; positive
  int32_t max_iterations;    // T
  int32_t patience;          // stop after this many iterations in a row without a new best; 1 is the paper's rule
  int32_t oversampling;      // columns of the sketch beyond the rank
  int32_t power_iterations;  // of the first factorisation; later ones start from the previous subspace
  uint64_t seed;
  // `weight` is 2^-exponent times the weight that is meant, so that no square of it leaves the range of fp32. What is
  // stored is of the weight that is meant: scales are rounded there, and the packed tensor holds it. Errors and factors
  // are those of `weight`.
  int32_t exponent;
};

struct SweepOption {
  QuantConfig config;
  const CodeBook* book;
  int32_t rank;  // 0: quantisation alone
};

// Errors are sums of squares in fp64: `cost` weighted by fisher (equal to `squared_error` without one), of the best
// iterate.
struct SweepCost {
  double cost;
  double squared_error;
  double cost_quantized;   // weighted error of quantisation alone, no low-rank part
  int32_t iterations;      // run
  int32_t best_iteration;  // 1-based
};

// One decomposition, into buffers of the caller: `quantized` as above, l1 [rows, rank], l2 [rank, cols].
// `trace` receives the weighted error norm (not squared) of every iteration, up to max_iterations, and may be null.
struct LqResult {
  QuantizedView quantized;
  float* l1;
  float* l2;
  double* trace;
  SweepCost cost;
};

// --- Statistics ---------------------------------------------------------------------------------------------------

// Moments over the finite elements. first_* are flat indices, -1 when there is none.
struct Statistics {
  int64_t count, zeros, nans, infs, first_nan, first_inf;
  double min, max, mean, stddev, absmax, kurtosis;  // kurtosis: fourth standardised moment (3 for a Gaussian)
  // Histogram of equal bins over [histogram_low, histogram_high] into the caller's array; `sampled` elements were
  // counted.
  double histogram_low, histogram_high;
  int64_t sampled;
};

struct StatisticsRequest {
  int32_t bins;        // 0: no histogram
  int64_t* histogram;  // [bins]
  double* row_norms;   // [rows] or null
  double* col_norms;   // [cols] or null
};

// A picture of a matrix: each of out_rows x out_cols cells holds min, max and mean of the weights it covers.
struct PreviewRequest {
  int32_t out_rows, out_cols;
  float* minimum;
  float* maximum;
  float* mean;
};

}  // namespace lq
