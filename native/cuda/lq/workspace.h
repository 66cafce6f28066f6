// Device memory of the LQ iteration: what all options of a matrix share, and what each slot (an option at work) has.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "quant/book.h"
#include "quant/live.h"
#include "quant/scales.h"

namespace lq::cuda {

// Matrices are padded with zeros to multiples of this, so that no tile of a product needs a bounds check.
constexpr int kTile = 128;
// Warps that share a tile of a pass over the weights, each leaving its own share of the error.
constexpr int kTileWarps = 8;

// Up to this iteration the residual changes much from one to the next, and its factorisation takes a step more.
constexpr int kChangingIterations = 5;

// What a slot works on; written by the host when the slot gets an option.
struct SlotOption {
  int32_t bits;     // b0
  int32_t block;    // B0
  int32_t aligned;  // 1: a block is 16, 32 or 64 wide and never straddles rows
  int32_t book;     // index into the books
  int64_t blocks;
  int32_t max_iterations;
  int32_t patience;
  int32_t keep_best;  // 1: best_u and best_z follow the best iterate
};

// Where a slot is; written by the device, read back after every iteration. Errors are sums of squares.
struct SlotState {
  double cost, squared_error;            // of the last iterate
  double best_cost, best_squared_error;  // of the best one
  int32_t iterations, best_iteration;
  int32_t since_best;
  int32_t active;    // 0: stopped
  int32_t fresh;     // 1: the factors are given, the first iteration has no factorisation
  int32_t improved;  // the last iterate is the best
};

// Passed to the kernels by value. fp16 operands carry powers of two that keep them in range:
//   residual = residual_scale * D_row (W - Q) D_col,  u = kFactorScale * U,  z = z_scale * (residual' U) /
//   residual_scale.
struct Workspace {
  int32_t rows, cols, padded_rows, padded_cols;
  int32_t rank, padded_rank;          // rank padded to a multiple of 16
  int32_t column_splits, row_splits;  // parts the inner dimension of each sketch is cut into
  int32_t multiprocessors;
  int32_t step, steps;  // which step of subspace iteration this is, and how many every iteration takes

  const void* weight;  // [padded_rows, padded_cols], fp32 or bf16
  int32_t weight_is_bf16;
  const float* fisher;     // [padded_rows, padded_cols] or null
  const float* row_scale;  // D_row [padded_rows] or null with all of the next three
  const float* col_scale;
  const float* row_inverse;  // 1 / D_row, 0 in the padding
  const float* col_inverse;
  float residual_scale;
  float product_scale;  // 1 / (kFactorScale z_scale)
  float z_store_scale;  // turns the second sketch's sums into z

  __half* residual;    // [slot][padded_rows, padded_cols]
  __half *u, *best_u;  // [slot][padded_rows, padded_rank]
  __half *z, *best_z;  // [slot][padded_cols, padded_rank]
  // Scratch of one factorisation, by place in the list of live slots rather than by slot: few slots have room for
  // splits.
  float* y_sums;     // [place][column_splits][padded_rows, padded_rank]
  float* z_sums;     // [place][row_splits][padded_cols, padded_rank]
  float* gram;       // [place][gram chunks][padded_rank, padded_rank]
  float* whitening;  // [place][padded_rank, padded_rank]: row j combines the columns of y into orthonormal column j
  float* scales;     // [slot][max_blocks]
  int64_t max_blocks;
  uint32_t* minimum;  // [slot]
  double* errors;     // [slot][tiles][kTileWarps][2]: weighted and plain
  uint8_t* codes;     // [rows * cols], written by the emitting pass only

  const DeviceBook* books;
  const SlotOption* options;
  SlotState* states;

  __host__ __device__ int64_t matrix_size() const { return static_cast<int64_t>(padded_rows) * padded_cols; }
  __host__ __device__ int64_t u_size() const { return static_cast<int64_t>(padded_rows) * padded_rank; }
  __host__ __device__ int64_t z_size() const { return static_cast<int64_t>(padded_cols) * padded_rank; }
  // Whether this step of the factorisation leaves a slot alone.
  __host__ __device__ bool skips_step(const SlotState& state) const {
    const int32_t wanted = steps + (state.iterations <= kChangingIterations ? 1 : 0);
    return state.active == 0 || state.fresh != 0 || step >= wanted;
  }
  __host__ __device__ int32_t tiles() const { return (padded_rows / kTile) * (padded_cols / kTile); }
};

// Entries of an orthonormal column are at most 1; this leaves 12 more bits below them before fp16 becomes subnormal.
constexpr float kFactorScale = 4096.0f;
// Rows whose products one block of the Gram kernel sums.
constexpr int kGramRows = 256;

// --- Passes over the weights (absmax.cu, codes.cu, update.cu)
// ---------------------------------------------------------------------------

// R = W - L1 L2 and the absmax of its blocks (into scales) and their minimum.
void launch_absmax(const Stream& stream, const Workspace& ws, const LiveSlots& live, bool any_unaligned);
// Codes of R under the decoded scales: errors, and the next residual D_row (W - Q) D_col.
// `options` is the host's copy, by slot.
void launch_quantize(const Stream& stream, const Workspace& ws, const LiveSlots& live, const SlotOption* options);
// The same for slot 0 alone, writing the codes, one a byte, instead of the residual.
void launch_emit(const Stream& stream, const Workspace& ws);
// Sums the errors of the tiles, compares with the best and decides whether the slot goes on.
void launch_update(const Stream& stream, const Workspace& ws, const LiveSlots& live, bool any_kept);

// --- Factorisation (sketch.cu, orthonormal.cu)
// ------------------------------------------------------------------------

// One step of subspace iteration from z: u = orthonormal basis of residual z, z = residual' u.
void launch_factorize(const Stream& stream, const Workspace& ws, const LiveSlots& live);
// y_sums = residual z of every slot, in column_splits parts.
void launch_column_sketch(const Stream& stream, const Workspace& ws, const LiveSlots& live);
// z_sums = residual' u of every slot, in row_splits parts.
void launch_row_sketch(const Stream& stream, const Workspace& ws, const LiveSlots& live);

}  // namespace lq::cuda
