#include <cstring>
#include <vector>

#include "encode/fields.h"
#include "encode/levels.h"
#include "quant/book.h"
#include "quant/encoded_parts.h"
#include "quant/fields.cuh"
#include "quant/scales.cuh"

namespace lq::cuda {
namespace {

constexpr int kThreads = 256;

unsigned blocks_for(int64_t count) { return static_cast<unsigned>(ceil_div(count, kThreads)); }

// What kernels read of an encoded matrix; every array has a word beyond the last it uses.
struct Encoding {
  GridKind grid;
  ScaleKind scale_kind;
  ScaleDtype scale_type;  // of group_scales
  QuantConfig config;
  int bits, step, states;
  bool symmetric;
  int group;  // columns; 0: a row is one
  int64_t rows, cols, groups_a_row, start_words;
  float offset;
  const uint32_t *codes, *scales, *groups, *group_scales, *group_zeros, *starts;
  const float* levels;  // of codes, or of states for one kind of steps after the other
};

__device__ inline float stored_scale(const uint32_t* scales, int64_t i, ScaleDtype type) {
  if (type == ScaleDtype::FP32) return reinterpret_cast<const float*>(scales)[i];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(scales)[i];
  return type == ScaleDtype::BF16 ? __bfloat162float(__ushort_as_bfloat16(bits)) : __half2float(__ushort_as_half(bits));
}

__device__ inline int64_t group_of(const Encoding& e, int64_t row, int64_t col) {
  return row * e.groups_a_row + (e.group > 0 ? col / e.group : 0);
}

__device__ inline float scaled(const Encoding& e, float value, int64_t row, int64_t col) {
  if (e.scale_kind != ScaleKind::two_level) {
    return __fmul_rn(value, stored_scale(e.group_scales, group_of(e, row, col), e.scale_type));
  }
  const uint32_t top = (1u << e.config.b1) - 1;
  const int64_t block = (row * e.cols + col) / e.config.block;
  const uint32_t field = word_at(e.scales, block * e.config.b1) & top;
  const float maximum = stored_scale(e.groups, block / e.config.group, e.config.b2);
  return __fmul_rn(value, decoded_scale(e.offset, static_cast<float>(field), maximum, static_cast<float>(top)));
}

// One weight a thread.
__global__ void __launch_bounds__(kThreads) decode_grid_kernel(const Encoding e, float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= e.rows * e.cols) return;
  const int64_t row = i / e.cols, col = i % e.cols;
  const uint32_t mask = (1u << e.bits) - 1, code = word_at(e.codes, i * e.bits) & mask;
  float value;
  if (e.grid == GridKind::integer) {
    const uint32_t zero =
        e.symmetric ? 1u << (e.bits - 1) : word_at(e.group_zeros, group_of(e, row, col) * e.bits) & mask;
    value = static_cast<float>(static_cast<int>(code) - static_cast<int>(zero));
  } else {
    value = e.levels[code];
  }
  out[i] = scaled(e, value, row, col);
}

// The state after `end` bits of a tile's stream that starts at bit `first` of the codes.
__device__ inline uint32_t state_after(const Encoding& e, int64_t first, int64_t tile_word, int tile_half, int end) {
  if (end >= e.states) return word_at(e.codes, first + end - e.states) & ((1u << e.states) - 1);
  const int before = e.states - end;  // bits before the stream's first
  const uint32_t start = e.starts[tile_word] >> (16 * tile_half) & 0xffffu;
  return start >> (16 - before) | (word_at(e.codes, first) & ((1u << end) - 1)) << before;
}

// One tile a block, one weight a thread.
__global__ void __launch_bounds__(kTileSide* kTileSide) decode_trellis_kernel(const Encoding e, float* out) {
  const int64_t i = blockIdx.y, j = blockIdx.x;
  const int64_t height = min(kTileSide, e.rows - i * kTileSide), width = min(kTileSide, e.cols - j * kTileSide);
  const int64_t t = threadIdx.x;
  if (t >= height * width) return;
  const auto bits_of = [&](int64_t weights) { return weights * e.bits / e.step; };
  const int64_t full = e.cols / kTileSide, short_width = e.cols % kTileSide;
  const int64_t first =
      i * (full * bits_of(kTileSide * kTileSide) + bits_of(kTileSide * short_width)) + j * bits_of(height * kTileSide);
  const uint32_t state =
      state_after(e, first, i * e.start_words + j / 2, static_cast<int>(j % 2), static_cast<int>(bits_of(t + 1)));
  const int64_t row = i * kTileSide + t / width, col = j * kTileSide + t % width;
  out[row * e.cols + col] = scaled(e, e.levels[(t % e.step << e.states) + state], row, col);
}

__global__ void __launch_bounds__(kThreads)
    finish_kernel(const uint16_t* input_scales, float multiplier, int64_t count, int64_t cols, float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  float x = out[i];
  if (input_scales != nullptr) x = __fdiv_rn(x, __half2float(__ushort_as_half(input_scales[i % cols])));
  out[i] = __fmul_rn(x, multiplier);
}

__global__ void __launch_bounds__(kThreads)
    add_low_rank_kernel(const float* l1, const float* l2, int64_t count, int64_t cols, int32_t rank, float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const float* left = l1 + i / cols * rank;
  float x = out[i];
  for (int32_t k = 0; k < rank; ++k) x = __fadd_rn(x, __fmul_rn(left[k], l2[k * cols + i % cols]));
  out[i] = x;
}

const uint8_t* part(const EncodedView& e, EncodedPart p) { return e.parts[static_cast<size_t>(p)]; }

void check_encoding(const EncodedView& e) {
  const EncodeOption& o = e.option;
  if (e.rows < 1 || e.cols < 1) fail(StatusCode::invalid_argument, "the matrix is empty");
  if (o.grid == GridKind::gguf || o.grid == GridKind::exl3 ||
      (o.scales == ScaleKind::block) != (o.grid == GridKind::zero)) {
    fail(StatusCode::unsupported, "block types of GGUF and codes of EXL3 are put together by the device cpu");
  }
  if (o.rank < 0) fail(StatusCode::invalid_argument, "negative rank");
  const bool trellis = o.grid == GridKind::trellis, codes = o.grid != GridKind::zero;
  if (trellis && (o.step < 1 || o.step > 2 || o.states < 10 || o.states > 16 || o.bits < o.step ||
                  o.bits / o.step >= o.states || o.scales != ScaleKind::row)) {
    fail(StatusCode::invalid_argument, "a trellis code of %d bits every %d weights with states of %d bits", o.bits,
         o.step, o.states);
  }
  if (codes && !trellis && (o.bits < 2 || o.bits > 8)) {
    fail(StatusCode::invalid_argument, "no grid has codes of %d bits", o.bits);
  }
  if (o.grid == GridKind::nf && (o.book == nullptr || o.book->bits != o.bits)) {
    fail(StatusCode::invalid_argument, "the matrix has no book of its codes");
  }
  if (o.scales == ScaleKind::two_level) {
    CodeBook any{};
    any.bits = 8;
    check_config({8, o.config.b1, o.config.b2, o.config.block, o.config.group}, &any);
  }
  if (has_groups(o) && o.group < 1) fail(StatusCode::invalid_argument, "a group of %d columns", o.group);
  for (int32_t i = 0; i < kPartCount; ++i) {
    if (e.parts[i] == nullptr && part_bytes(o, e.rows, e.cols, static_cast<EncodedPart>(i)) > 0) {
      fail(StatusCode::invalid_argument, "the encoded matrix has no %s", kPartNames[i]);
    }
  }
}

// The levels of a scalar grid, by code; none of integers.
std::vector<float> levels_of_codes(const EncodedView& e) {
  const EncodeOption& o = e.option;
  std::vector<float> levels(size_t{1} << o.bits);
  if (o.grid == GridKind::integer) return {};
  if (o.grid == GridKind::fitted) {
    for (size_t i = 0; i < levels.size(); ++i) {
      uint32_t bits = 0;
      std::memcpy(reinterpret_cast<char*>(&bits) + 2, part(e, EncodedPart::book) + 2 * i, 2);
      std::memcpy(&levels[i], &bits, 4);
    }
    return levels;
  }
  const cpu::Levels known = cpu::levels_of(o);
  for (size_t i = 0; i < levels.size(); ++i) levels[known.codes[i]] = known.book.levels[i];
  return levels;
}

// What comes before each tile's stream: the bits of its start or, tail-biting, the last of the stream itself.
std::vector<uint32_t> starts_of_tiles(const EncodedView& e) {
  const EncodeOption& o = e.option;
  const int64_t down = tiles_along(e.rows), across = tiles_along(e.cols), words = start_words(e.cols);
  const auto width = static_cast<int32_t>(start_bits(o));
  std::vector<uint32_t> out(static_cast<size_t>(down * words));
  for (int64_t i = 0; i < down; ++i) {
    for (int64_t j = 0; j < across; ++j) {
      uint32_t start = 0;
      if (o.tail_biting) {
        const int64_t first = tile_offset(o, e.rows, e.cols, i, j);
        const int64_t size = tile_bits(o, tile_extent(e.rows, i) * tile_extent(e.cols, j));
        for (int32_t back = 1; back <= width; ++back) {
          const int64_t at = first + (size - back % size) % size;
          start |= cpu::load_field(part(e, EncodedPart::codes), at, 1) << (width - back);
        }
      } else {
        start = cpu::load_field(part(e, EncodedPart::starts), i * across + j, width);
      }
      out[static_cast<size_t>(i * words + j / 2)] |= start << (16 - width) << (j % 2 * 16);
    }
  }
  return out;
}

}  // namespace

EncodedParts::EncodedParts(const Stream& stream, const EncodedView& e, TrellisTables* tables)
    : stream_(stream), option_(e.option), rows_(e.rows), cols_(e.cols) {
  check_encoding(e);
  option_.book = nullptr;  // the caller's
  const EncodeOption& o = e.option;
  const auto upload = [&](EncodedPart which, DeviceBuffer<uint32_t>* to) {
    const int64_t bytes = part_bytes(o, rows_, cols_, which);
    if (bytes == 0) return;
    *to = DeviceBuffer<uint32_t>(stream, ceil_div(bytes, 4) + 1);
    to->clear();
    check(cudaMemcpyAsync(to->get(), part(e, which), static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream.get()),
          "copying to the device");
  };
  if (o.grid != GridKind::zero) upload(EncodedPart::codes, &codes_);
  upload(EncodedPart::scales, &scales_);
  upload(EncodedPart::groups, &groups_);
  upload(o.scales == ScaleKind::row ? EncodedPart::row_scales : EncodedPart::group_scales, &group_scales_);
  upload(EncodedPart::group_zeros, &group_zeros_);
  upload(EncodedPart::input_scales, &input_scales_);
  if (o.scales == ScaleKind::two_level) std::memcpy(&offset_, part(e, EncodedPart::offset), 4);
  if (o.scales == ScaleKind::group || o.scales == ScaleKind::row) {
    std::memcpy(&multiplier_, part(e, EncodedPart::multiplier), 4);
  }
  std::vector<float> levels;
  std::vector<uint32_t> starts;
  if (o.grid == GridKind::trellis) {
    table_ = tables->of(stream, o);
    starts = starts_of_tiles(e);
    starts_ = DeviceBuffer<uint32_t>(stream, static_cast<int64_t>(starts.size()));
    starts_.upload(starts.data(), starts_.size());
  } else if (o.grid != GridKind::zero) {
    levels = levels_of_codes(e);
    levels_ = DeviceBuffer<float>(stream, static_cast<int64_t>(levels.size()));
    levels_.upload(levels.data(), levels_.size());
  }
  if (o.transform == Transform::hadamard) rotation_ = std::make_unique<DeviceRotation>(stream, cols_, e.seed);
  stream.synchronize();  // the host's arrays may go before the copies would
}

int64_t EncodedParts::bytes() const {
  int64_t sum = levels_.bytes();
  for (const auto* buffer : {&codes_, &scales_, &groups_, &group_scales_, &group_zeros_, &starts_, &input_scales_}) {
    sum += buffer->bytes();
  }
  return sum;
}

void EncodedParts::decode(float* out) const {
  const EncodeOption& o = option_;
  const int64_t count = rows_ * cols_;
  if (o.grid == GridKind::zero) {
    check(cudaMemsetAsync(out, 0, static_cast<size_t>(count) * sizeof(float), stream_.get()), "clearing device memory");
    return;
  }
  Encoding e{};
  e.grid = o.grid;
  e.scale_kind = o.scales;
  e.scale_type = o.scales == ScaleKind::searched ? o.scale_type : ScaleDtype::FP16;
  e.config = o.config;
  e.bits = o.bits;
  e.step = o.step;
  e.states = o.states;
  e.symmetric = o.symmetric;
  e.group = has_groups(o) ? o.group : 0;
  e.rows = rows_;
  e.cols = cols_;
  e.groups_a_row = groups_a_row(o, cols_);
  e.start_words = start_words(cols_);
  e.offset = offset_;
  e.codes = codes_.get();
  e.scales = scales_.get();
  e.groups = groups_.get();
  e.group_scales = group_scales_.get();
  e.group_zeros = group_zeros_.get();
  e.starts = starts_.get();
  e.levels = table_ ? table_->values.get() : levels_.get();
  if (o.grid == GridKind::trellis) {
    const dim3 grid(static_cast<unsigned>(tiles_along(cols_)), static_cast<unsigned>(tiles_along(rows_)));
    decode_trellis_kernel<<<grid, kTileSide * kTileSide, 0, stream_.get()>>>(e, out);
  } else {
    decode_grid_kernel<<<blocks_for(count), kThreads, 0, stream_.get()>>>(e, out);
  }
  check_launch("decoding a matrix");
  if (rotation_) rotation_->inverse(stream_, out, rows_);
  if (o.transform != Transform::scaled && multiplier_ == 1.0f) return;
  finish_kernel<<<blocks_for(count), kThreads, 0, stream_.get()>>>(
      reinterpret_cast<const uint16_t*>(input_scales_.get()), multiplier_, count, cols_, out);
  check_launch("decoding a matrix");
}

void EncodedParts::add_low_rank(const Stream& stream, const float* l1, const float* l2, int64_t rows, int64_t cols,
                                int32_t rank, float* out) {
  add_low_rank_kernel<<<blocks_for(rows * cols), kThreads, 0, stream.get()>>>(l1, l2, rows * cols, cols, rank, out);
  check_launch("adding the low-rank part");
}

TwoLevelCodes EncodedParts::two_level() const {
  QuantConfig config = option_.config;
  config.b0 = option_.bits;
  return {codes(), scales_.get(), groups_.get(), levels_.get(), config, offset_};
}

}  // namespace lq::cuda
