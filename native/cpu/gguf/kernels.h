// The vector kernels of the GGUF encoder, compiled once for each instruction set and chosen once at run time as
// ../kernels are. Single-threaded. A strip is kStrip rows side by side: element (column, row) of a strip is
// [column][row].
#pragma once

#include <cstdint>

namespace lq::cpu::gguf {

constexpr int kStrip = 16;
constexpr int kMaxSuper = 256;
constexpr int kMaxSubs = 16;

// What a scale may be.
enum class ScaleCode : int32_t {
  half,     // fp16, one a block
  integer,  // an integer times the fp16 of the super-block
  power,    // half a power of two, one a block
};

// A type whose weights are rounded one by one: value = scale * level(code) - minimum.
struct ScalarForm {
  int32_t sub;    // weights that share a scale
  int32_t super;  // weights of a block
  bool has_min;
  int32_t low, high;    // codes; without a table they are the levels
  const float* levels;  // ascending, of codes 0 .. high, or null
  ScaleCode scale;
  int32_t scale_low, scale_high, min_high;  // of integer scales and minima
  // A minimum of another sign (Q4_1, Q5_1) is stored as it is.
  bool signed_min;
};

// One block of a strip: its weights, their targets with the feedback of all earlier blocks, the factors N and D of the
// metric H = N D N' from the block's first column on.
struct SuperInput {
  const float (*weight)[kStrip];  // [super]
  const float (*target)[kStrip];  // [super]
  const float* n;                 // [super, super] with leading dimension ld, strictly upper
  int64_t ld;
  const float* d;  // [super]
};

struct SuperOutput {
  float code[kMaxSuper][kStrip];
  float value[kMaxSuper][kStrip];
  float scale[kMaxSubs][kStrip], minimum[kMaxSubs][kStrip];            // as values
  float scale_code[kMaxSubs][kStrip], minimum_code[kMaxSubs][kStrip];  // as integers, of integer scales
  float d[kStrip], dmin[kStrip];                                       // of integer scales, in fp16's range of values
  float cost[kStrip];
};

// Rows of a grid of magnitudes, by dimension: magnitude[j * count + i] is element j of row i.
struct GridView {
  int32_t dims, count;  // count a multiple of 16
  const float* magnitude;
};

struct EncodeKernels {
  // Scales, then codes with feedback, the best of several scales.
  void (*encode_scalar)(const ScalarForm& form, const SuperInput& in, SuperOutput* out);
  // One sweep of coordinate descent over the columns of a strip with its scales as they are. g is E H [cols], kept up.
  // scale and minimum are [cols / sub]. Returns whether a code changed.
  bool (*descend_scalar)(const ScalarForm& form, int64_t cols, const float* h, const float (*scale)[kStrip],
                         const float (*minimum)[kStrip], float (*g)[kStrip], float (*code)[kStrip],
                         float (*value)[kStrip]);
  // The row of a grid of least sum_j a_j (b_j + sum_{k >= j} c_jk a_k), c [dims, dims].
  int32_t (*nearest)(const GridView& grid, const float* b, const float* c, float* cost);
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

}  // namespace lq::cpu::gguf
