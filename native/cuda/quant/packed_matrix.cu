#include <algorithm>

#include "lm/mma.cuh"
#include "lm/residual.h"
#include "quant/book.h"
#include "quant/packed_matrix.h"
#include "quant/scales.cuh"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
// Beyond, expanding Q once costs less than its codes for every tile of tokens: on an H100, 4096 x 4096, 3 bits, 64
// tokens take 34 us fused; 128 take 54 us, and 256 by way of expansion 41 us.
constexpr int64_t kMostFusedTokens = 64;
constexpr int64_t kRankStep = 32;

unsigned blocks_for(int64_t count) { return static_cast<unsigned>(ceil_div(count, kThreads)); }

int shift_of(int32_t n) {
  for (int shift = 0; shift < 31; ++shift) {
    if (n == 1 << shift) return shift;
  }
  return -1;
}

// A divisor that is a shift most of the time.
struct Divisor {
  explicit Divisor(int32_t n) : value(static_cast<uint32_t>(n)), shift(shift_of(n)) {}
  __device__ int64_t divide(int64_t x) const { return shift >= 0 ? x >> shift : x / value; }
  uint32_t value;
  int shift;
};

struct Expansion {
  const uint8_t* codes;  // one readable word beyond the last byte, as in `scales` and `groups`
  const uint32_t* scales;
  const uint32_t* groups;
  const float* levels;
  QuantConfig config;
  Divisor block, group;
  float offset;
  Placement placement;
  int64_t padded_rows, padded_cols;
  Bf16* out;
  int64_t plane;
};

// Bits [bit, bit + 32) of an array.
__device__ inline uint32_t word_at(const uint32_t* words, int64_t bit) {
  const uint32_t* from = words + bit / 32;
  return __funnelshift_r(from[0], from[1], static_cast<uint32_t>(bit % 32));
}

__device__ inline float scale_of_block(const Expansion& e, int64_t block) {
  const uint32_t top = (1u << e.config.b1) - 1;
  const uint32_t field = word_at(e.scales, block * e.config.b1) & top;
  const int64_t group = e.group.divide(block);
  float maximum;
  if (e.config.b2 == ScaleDtype::FP32) {
    maximum = reinterpret_cast<const float*>(e.groups)[group];
  } else {
    const uint16_t bits = reinterpret_cast<const uint16_t*>(e.groups)[group];
    maximum = e.config.b2 == ScaleDtype::BF16 ? __bfloat162float(__ushort_as_bfloat16(bits))
                                              : __half2float(__ushort_as_half(bits));
  }
  return decoded_scale(e.offset, static_cast<float>(field), maximum, static_cast<float>(top));
}

// Eight weights a thread, for dense matrices whose rows and blocks are of whole eights.
template <int Bits, int PlaneCount>
__global__ void __launch_bounds__(kThreads) expand_eights_kernel(const Expansion e, int64_t eights) {
  __shared__ float levels[1 << Bits];
  for (int i = threadIdx.x; i < 1 << Bits; i += kThreads) levels[i] = e.levels[i];
  __syncthreads();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= eights) return;
  uint64_t codes;
  if constexpr (Bits == 2) {
    codes = reinterpret_cast<const uint16_t*>(e.codes)[i];
  } else if constexpr (Bits == 3) {
    codes = word_at(reinterpret_cast<const uint32_t*>(e.codes), i * 24);
  } else if constexpr (Bits == 4) {
    codes = reinterpret_cast<const uint32_t*>(e.codes)[i];
  } else {
    codes = reinterpret_cast<const uint64_t*>(e.codes)[i];
  }
  const float scale = scale_of_block(e, e.block.divide(i * 8));
  uint32_t high[4], low[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const float x = __fmul_rn(scale, levels[codes >> (2 * k * Bits) & ((1u << Bits) - 1)]);
    const float y = __fmul_rn(scale, levels[codes >> ((2 * k + 1) * Bits) & ((1u << Bits) - 1)]);
    high[k] = pack(x, y);
    if constexpr (PlaneCount == 2) low[k] = pack(rest(x), rest(y));
  }
  *reinterpret_cast<uint4*>(e.out + i * 8) = {high[0], high[1], high[2], high[3]};
  if constexpr (PlaneCount == 2) {
    *reinterpret_cast<uint4*>(e.out + e.plane + i * 8) = {low[0], low[1], low[2], low[3]};
  }
}

// One weight a thread, any matrix; padding becomes zero.
template <int PlaneCount>
__global__ void __launch_bounds__(kThreads) expand_kernel(const Expansion e) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= e.padded_rows * e.padded_cols) return;
  const Placement& p = e.placement;
  const int64_t row = i / e.padded_cols, col = i % e.padded_cols;
  float x = 0.0f;
  if (row % p.row_pitch < p.row_segment && col % p.col_pitch < p.col_segment) {
    const int64_t at = (row / p.row_pitch * p.row_segment + row % p.row_pitch) * p.cols +
                       col / p.col_pitch * p.col_segment + col % p.col_pitch;
    const uint32_t code =
        word_at(reinterpret_cast<const uint32_t*>(e.codes), at * e.config.b0) & ((1u << e.config.b0) - 1);
    x = __fmul_rn(scale_of_block(e, e.block.divide(at)), e.levels[code]);
  }
  store_planes<PlaneCount>(e.out + i, e.plane, x);
}

// A dense fp32 matrix into zeroed planes.
template <int PlaneCount>
__global__ void __launch_bounds__(kThreads)
    place_kernel(const float* source, const Placement p, int64_t stride, Bf16* out, int64_t plane) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= p.rows * p.cols) return;
  const int64_t row = i / p.cols, col = i % p.cols;
  const int64_t at = (row / p.row_segment * p.row_pitch + row % p.row_segment) * stride +
                     col / p.col_segment * p.col_pitch + col % p.col_segment;
  store_planes<PlaneCount>(out + at, plane, source[i]);
}

DeviceBuffer<uint16_t> upload_factor(const Stream& stream, const float* factor, const Placement& p, int planes) {
  DeviceBuffer<float> dense(stream, p.rows * p.cols);
  dense.upload(factor, dense.size());
  const int64_t plane = p.padded_rows() * p.padded_cols();
  DeviceBuffer<uint16_t> out(stream, plane * planes);
  out.clear();
  const auto kernel = planes == 2 ? place_kernel<2> : place_kernel<1>;
  kernel<<<blocks_for(dense.size()), kThreads, 0, stream.get()>>>(dense.get(), p, p.padded_cols(),
                                                                  reinterpret_cast<Bf16*>(out.get()), plane);
  check_launch("storing a factor");
  return out;
}

// Bytes in whole words with one more, which kernels read but do not use.
DeviceBuffer<uint32_t> upload_words(const Stream& stream, const uint8_t* bytes, int64_t count) {
  DeviceBuffer<uint32_t> out(stream, ceil_div(count, 4) + 1);
  out.clear();
  check(cudaMemcpyAsync(out.get(), bytes, static_cast<size_t>(count), cudaMemcpyHostToDevice, stream.get()),
        "copying to the device");
  return out;
}

template <typename T>
T* grown(const Stream& stream, DeviceBuffer<T>* buffer, int64_t size) {
  if (buffer->size() < size) {
    *buffer = {};
    *buffer = DeviceBuffer<T>(stream, size);
  }
  return buffer->get();
}

}  // namespace

PackedMatrix::PackedMatrix(const Stream& stream, const QuantizedView& q, const float* l1, const float* l2, int32_t rank,
                           const Placement& placement, int planes)
    : stream_(stream),
      placement_(placement),
      padded_rows_(placement.padded_rows()),
      padded_cols_(placement.padded_cols()),
      planes_(planes) {
  check_config(q.config, q.book);
  if (q.count != placement.rows * placement.cols) {
    fail(StatusCode::invalid_argument, "the packed tensor has another size");
  }
  if (rank < 0 || (rank > 0 && (l1 == nullptr || l2 == nullptr))) {
    fail(StatusCode::invalid_argument, "rank %d without factors", rank);
  }
  // fp32 of the levels as the book has them: dequantising must not depend on where it is done.
  const DeviceBook book = make_device_book(*q.book);
  levels_ = DeviceBuffer<float>(stream, book.levels_count);
  levels_.upload(book.levels, levels_.size());
  const int64_t bytes = code_bytes(q.config, q.count);
  codes_ = DeviceBuffer<uint8_t>(stream, round_up(bytes, 8) + 8);
  codes_.clear();
  codes_.upload(q.codes, bytes);
  scales_ = upload_words(stream, q.scales, scale_bytes(q.config, q.count));
  groups_ = upload_words(stream, q.groups, group_bytes(q.config, q.count));
  const int64_t padded_rank = round_up(rank, kRankStep);
  if (rank > 0) {
    l1_ = upload_factor(stream, l1,
                        {placement.rows, rank, placement.row_segment, placement.row_pitch, rank, padded_rank}, planes);
    l2_ = upload_factor(stream, l2,
                        {rank, placement.cols, rank, padded_rank, placement.col_segment, placement.col_pitch}, planes);
  }
  const bool dense = padded_rows_ == placement.rows && padded_cols_ == placement.cols;
  fused_ = dense && planes == 1 && fused_product_takes(q.config, placement.rows, placement.cols);
  parts_.codes = codes_.get();
  parts_.scales = scales_.get();
  parts_.groups = groups_.get();
  parts_.config = q.config;
  parts_.offset = q.offset;
  std::copy_n(book.levels, std::min(book.levels_count, 16), parts_.levels);
  parts_.rows = placement.rows;
  parts_.cols = placement.cols;
  parts_.l1 = l1_.get();
  parts_.l2 = l2_.get();
  parts_.rank = padded_rank;
  stream.synchronize();  // the host's arrays may go before the copies would
}

int64_t PackedMatrix::bytes() const {
  return codes_.bytes() + scales_.bytes() + groups_.bytes() + levels_.bytes() + l1_.bytes() + l2_.bytes();
}

void PackedMatrix::reserve(PackedWorkspace* workspace) const {
  grown(stream_, &workspace->expanded, padded_rows_ * padded_cols_ * planes_);
}

void PackedMatrix::expand(uint16_t* out) const {
  const int64_t plane = padded_rows_ * padded_cols_;
  const Expansion e{codes_.get(),
                    scales_.get(),
                    groups_.get(),
                    levels_.get(),
                    parts_.config,
                    Divisor(parts_.config.block),
                    Divisor(parts_.config.group),
                    parts_.offset,
                    placement_,
                    padded_rows_,
                    padded_cols_,
                    reinterpret_cast<Bf16*>(out),
                    plane};
  const auto launch = [&](auto one_plane, auto two_planes, int64_t threads, auto... more) {
    const auto kernel = planes_ == 2 ? two_planes : one_plane;
    kernel<<<blocks_for(threads), kThreads, 0, stream_.get()>>>(e, more...);
    check_launch("expanding packed weights");
  };
  const bool dense = padded_rows_ == placement_.rows && padded_cols_ == placement_.cols;
  if (!dense || parts_.config.block % 8 != 0) return launch(expand_kernel<1>, expand_kernel<2>, plane);
  const int64_t eights = plane / 8;
  switch (parts_.config.b0) {
    case 2:
      return launch(expand_eights_kernel<2, 1>, expand_eights_kernel<2, 2>, eights, eights);
    case 3:
      return launch(expand_eights_kernel<3, 1>, expand_eights_kernel<3, 2>, eights, eights);
    case 4:
      return launch(expand_eights_kernel<4, 1>, expand_eights_kernel<4, 2>, eights, eights);
    default:
      return launch(expand_eights_kernel<8, 1>, expand_eights_kernel<8, 2>, eights, eights);
  }
}

void PackedMatrix::times_transposed(const Products& products, const Operand& x, int64_t tokens, const Target& out,
                                    PackedWorkspace* workspace) const {
  if (fused_ && x.planes == 1 && tokens <= kMostFusedTokens) {
    return fused_product(stream_, parts_, x, tokens, out, &workspace->fused);
  }
  Target to = out;
  if (parts_.rank > 0) {
    // The low-rank part goes first: it is the smaller one, so that what a bf16 target rounds in between is little.
    const int64_t rank = parts_.rank, count = tokens * rank;
    const Planes t{grown(stream_, &workspace->projected_planes, count * planes_), count, planes_};
    const Operand l1{l1_.get(), rank, padded_rows_ * rank, planes_};
    const Operand l2{l2_.get(), padded_cols_, rank * padded_cols_, planes_};
    if (planes_ == 1) {
      products.times_transposed(x, l2, tokens, rank, padded_cols_, {t.data, rank, true, false});
    } else {
      float* sums = grown(stream_, &workspace->projected, count);
      products.times_transposed(x, l2, tokens, rank, padded_cols_, {sums, rank, false, false});
      split(stream_, sums, count, 1.0f, t);
    }
    products.times_transposed(t.operand(rank), l1, tokens, padded_rows_, rank, to);
    to.accumulate = true;
  }
  reserve(workspace);
  expand(workspace->expanded.get());
  products.times_transposed(x, {workspace->expanded.get(), padded_cols_, padded_rows_ * padded_cols_, planes_}, tokens,
                            padded_rows_, padded_cols_, to);
}

}  // namespace lq::cuda
