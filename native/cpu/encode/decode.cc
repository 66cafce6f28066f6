// The weight from its parts, operation by operation as lq/encode.h orders them.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "convert.h"
#include "encode/encode.h"
#include "encode/exl3.h"
#include "encode/fields.h"
#include "encode/option.h"
#include "encode/row_decoder.h"
#include "encode/trellis_values.h"
#include "gguf/blocks.h"
#include "quantizer.h"
#include "status.h"
#include "threads.h"

namespace lq::cpu {
namespace {

const uint8_t* part(const EncodedView& e, EncodedPart p) { return e.parts[static_cast<size_t>(p)]; }

Status check_view(const EncodedView& e) {
  Status status = check_option(e.option);
  if (!failed(status)) status = check_shape(e.option, e.rows, e.cols);
  if (failed(status)) return status;
  if (e.rows < 1 || e.cols < 1) return error(StatusCode::invalid_argument, -1, "the matrix is empty");
  for (int32_t i = 0; i < kPartCount; ++i) {
    if (e.parts[i] == nullptr && part_bytes(e.option, e.rows, e.cols, static_cast<EncodedPart>(i)) > 0) {
      return error(StatusCode::invalid_argument, -1, "the encoded matrix has no %s", kPartNames[i]);
    }
  }
  return ok();
}

// A stretch of bits of a tile's stream, positions below 0 being its start or, tail-biting, its end.
class Stream {
 public:
  Stream(const EncodedView& e, int64_t i, int64_t j, int64_t weights)
      : codes_(part(e, EncodedPart::codes) + tile_offset(e.option, e.rows, e.cols, i, j) / 8),
        bits_(tile_bits(e.option, weights)),
        states_(e.option.states) {
    if (e.option.tail_biting) return;
    const int32_t width = static_cast<int32_t>(start_bits(e.option));
    start_ = static_cast<int64_t>(load_field(part(e, EncodedPart::starts), i * tiles_along(e.cols) + j, width));
    start_width_ = width;
  }

  uint32_t state(int64_t end) const {
    uint32_t state = 0;
    for (int64_t i = 0; i < states_; ++i) {
      int64_t at = end - states_ + i;
      uint32_t bit;
      if (at < 0 && start_width_ > 0) {
        bit = static_cast<uint32_t>(start_ >> (start_width_ + at)) & 1u;
      } else {
        at = (at % bits_ + bits_) % bits_;
        bit = codes_[at / 8] >> (at % 8) & 1u;
      }
      state |= bit << i;
    }
    return state;
  }

 private:
  const uint8_t* codes_;
  int64_t bits_, states_, start_ = 0, start_width_ = 0;
};

// Values of rows [begin, end), a whole number of rows of tiles, in units of the row scales.
void decode_trellis(const EncodedView& e, const std::vector<float>* values, int64_t begin, int64_t end, float* out) {
  const EncodeOption& o = e.option;
  const uint32_t mask = (1u << o.states) - 1;
  for (int64_t i = begin / kTileSide; i * kTileSide < end; ++i) {
    const int64_t height = tile_extent(e.rows, i);
    for (int64_t j = 0; j < tiles_along(e.cols); ++j) {
      const int64_t width = tile_extent(e.cols, j);
      const Stream stream(e, i, j, height * width);
      const uint8_t* codes = part(e, EncodedPart::codes) + tile_offset(o, e.rows, e.cols, i, j) / 8;
      uint32_t state = 0;
      for (int64_t t = 0; t < height * width; ++t) {
        const int64_t stop = trellis_end(o, t);
        const int32_t bits = step_bits(o, t);
        if (stop < o.states || t == 0) {
          state = stream.state(stop);
        } else {
          uint32_t newest = 0;
          for (int32_t i = 0; i < bits; ++i) {
            const int64_t at = stop - bits + i;
            newest |= static_cast<uint32_t>(codes[at / 8] >> (at % 8) & 1) << i;
          }
          state = (state >> bits | newest << (o.states - bits)) & mask;
        }
        out[(i * kTileSide - begin + t / width) * e.cols + j * kTileSide + t % width] =
            values[bits == step_bits(o, 0) ? 0 : 1][state];
      }
    }
  }
}

// Rows of a block of outputs.
void decode_exl3(const EncodedView& e, const std::vector<float>& values, const Rotation& inputs, int64_t row,
                 float* out) {
  const int32_t bits = e.option.bits;
  uint16_t states[kExl3Tile];
  for (int64_t i = 0; i < kTwoSidedBlock; i += kTileSide) {
    for (int64_t j = 0; j < e.cols; j += kTileSide) {
      exl3_states(part(e, EncodedPart::codes) + exl3_tile_offset(bits, e.rows, (row + i) / kTileSide, j / kTileSide),
                  bits, states);
      for (int64_t t = 0; t < kExl3Tile; ++t) {
        out[(i + exl3_row(t)) * e.cols + j + exl3_column(t)] = values[states[t]];
      }
    }
  }
  for (int64_t i = 0; i < kTwoSidedBlock; ++i) inputs.inverse(out + i * e.cols);
  hadamard_down(out, e.cols);
  const float c = static_cast<float>(1.0 / std::sqrt(static_cast<double>(kTwoSidedBlock)));
  for (int64_t i = 0; i < kTwoSidedBlock; ++i) {
    const float scale = load_f16(part(e, EncodedPart::row_scales), row + i);
    for (int64_t j = 0; j < e.cols; ++j) out[i * e.cols + j] = out[i * e.cols + j] * c * scale;
  }
}

// What takes rows of values to rows of the weight.
Rotation rotation_of(const EncodedView& e) {
  if (e.option.grid != GridKind::exl3) return {e.cols, e.seed};
  std::vector<float> scales;
  for (int64_t j = 0; j < e.cols; ++j) scales.push_back(load_f16(part(e, EncodedPart::input_scales), j));
  return {std::move(scales), kTwoSidedBlock};
}

}  // namespace

RowDecoder::RowDecoder(const EncodedView& e, const float* l1, const float* l2)
    : e_(e), l1_(l1), l2_(l2), rotation_(rotation_of(e)) {
  const EncodeOption& o = e.option;
  for (int32_t which = 0; which < (o.grid == GridKind::trellis ? o.step : 0); ++which) {
    values_[which] = trellis_values(o.states, step_bits(o, which));
  }
  if (o.grid == GridKind::exl3) values_[0] = exl3_values(o.exl3_code);
  if (o.grid == GridKind::gguf || o.grid == GridKind::zero || o.grid == GridKind::exl3) return;
  if (o.grid != GridKind::trellis) grid_ = stored_grid(e);
  if (o.scales == ScaleKind::two_level) decode_scales(two_level_view(e), block_scales_);
  if (o.scales == ScaleKind::searched) {
    group_scales_.resize(static_cast<size_t>(e.rows * groups_a_row(o, e.cols)));
    load_groups(part(e, EncodedPart::group_scales), o.scale_type, group_scales_);
  }
  if (o.scales == ScaleKind::group || o.scales == ScaleKind::row)
    std::memcpy(&multiplier_, part(e, EncodedPart::multiplier), 4);
}

Status RowDecoder::check(const EncodedView& e, const float* l1, const float* l2) {
  const Status status = check_view(e);
  if (failed(status)) return status;
  if (e.option.rank > 0 && (l1 == nullptr || l2 == nullptr)) {
    return error(StatusCode::invalid_argument, -1, "an encoded matrix of rank %d has no factors", e.option.rank);
  }
  return ok();
}

int64_t RowDecoder::step() const {
  if (e_.option.grid == GridKind::exl3) return kTwoSidedBlock;
  return e_.option.grid == GridKind::gguf && e_.cols % e_.option.block_weights != 0 ? e_.rows : kTileSide;
}

void RowDecoder::rows(int64_t begin, int64_t end, float* out) const {
  const EncodeOption& o = e_.option;
  const int64_t cols = e_.cols, groups = groups_a_row(o, cols);
  if (o.grid == GridKind::gguf) {
    const gguf::BlockFormat& format = gguf::format_of(static_cast<gguf::BlockType>(o.block_type));
    const uint8_t* codes = part(e_, EncodedPart::codes) + begin * cols / format.weights * format.bytes;
    return gguf::decode(format, codes, (end - begin) * cols / format.weights, out);
  }
  if (o.grid == GridKind::exl3) {
    for (int64_t i = begin; i < end; i += kTwoSidedBlock) {
      decode_exl3(e_, values_[0], rotation_, i, out + (i - begin) * cols);
    }
    return;
  }
  if (o.grid == GridKind::zero) {
    std::fill_n(out, (end - begin) * cols, 0.0f);
  } else if (o.grid == GridKind::trellis) {
    decode_trellis(e_, values_, begin, end, out);
  } else {
    decode_grid(e_, grid_, begin, end, out);
  }
  for (int64_t i = begin; i < end; ++i) {
    float* w = out + (i - begin) * cols;
    for (int64_t j = 0; j < cols; ++j) {
      switch (o.scales) {
        case ScaleKind::two_level:
          w[j] *= block_scales_[static_cast<size_t>((i * cols + j) / o.config.block)];
          break;
        case ScaleKind::group:
          w[j] *= load_f16(part(e_, EncodedPart::group_scales), i * groups + j / o.group);
          break;
        case ScaleKind::row:
          w[j] *= load_f16(part(e_, EncodedPart::row_scales), i);
          break;
        case ScaleKind::searched:
          w[j] *= group_scales_[static_cast<size_t>(i * groups + j / o.group)];
          break;
        case ScaleKind::block:
          break;
      }
    }
    if (o.transform == Transform::hadamard) rotation_.inverse(w);
    if (o.transform == Transform::scaled) {
      for (int64_t j = 0; j < cols; ++j) w[j] /= load_f16(part(e_, EncodedPart::input_scales), j);
    }
    for (int64_t j = 0; j < cols && multiplier_ != 1; ++j) w[j] *= multiplier_;
    for (int64_t k = 0; k < o.rank; ++k) {
      const float left = l1_[i * o.rank + k];
      for (int64_t j = 0; j < cols; ++j) w[j] += left * l2_[k * cols + j];
    }
  }
}

Status decode(const EncodedView& e, const float* l1, const float* l2, float* out, const Control& control) {
  const Status status = RowDecoder::check(e, l1, l2);
  if (failed(status)) return status;
  const RowDecoder decoder(e, l1, l2);
  std::atomic<bool> stopped = false;
  parallel_for(0, e.rows, decoder.step(), [&](int64_t begin, int64_t end) {
    if (stopped || is_cancelled(control)) {
      stopped = true;
      return;
    }
    decoder.rows(begin, end, out + begin * e.cols);
  });
  return stopped ? cancelled() : ok();
}

}  // namespace lq::cpu
