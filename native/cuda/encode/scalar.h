// Scalar grids on the device: scales, levels, and rounding column by column with feedback from the columns before.
#pragma once

#include "encode/levels.h"
#include "quant/book.h"
#include "runtime/memory.h"

namespace lq::cuda {

// The levels of one option on the device.
class DeviceLevels {
 public:
  DeviceLevels(const Stream& stream, const cpu::Levels& levels);
  const cpu::Levels& host() const { return levels_; }
  const DeviceBook* book() const { return book_.get(); }
  const uint8_t* codes() const { return codes_.get(); }

 private:
  cpu::Levels levels_;
  DeviceBuffer<DeviceBook> book_;  // empty for integers
  DeviceBuffer<uint8_t> codes_;    // of each level
};

// Scales of a matrix, and how they are found: of each row, of each group of columns (searched ones too), or of each
// block of consecutive weights as two-level scales leave them.
struct ScaleTable {
  ScaleKind kind;
  float* scales;     // [rows], [rows, groups] or [blocks], decoded, in the units of the target
  uint8_t* zeros;    // like scales, of row and group scales
  int64_t groups;    // a row
  int64_t group;     // columns; or weights a block
  bool asymmetric;   // scales span least to largest, with a zero
  float steps, top;  // of the asymmetric range; the grid's largest level otherwise
};

// The matrix being encoded, all [rows, cols].
struct ScalarMatrix {
  int64_t rows, cols;
  const float* target;
  float* values;   // as decoded
  float* error;    // target - values
  uint8_t* codes;  // one a byte
};

// Two-level scales of the target: decoded into table.scales, their parts into `codes` [blocks] and `maxima` [groups],
// the offset's bits into `minimum`. `unit` is what the target was divided by.
void two_level_scales(const Stream& stream, const ScalarMatrix& matrix, const QuantConfig& config, float unit,
                      const ScaleTable& table, uint8_t* codes, float* maxima, uint32_t* minimum);

// Scales (and zeros) of `width` columns from `at` on, one group or the whole row, from `moved` [rows, width]; added to
// the target's columns when `delta`.
void find_scales(const Stream& stream, const ScalarMatrix& matrix, const ScaleTable& table, int64_t at, int64_t width,
                 const float* moved, bool delta);

// The same for scales of least weighted error among ranges shrunk from the one that holds every weight, and the
// least-squares scale of the codes that the best gives, as the CPU's search has them: of `type`, in units of the target
// times `unit` where they are stored, of either sign on an integer grid. column_weight [cols]: what an error costs.
struct ScaleSearch {
  const float* column_weight;
  ScaleDtype type;
  float unit;
  int32_t bits;
};
void search_scales(const Stream& stream, const ScalarMatrix& matrix, const DeviceLevels& levels,
                   const ScaleTable& table, const ScaleSearch& search, int64_t at, int64_t width, const float* moved,
                   bool delta);

// Every code in turn to the level nearest to what the others leave for it (LNQ of GuidedQuant, arXiv 2505.07004), a few
// sweeps: the matrix as rounding left it, eh [rows, cols] = its errors times h [cols, cols], which is kept up to date.
void descend(const Stream& stream, const ScalarMatrix& matrix, const DeviceLevels& levels, const ScaleTable& table,
             const float* h, float* eh, const Watch& watch);

// Rounds columns [at + offset, at + offset + width), at most kMostColumns, one after the other. `wide` [rows, ld] holds
// the targets of the columns from `at` on with the feedback of all columns before at + offset; feedback [cols, cols],
// or null, gives that of those between.
constexpr int64_t kMostColumns = 128;
void round_columns(const Stream& stream, const ScalarMatrix& matrix, const DeviceLevels& levels,
                   const ScaleTable& table, const float* wide, int64_t ld, int64_t at, int64_t offset, int64_t width,
                   const float* feedback);

// x [rows, ld], columns [offset, offset + width) of a stretch that starts at `at`: x (1 + N) = x with N the feedback
// within those columns.
void solve_columns(const Stream& stream, int64_t rows, float* x, int64_t ld, int64_t at, int64_t offset, int64_t width,
                   const float* feedback, int64_t cols);

// A histogram of the targets in units of their scales, weighted by by_column[j] times row_weight[i] times the
// squared scale. The same whatever the order of its sums.
struct FitWeights {
  const float* by_column;  // diagonal of h, `stride` apart; null: 1
  int64_t stride;
  const float* elementwise;  // [rows, cols], in its place; or null
  const float* row_weight;   // [rows]
};
std::vector<cpu::FitBin> fit_histogram(const Stream& stream, const ScalarMatrix& matrix, const ScaleTable& table,
                                       const FitWeights& weights);

}  // namespace lq::cuda
