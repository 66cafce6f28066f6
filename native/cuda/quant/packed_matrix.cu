#include <algorithm>

#include "lm/mma.cuh"
#include "lm/residual.h"
#include "quant/packed_matrix.h"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kRankStep = 32;
// Beyond, expanding W once costs less than its codes for every tile of tokens: on an H100, 4096 x 4096, NF of 3 bits,
// 64 tokens take 34 us fused; 128 take 54 us, and 256 by way of expansion 41 us.
constexpr int64_t kMostCodeTokens = 64;

unsigned blocks_for(int64_t count) { return static_cast<unsigned>(ceil_div(count, kThreads)); }

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

bool is_two_level(const EncodeOption& o) {
  return o.grid == GridKind::nf && o.scales == ScaleKind::two_level && o.transform == Transform::none;
}

struct Factors {
  const Bf16 *l1, *l2;  // planes of [padded_rows, rank] and [rank, padded_cols]
  int64_t rank;
};

// Q + L1 L2 where it lies in products, zero between; one element a thread.
template <int PlaneCount>
__global__ void __launch_bounds__(kThreads)
    expand_kernel(const float* q, const Placement p, const int32_t* order, int64_t padded_rows, int64_t padded_cols,
                  const Factors f, Bf16* out, int64_t plane) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= padded_rows * padded_cols) return;
  const int64_t row = i / padded_cols, col = i % padded_cols;
  const int64_t source = order != nullptr                    ? order[row]
                         : row % p.row_pitch < p.row_segment ? row / p.row_pitch * p.row_segment + row % p.row_pitch
                                                             : -1;
  float x = 0.0f;
  if (source >= 0 && col % p.col_pitch < p.col_segment) {
    x = q[source * p.cols + col / p.col_pitch * p.col_segment + col % p.col_pitch];
    for (int64_t k = 0; k < f.rank; ++k) {
      x = fmaf(load_planes<PlaneCount>(f.l1 + row * f.rank + k, padded_rows * f.rank),
               load_planes<PlaneCount>(f.l2 + k * padded_cols + col, f.rank * padded_cols), x);
    }
  }
  store_planes<PlaneCount>(out + i, plane, x);
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

}  // namespace

PackedMatrix::PackedMatrix(const Stream& stream, const EncodedView& w, const float* l1, const float* l2,
                           const Placement& placement, const std::vector<int32_t>& order, int planes,
                           PackedWorkspace* workspace)
    : stream_(stream),
      placement_(placement),
      order_(stream, static_cast<int64_t>(order.size())),
      padded_rows_(order.empty() ? placement.padded_rows() : static_cast<int64_t>(order.size())),
      padded_cols_(placement.padded_cols()),
      planes_(planes),
      parts_(stream, w, &workspace->tables),
      rank_(round_up(w.option.rank, kRankStep)) {
  const Placement& p = placement;
  if (w.rows != p.rows || w.cols != p.cols) fail(StatusCode::invalid_argument, "the packed matrix has another shape");
  const int32_t rank = w.option.rank;
  if (rank > 0) {
    if (l1 == nullptr || l2 == nullptr) fail(StatusCode::invalid_argument, "rank %d without factors", rank);
    std::vector<float> ordered(order.size() * static_cast<size_t>(rank), 0.0f);
    for (size_t i = 0; i < order.size(); ++i) {
      if (order[i] >= 0)
        std::copy_n(l1 + int64_t{order[i]} * rank, rank, ordered.data() + static_cast<int64_t>(i) * rank);
    }
    l1_ = order.empty() ? upload_factor(stream, l1, {p.rows, rank, p.row_segment, p.row_pitch, rank, rank_}, planes)
                        : upload_factor(stream, ordered.data(),
                                        {padded_rows_, rank, padded_rows_, padded_rows_, rank, rank_}, planes);
    l2_ = upload_factor(stream, l2, {rank, p.cols, rank, rank_, p.col_segment, p.col_pitch}, planes);
    stream.synchronize();  // the host's arrays may go before the copies would
  }
  order_.upload(order.data(), order_.size());
  stream.synchronize();
  if (planes != 1 || order_.size() > 0 || padded_rows_ != p.rows || padded_cols_ != p.cols) return;
  if (is_two_level(w.option)) {
    const TwoLevelCodes codes = parts_.two_level();
    if (!fused_product_takes(codes.config, p.rows, p.cols)) return;
    PackedParts& fused = fused_.emplace();
    fused.codes = codes.codes;
    fused.scales = codes.scales;
    fused.groups = codes.groups;
    fused.config = codes.config;
    fused.offset = codes.offset;
    // fp32 of the levels as the book has them: decoding must not depend on where it is done.
    std::copy_n(w.option.book->levels, 1 << codes.config.b0, fused.levels);
    fused.rows = p.rows;
    fused.cols = p.cols;
    fused.l1 = l1_.get();
    fused.l2 = l2_.get();
    fused.rank = rank_;
  } else if (TrellisProduct::takes(parts_)) {
    trellis_ = std::make_unique<TrellisProduct>(stream, parts_);
  }
}

int64_t PackedMatrix::bytes() const {
  return parts_.bytes() + l1_.bytes() + l2_.bytes() + (trellis_ ? trellis_->bytes() : 0);
}

void PackedMatrix::reserve(PackedWorkspace* workspace) const {
  if (!is_two_level(parts_.option()) || order_.size() > 0)
    grown(stream_, &workspace->dense, placement_.rows * placement_.cols);
  grown(stream_, &workspace->expanded, padded_rows_ * padded_cols_ * planes_);
}

void PackedMatrix::expand(uint16_t* out, int64_t plane, PackedWorkspace* workspace) const {
  float* q = grown(stream_, &workspace->dense, placement_.rows * placement_.cols);
  parts_.decode(q);
  const Factors factors{reinterpret_cast<const Bf16*>(l1_.get()), reinterpret_cast<const Bf16*>(l2_.get()), rank_};
  const auto kernel = planes_ == 2 ? expand_kernel<2> : expand_kernel<1>;
  kernel<<<blocks_for(padded_rows_ * padded_cols_), kThreads, 0, stream_.get()>>>(
      q, placement_, order_.get(), padded_rows_, padded_cols_, factors, reinterpret_cast<Bf16*>(out), plane);
  check_launch("expanding packed weights");
}

void PackedMatrix::times_factors(const Products& products, const Operand& x, int64_t tokens, const Target& out,
                                 PackedWorkspace* workspace) const {
  const int64_t count = tokens * rank_;
  const Planes t{grown(stream_, &workspace->projected_planes, count * planes_), count, planes_};
  const Operand l1{l1_.get(), rank_, padded_rows_ * rank_, planes_};
  const Operand l2{l2_.get(), padded_cols_, rank_ * padded_cols_, planes_};
  if (planes_ == 1) {
    products.times_transposed(x, l2, tokens, rank_, padded_cols_, {t.data, rank_, true, false});
  } else {
    float* sums = grown(stream_, &workspace->projected, count);
    products.times_transposed(x, l2, tokens, rank_, padded_cols_, {sums, rank_, false, false});
    split(stream_, sums, count, 1.0f, t);
  }
  products.times_transposed(t.operand(rank_), l1, tokens, padded_rows_, rank_, out);
}

void PackedMatrix::times_transposed(const Products& products, const Operand& x, int64_t tokens, const Target& out,
                                    PackedWorkspace* workspace) const {
  const bool two_level = is_two_level(parts_.option()) && order_.size() == 0;
  const bool by_codes = tokens <= kMostCodeTokens && (fused_ || trellis_);
  if (fused_ && by_codes) return fused_product(stream_, *fused_, x, tokens, out, &workspace->fused);
  const int64_t plane = padded_rows_ * padded_cols_;
  if (!two_level && !by_codes) {
    reserve(workspace);
    expand(workspace->expanded.get(), plane, workspace);
    return products.times_transposed(x, {workspace->expanded.get(), padded_cols_, plane, planes_}, tokens, padded_rows_,
                                     padded_cols_, out);
  }
  Target to = out;
  if (rank_ > 0) {
    // The low-rank part goes first: it is the smaller one, so that what a bf16 target rounds in between is little.
    times_factors(products, x, tokens, to, workspace);
    to.accumulate = true;
  }
  if (by_codes) return trellis_->multiply(x, tokens, to, &workspace->trellis);
  reserve(workspace);
  expand_two_level(stream_, parts_.two_level(), placement_, planes_, workspace->expanded.get());
  products.times_transposed(x, {workspace->expanded.get(), padded_cols_, plane, planes_}, tokens, padded_rows_,
                            padded_cols_, to);
}

}  // namespace lq::cuda
