#include <algorithm>
#include <type_traits>

#include "lm/cublas.h"
#include "lm/mma.cuh"
#include "lm/product.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kEdge = 128;  // outputs of a block, each way
constexpr int kStep = 32;   // inner elements a stage
constexpr int kStages = 4;

// A stage's tile of an operand. Transposed operands lie with the inner dimension across rows.
template <bool Transposed>
struct Tile {
  static constexpr int kRows = Transposed ? kStep : kEdge;
  static constexpr int kCols = Transposed ? kEdge : kStep;
  static constexpr int kPitch = kCols + 8;  // an odd number of 16 bytes, so that eight rows meet all banks
  static constexpr int kElements = kRows * kPitch;
};

// [outer, inner] of a tile from `source`, zero beyond outer_end and inner_end.
template <bool Transposed>
__device__ void load_tile(Bf16* tile, const Bf16* source, int64_t stride, int64_t outer, int64_t outer_end,
                          int64_t inner, int64_t inner_end) {
  using T = Tile<Transposed>;
  constexpr int kChunks = T::kCols / 8;
#pragma unroll
  for (int i = threadIdx.x; i < T::kRows * kChunks; i += kThreads) {
    const int row = i / kChunks, col = i % kChunks * 8;
    const int64_t r = (Transposed ? inner : outer) + row, c = (Transposed ? outer : inner) + col;
    const bool inside = r < (Transposed ? inner_end : outer_end) && c < (Transposed ? outer_end : inner_end);
    copy_async_or_zero(shared_address(tile + row * T::kPitch + col), inside ? source + r * stride + c : source, inside);
  }
}

// Fragment of a 16 x 16 left operand at (outer, inner) of a tile.
template <bool Transposed>
__device__ void load_left(uint32_t (&out)[4], const Bf16* tile, int outer, int inner, int lane) {
  constexpr int kPitch = Tile<Transposed>::kPitch;
  if constexpr (Transposed) {
    const int k = lane % 8 + lane / 16 * 8, m = lane / 8 % 2 * 8;
    load_matrices_transposed(out, shared_address(tile + (inner + k) * kPitch + outer + m));
  } else {
    load_matrices(out, shared_address(tile + (outer + lane % 16) * kPitch + inner + lane / 16 * 8));
  }
}

// Fragments of two 16 x 8 right operands side by side at (outer, inner): {0, 1} and {2, 3}.
template <bool Transposed>
__device__ void load_right(uint32_t (&out)[4], const Bf16* tile, int outer, int inner, int lane) {
  constexpr int kPitch = Tile<Transposed>::kPitch;
  if constexpr (Transposed) {
    load_matrices_transposed(out, shared_address(tile + (inner + lane % 16) * kPitch + outer + lane / 16 * 8));
  } else {
    const int n = lane % 8 + lane / 16 * 8, k = lane / 8 % 2 * 8;
    load_matrices(out, shared_address(tile + (outer + n) * kPitch + inner + k));
  }
}

struct Problem {
  Operand a, b;
  int64_t rows, cols, inner;  // of the output, and what is summed
  int groups;                 // products whose operands follow each other along the summed dimension
  const int32_t* begins;      // [groups + 1], where each begins there; null: `inner` each

  __device__ int64_t begin(int group) const { return begins == nullptr ? group * inner : begins[group]; }
  __device__ int64_t size(int group) const { return begins == nullptr ? inner : begins[group + 1] - begins[group]; }
};

// Where a walk through the stages of a problem is.
struct Walk {
  int group, pair, step, steps;  // steps: of the group
  __device__ Walk(const Problem& p) : group(-1), pair(0), step(0), steps(0) { next_group(p); }
  // To the next stage; true where a group ends.
  __device__ bool advance(const Problem& p, int pairs) {
    if (++step < steps) return false;
    step = 0;
    if (++pair < pairs) return false;
    pair = 0;
    next_group(p);
    return true;
  }

 private:
  // Past groups without rows.
  __device__ void next_group(const Problem& p) {
    do {
      if (++group >= p.groups) return;
      steps = static_cast<int>((p.size(group) + kStep - 1) / kStep);
    } while (steps == 0);
  }
};

enum class Finish { fp32, add_fp32, bf16, add_bf16, add_squares };

template <Finish F>
__device__ void store_outputs(void* data, int64_t at, float x, float y) {
  using Element = std::conditional_t<F == Finish::bf16 || F == Finish::add_bf16, Bf16, float>;
  Element* out = static_cast<Element*>(data) + at;
  if constexpr (F != Finish::fp32 && F != Finish::bf16) {
    const float2 before = load_pair(out);
    x += before.x;
    y += before.y;
  }
  store_pair(out, x, y);
}

// Eight warps, each 64 x 32 outputs. Stages run through groups, pairs of planes and inner steps without a pause.
template <bool LeftTransposed, bool RightTransposed, Finish F>
__global__ void __launch_bounds__(kThreads) product_kernel(const Problem p, void* out, int64_t out_stride) {
  using Left = Tile<LeftTransposed>;
  using Right = Tile<RightTransposed>;
  constexpr bool kSquares = F == Finish::add_squares;
  extern __shared__ __align__(16) unsigned char memory[];
  Bf16* left = reinterpret_cast<Bf16*>(memory);
  Bf16* right = left + kStages * Left::kElements;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_row = warp / 4 * 64, warp_col = warp % 4 * 32;
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * kEdge, col0 = static_cast<int64_t>(blockIdx.y) * kEdge;
  const int pairs = p.a.planes + p.b.planes - 1;
  Walk ahead(p), now(p);

  const auto fetch = [&](int stage) {
    if (ahead.group < p.groups) {
      // With two planes on both sides: high times high, high times rest, rest times high.
      const bool rest_of_a = p.a.planes == 2 && ahead.pair == pairs - 1, rest_of_b = p.b.planes == 2 && ahead.pair == 1;
      const int64_t skip = p.begin(ahead.group), size = p.size(ahead.group);
      const Bf16* a = reinterpret_cast<const Bf16*>(p.a.data) + (rest_of_a ? p.a.plane : 0) +
                      (LeftTransposed ? skip * p.a.stride : skip);
      const Bf16* b = reinterpret_cast<const Bf16*>(p.b.data) + (rest_of_b ? p.b.plane : 0) +
                      (RightTransposed ? skip * p.b.stride : skip);
      const int slot = stage % kStages;
      const int64_t inner = static_cast<int64_t>(ahead.step) * kStep;
      load_tile<LeftTransposed>(left + slot * Left::kElements, a, p.a.stride, row0, p.rows, inner, size);
      load_tile<RightTransposed>(right + slot * Right::kElements, b, p.b.stride, col0, p.cols, inner, size);
      ahead.advance(p, pairs);
    }
    copy_commit();
  };

  float sums[4][4][4] = {};
  float squares[kSquares ? 4 : 1][4][4] = {};
  for (int stage = 0; stage < kStages - 1; ++stage) fetch(stage);
  for (int stage = 0; now.group < p.groups; ++stage) {
    copy_wait<kStages - 2>();
    __syncthreads();
    fetch(stage + kStages - 1);
    const Bf16* a = left + stage % kStages * Left::kElements;
    const Bf16* b = right + stage % kStages * Right::kElements;
#pragma unroll
    for (int k = 0; k < kStep; k += 16) {
      uint32_t of_a[4][4], of_b[2][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) load_left<LeftTransposed>(of_a[i], a, warp_row + i * 16, k, lane);
#pragma unroll
      for (int j = 0; j < 2; ++j) load_right<RightTransposed>(of_b[j], b, warp_col + j * 16, k, lane);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          multiply_add_bf16(sums[i][j], of_a[i], of_b[j / 2][j % 2 * 2], of_b[j / 2][j % 2 * 2 + 1]);
        }
      }
    }
    const bool group_ends = now.advance(p, pairs);
    if constexpr (kSquares) {
      if (group_ends) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              squares[i][j][e] = fmaf(sums[i][j][e], sums[i][j][e], squares[i][j][e]);
              sums[i][j][e] = 0.0f;
            }
          }
        }
      }
    }
  }

#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t col = col0 + warp_col + j * 8 + lane % 4 * 2;
      if (col >= p.cols) continue;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = row0 + warp_row + i * 16 + lane / 4 + half * 8;
        if (row >= p.rows) continue;
        const float(&from)[4] = kSquares ? squares[i % (kSquares ? 4 : 1)][j] : sums[i][j];
        store_outputs<F>(out, row * out_stride + col, from[half * 2], from[half * 2 + 1]);
      }
    }
  }
}

template <bool LeftTransposed, bool RightTransposed, Finish F>
void launch(const Stream& stream, const Problem& p, void* out, int64_t out_stride) {
  constexpr int kBytes =
      kStages * (Tile<LeftTransposed>::kElements + Tile<RightTransposed>::kElements) * static_cast<int>(sizeof(Bf16));
  const auto kernel = product_kernel<LeftTransposed, RightTransposed, F>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes), "preparing a product");
  const dim3 grid(static_cast<unsigned>(ceil_div(p.rows, kEdge)), static_cast<unsigned>(ceil_div(p.cols, kEdge)));
  kernel<<<grid, kThreads, kBytes, stream.get()>>>(p, out, out_stride);
  check_launch("a product");
}

template <bool RightTransposed>
void launch_to(const Stream& stream, const Problem& p, const Target& out) {
  if (out.bf16 && out.accumulate) {
    return launch<false, RightTransposed, Finish::add_bf16>(stream, p, out.data, out.stride);
  }
  if (out.bf16) return launch<false, RightTransposed, Finish::bf16>(stream, p, out.data, out.stride);
  if (out.accumulate) return launch<false, RightTransposed, Finish::add_fp32>(stream, p, out.data, out.stride);
  launch<false, RightTransposed, Finish::fp32>(stream, p, out.data, out.stride);
}

}  // namespace

Products::Products(const Stream& stream) : stream_(stream), cublas_(Cublas::open(stream)) {}
Products::~Products() = default;

void Products::times_transposed(const Operand& a, const Operand& b, int64_t rows, int64_t b_rows, int64_t inner,
                                const Target& out) const {
  if (cublas_) return cublas_->multiply(true, a, b, rows, b_rows, inner, out);
  launch_to<false>(stream_, {a, b, rows, b_rows, inner, 1, nullptr}, out);
}

void Products::times(const Operand& a, const Operand& b, int64_t rows, int64_t cols, int64_t inner,
                     const Target& out) const {
  if (cublas_) return cublas_->multiply(false, a, b, rows, cols, inner, out);
  launch_to<true>(stream_, {a, b, rows, cols, inner, 1, nullptr}, out);
}

void Products::add_squared_gradients(const Operand& a, const Operand& b, int64_t a_cols, int64_t b_cols,
                                     int64_t sequences, int64_t context, float* out) const {
  const Problem p{a, b, a_cols, b_cols, context, static_cast<int>(sequences), nullptr};
  launch<true, true, Finish::add_squares>(stream_, p, out, b_cols);
}

void Products::add_squared_gradients(const Operand& a, const Operand& b, int64_t a_cols, int64_t b_cols,
                                     int64_t sequences, const int32_t* begins, float* out) const {
  const Problem p{a, b, a_cols, b_cols, 0, static_cast<int>(sequences), begins};
  launch<true, true, Finish::add_squares>(stream_, p, out, b_cols);
}

void Products::add_moments(const Operand& a, const Operand& b, int64_t a_cols, int64_t b_cols, int64_t rows,
                           float* out) const {
  launch<true, true, Finish::add_fp32>(stream_, {a, b, a_cols, b_cols, rows, 1, nullptr}, out, b_cols);
}

}  // namespace lq::cuda
