// The vector kernels, compiled once for each instruction set and chosen once at run time.
//
// Everything here is single-threaded and works on a piece that fits the cache; the ops above split the matrix. The
// three builds differ in rounding only (fused multiply-add, order of sums).
#pragma once

#include <cstdint>

#include "lq/types.h"

namespace lq::cpu {

// Widths of the thin matrices the kernels multiply with are multiples of this, zero-padded.
constexpr int32_t kThin = 16;
constexpr int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// A code book with the decision thresholds between its levels.
struct BookTable {
  int32_t bits;
  int32_t zero;                       // code of the value 0
  alignas(64) float thresholds[256];  // thresholds[i] between level i and i + 1; +inf beyond the last
  alignas(64) float levels[256];
};

BookTable make_table(const CodeBook& book);

// Block scales of a piece that starts at a group boundary. `decoded` is off + k v / M, `inverse` its reciprocal, 0
// where the scale is 0. `k` and `v` (one a group) may be null.
struct ScaleArgs {
  const float* absmax;
  int64_t blocks;
  int32_t group;
  int32_t bits;
  ScaleDtype dtype;
  float offset;
  int32_t exponent;  // the maxima are stored times 2^exponent, and `v` holds what is stored
  float* decoded;
  float* inverse;
  uint8_t* k;
  float* v;
};

// Nearest-level quantisation of a piece that starts at a block boundary.
struct QuantizeArgs {
  const float* values;  // what is quantised
  int64_t count;
  int32_t block;
  const float* decoded;  // scales, one a block
  const float* inverse;
  const BookTable* book;
  const float* fisher;  // elementwise weight of the error, or null
  const float* weight;  // with `residual`: weight - dequantised is stored there (it may be `values`)
  float* residual;      // or null
  uint8_t* codes;       // one a byte, or null
};

// Sums of squares of (values - dequantised).
struct QuantizeError {
  double squared;
  double weighted;  // equal to squared without a fisher weight
};

// Raw power sums of x * scale - pivot over a run, with the extremes of x; `finite` is false when the run holds a NaN or
// an Inf, or a sum overflows (the sums are then meaningless).
struct MomentSums {
  double s1, s2, s3, s4;
  double raw_squares;  // of x * scale
  float min, max;
  int64_t zeros;
  bool finite;
};

struct Kernels {
  const char* name;

  void (*from_bf16)(const uint16_t* in, float* out, int64_t n);
  void (*from_f16)(const uint16_t* in, float* out, int64_t n);

  // Largest magnitude of each block, as the float whose bits are the integer maximum of the magnitudes' bits: a NaN or
  // an Inf in the block makes it non-finite.
  void (*block_absmax)(const float* x, int64_t n, int32_t block, float* out);
  void (*scales)(const ScaleArgs& args);
  QuantizeError (*quantize)(const QuantizeArgs& args);

  // out [rows, cols] = base + l1 l2 (or base - l1 l2); l1 [rows, rank], l2 [rank, cols]. base may be out or null
  // (zeros).
  void (*add_low_rank)(const float* base, const float* l1, const float* l2, float* out, int64_t rows, int64_t cols,
                       int64_t rank, bool subtract);
  // y [rows, k] = e [rows, cols] v [cols, k]; k a multiple of kThin.
  void (*thin_right)(const float* e, const float* v, float* y, int64_t rows, int64_t cols, int64_t k);
  // zt [k, cols] += y^T e; y [rows, k], e [rows, cols]; k a multiple of kThin.
  void (*thin_left)(const float* e, const float* y, float* zt, int64_t rows, int64_t cols, int64_t k);

  // Sum of squared and of fisher-weighted squared x; fisher may be null.
  QuantizeError (*squares)(const float* x, const float* fisher, int64_t n);
  MomentSums (*moments)(const float* x, int64_t n, float scale, float pivot);
  // sums[i] += (x[i] * scale)^2.
  void (*add_squares)(const float* x, float scale, float* sums, int64_t n);
};

// The instruction sets, ascending. LQ_ISA=baseline|avx2|avx512 in the environment lowers the choice, for tests.
enum class Isa : int32_t { baseline = 0, avx2, avx512 };

Isa isa();

// Of tables that were built once an instruction set, the one for a set.
template <typename Table>
const Table& table_for(Isa isa, const Table& baseline, const Table& avx2, const Table& avx512) {
  return isa == Isa::avx512 ? avx512 : isa == Isa::avx2 ? avx2 : baseline;
}

const Kernels& kernels();
const Kernels& kernels(Isa isa);

namespace baseline {
extern const Kernels table;
}
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}

}  // namespace lq::cpu
