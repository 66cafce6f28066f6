// The vector kernels of the encoder, compiled once for each instruction set and chosen once at run time as ../kernels
// are. Single-threaded.
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace lq::cpu {

// One step of the trellis as the search reads it: see TrellisCode.
struct ViterbiStep {
  int32_t bits;
  const float* values;
  const float* interleaved;
};

// The path of least squared error through a run of steps. Costs over the states without their oldest bits, by the bits
// that the next step takes, are kept for every step: `scratch` has viterbi_scratch floats.
struct ViterbiArgs {
  int32_t states;            // L
  const ViterbiStep* steps;  // [count + 1], the last for its bits alone
  const float* targets;      // [count]
  int64_t count;             // at least 1
  int64_t from, to;          // reversed states without their oldest bits, before and after the run; -1: any
  float* scratch;
  uint32_t* path;  // [count] reversed states
};

constexpr int64_t viterbi_scratch(int32_t states, int32_t least_bits, int64_t count) {
  return (count + 1) << (states - least_bits);
}

// A few columns of 16 rows being rounded; arrays are [width][16] or [16], a row a lane.
struct RoundArgs {
  const float* target;    // what a column is rounded to, but for the feedback inside the chunk; descend: errors times h
  const float* original;  // what errors are measured from
  const float* feedback;  // at the chunk's first row and column, or null; descend: h
  int64_t ld;
  int64_t width;
  const float* scale;
  const float* inverse;
  bool integers;     // low .. high of each lane in units of the scale, else the levels of `table`
  const float* low;  // [16]
  const float* high;
  const BookTable* table;
  float* value;    // as decoded
  float* error;    // original - value
  uint8_t* index;  // of the level; of the integer, from low
};

struct EncodeKernels {
  int32_t lanes;  // the order of ViterbiStep::interleaved depends on it
  // Fills path and returns its squared error.
  float (*viterbi)(const ViterbiArgs& args);
  // Columns in order, each to the level nearest to its target with the feedback of the columns before it.
  void (*round)(const RoundArgs& args);
  // Columns in order, each to the level nearest to where the quadratic cost has its least; whether any moved.
  bool (*descend)(const RoundArgs& args);
  // In each run of b consecutive elements of x [n], b a power of two that divides n: the Hadamard transform, as
  // lq/encode.h orders it, without its scale.
  void (*hadamard)(float* x, int64_t n, int64_t b);
  // Sum of x y.
  double (*dot)(const float* x, const float* y, int64_t n);
};

const EncodeKernels& encode_kernels();

namespace baseline {
extern const EncodeKernels encode_table;
}
namespace avx2 {
extern const EncodeKernels encode_table;
}
namespace avx512 {
extern const EncodeKernels encode_table;
}

}  // namespace lq::cpu
