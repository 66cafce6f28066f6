// The vector kernels of the encoder, compiled once for each instruction set and chosen once at run time as ../kernels
// are. Single-threaded.
#pragma once

#include <cstdint>

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

struct EncodeKernels {
  int32_t lanes;  // the order of ViterbiStep::interleaved depends on it
  // Fills path and returns its squared error.
  float (*viterbi)(const ViterbiArgs& args);
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
