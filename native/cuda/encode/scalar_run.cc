#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>

#include "encode/fields.h"
#include "encode/levels.h"
#include "encode/linear.h"
#include "encode/rows.h"
#include "encode/runs.h"
#include "encode/scalar.h"
#include "quant/pack.h"

namespace lq::cuda {
namespace {

class ScalarRun {
 public:
  ScalarRun(const Problem& problem, const EncodeOption& option, const EncodeTarget& target)
      : p_(problem),
        option_(option),
        space_(problem.space(option.transform)),
        target_(target.y),
        stream_(problem.stream),
        groups_(groups_a_row(option, problem.cols)),
        values_(stream_, count()),
        error_(stream_, count()),
        codes_(stream_, count()),
        matrix_{p_.rows, p_.cols, target_, values_.get(), error_.get(), codes_.get()} {
    const bool two_level = option.scales == ScaleKind::two_level;
    scales_ = DeviceBuffer<float>(stream_, two_level ? block_count(option.config, count()) : p_.rows * groups_);
    zeros_ = DeviceBuffer<uint8_t>(stream_, two_level ? 0 : p_.rows * groups_);
    feedback_ = option.rounding == Rounding::nearest ? nullptr : space_.by_column.get();
  }

  EncodeCost run() {
    const bool fitted = option_.grid == GridKind::fitted, two_level = option_.scales == ScaleKind::two_level;
    cpu::Levels levels = fitted ? cpu::levels_of(cpu::first_book(option_.bits)) : cpu::levels_of(option_);
    if (two_level) find_two_level(levels);
    if (fitted) {
      if (!two_level) find_unmoved(levels);
      levels = cpu::levels_of(fit(levels.book));
    }
    book_ = levels.book;
    const DeviceLevels device(stream_, levels);
    round(device);
    if (option_.rounding == Rounding::descent && space_.has_h) descend(device);
    return p_.measure(space_, error_.get());
  }
  const DeviceBuffer<float>& error() const { return error_; }

  // The parts of what run() found.
  void store(const EncodedView& out) {
    const auto part = [&](EncodedPart which) { return out.parts[static_cast<size_t>(which)]; };
    store_fields(codes_.get(), count(), option_.bits, part(EncodedPart::codes));
    if (option_.grid == GridKind::fitted) {
      for (int32_t i = 0; i < (1 << option_.bits); ++i) {
        const uint16_t bits = __bfloat16_as_ushort(__float2bfloat16_rn(book_.levels[i]));
        std::memcpy(part(EncodedPart::book) + 2 * i, &bits, 2);
      }
    }
    if (option_.scales == ScaleKind::two_level) {
      store_fields(scale_codes_.get(), scale_codes_.size(), option_.config.b1, part(EncodedPart::scales));
      store_group_maxima(stream_, maxima_.get(), maxima_.size(), option_.config.b2, part(EncodedPart::groups));
      uint32_t offset = 0;
      minimum_.download(&offset, 1);
      std::memcpy(part(EncodedPart::offset), &offset, 4);
      return;
    }
    if (option_.scales == ScaleKind::searched) {
      scale_by(stream_, scales_.get(), scales_.size(), p_.multiplier);
      store_group_maxima(stream_, scales_.get(), scales_.size(), option_.scale_type, part(EncodedPart::group_scales));
      return;
    }
    for (size_t j = 0; j < space_.column_scale.size(); ++j) {
      const uint16_t bits = __half_as_ushort(__float2half_rn(space_.column_scale[j]));
      std::memcpy(part(EncodedPart::input_scales) + 2 * j, &bits, 2);
    }
    std::vector<float> host(static_cast<size_t>(scales_.size()));
    scales_.download(host.data(), scales_.size());
    uint8_t* scales = part(option_.scales == ScaleKind::group ? EncodedPart::group_scales : EncodedPart::row_scales);
    for (size_t i = 0; i < host.size(); ++i) {
      const uint16_t bits = __half_as_ushort(__float2half_rn(host[i]));
      std::memcpy(scales + 2 * i, &bits, 2);
    }
    std::memcpy(part(EncodedPart::multiplier), &p_.multiplier, 4);
    if (part(EncodedPart::group_zeros) != nullptr) {
      store_fields(zeros_.get(), zeros_.size(), option_.bits, part(EncodedPart::group_zeros));
    }
  }

 private:
  int64_t count() const { return p_.rows * p_.cols; }

  void store_fields(const uint8_t* fields, int64_t n, int32_t bits, uint8_t* out) const {
    DeviceBuffer<uint8_t> packed(stream_, (n * bits + 7) / 8);
    pack_fields(stream_, fields, n, bits, packed.get());
    packed.download(out, packed.size());
  }

  ScaleTable table(float top) const {
    const bool asymmetric = option_.grid == GridKind::integer && !option_.symmetric;
    const int64_t group = option_.scales == ScaleKind::two_level ? option_.config.block
                          : has_groups(option_)                  ? option_.group
                                                                 : p_.cols;
    return {has_groups(option_) ? ScaleKind::group : option_.scales,
            scales_.get(),
            zeros_.get(),
            groups_,
            group,
            asymmetric,
            static_cast<float>((1 << option_.bits) - 1),
            top};
  }
  float top_of(const cpu::Levels& levels) const { return option_.grid == GridKind::fitted ? 1.0f : levels.top; }

  void find_two_level(const cpu::Levels& levels) {
    const QuantConfig& c = option_.config;
    scale_codes_ = DeviceBuffer<uint8_t>(stream_, block_count(c, count()));
    maxima_ = DeviceBuffer<float>(stream_, group_count(c, count()));
    minimum_ = DeviceBuffer<uint32_t>(stream_, 1);
    two_level_scales(stream_, matrix_, c, p_.multiplier, table(top_of(levels)), scale_codes_.get(), maxima_.get(),
                     minimum_.get());
  }

  // Scales of every group of the target as it is.
  void find_unmoved(const cpu::Levels& levels) {
    const int64_t step = option_.scales == ScaleKind::group ? option_.group : p_.cols;
    DeviceBuffer<float> wide(stream_, p_.rows * std::min(step, p_.cols));
    for (int64_t at = 0; at < p_.cols; at += step) {
      const int64_t width = std::min(step, p_.cols - at);
      p_.bring_columns(target_, at, width, nullptr, nullptr, wide.get(), width);
      find_scales(stream_, matrix_, table(top_of(levels)), at, width, wide.get(), false);
    }
  }

  CodeBook fit(const CodeBook& first) const {
    std::vector<float> host(p_.weights.begin(), p_.weights.end());
    DeviceBuffer<float> row_weight(stream_, p_.rows);
    row_weight.upload(host.data(), p_.rows);
    const FitWeights weights{space_.has_h ? space_.h.get() : nullptr, p_.cols + 1, space_.has_h ? nullptr : p_.fisher(),
                             row_weight.get()};
    CodeBook book = cpu::fit_levels(fit_histogram(stream_, matrix_, table(1.0f), weights), first);
    for (int32_t i = 0; i < (1 << book.bits); ++i) {
      book.levels[i] = __bfloat162float(__float2bfloat16_rn(book.levels[i]));
    }
    return book;
  }

  // Every column once, with feedback from those before it when the option has it.
  void round(const DeviceLevels& levels) {
    const ScaleTable scales = table(top_of(levels.host()));
    const bool grouped = has_groups(option_);
    if (option_.scales == ScaleKind::row) find_unmoved(levels.host());
    if (option_.scales == ScaleKind::searched) find_column_weights();
    const int64_t wide = grouped ? option_.group : kWide, ld = std::min(wide, p_.cols);
    DeviceBuffer<float> target(stream_, p_.rows * ld), moved(stream_, grouped ? p_.rows * ld : 0);
    for (int64_t at = 0; at < p_.cols; at += wide) {
      p_.watch.poll();
      const int64_t width = std::min(wide, p_.cols - at);
      p_.bring_columns(target_, at, width, error_.get(), feedback_, target.get(), width);
      if (grouped) find_moved(levels, scales, at, width, target.get(), moved.get());
      for (int64_t o = 0; o < width; o += kMostColumns) {
        const int64_t extent = std::min(kMostColumns, width - o);
        if (feedback_ != nullptr && o > 0) {
          encode_product(stream_, p_.rows, extent, o, error_.get() + at, p_.cols, feedback_ + at * p_.cols + at + o,
                         p_.cols, 1.0f, true, target.get() + o, width);
        }
        round_columns(stream_, matrix_, levels, scales, target.get(), width, at, o, extent, feedback_);
      }
    }
  }

  // Scales of a group of columns from where the columns before it, and nothing of its own, have moved its targets:
  // `target` has the feedback of the columns before it on the rest staying as they are, and here they follow.
  void find_moved(const DeviceLevels& levels, const ScaleTable& scales, int64_t at, int64_t width, const float* target,
                  float* moved) const {
    const bool follow = feedback_ != nullptr && at > 0;
    if (follow) {
      difference(stream_, target, target_ + at, p_.cols, p_.rows, width, moved);
      for (int64_t o = 0; o < width; o += kMostColumns) {
        const int64_t extent = std::min(kMostColumns, width - o);
        if (o > 0) {
          encode_product(stream_, p_.rows, extent, o, moved, width, feedback_ + at * p_.cols + at + o, p_.cols, -1.0f,
                         true, moved + o, width);
        }
        solve_columns(stream_, p_.rows, moved, width, at, o, extent, feedback_, p_.cols);
      }
    }
    const float* from = follow ? moved : target;
    if (option_.scales == ScaleKind::searched) {
      search_scales(stream_, matrix_, levels, scales,
                    {column_weight_.get(), option_.scale_type, p_.multiplier, option_.bits}, at, width, from, follow);
    } else {
      find_scales(stream_, matrix_, scales, at, width, from, follow);
    }
  }

  // What an error of a column costs: after feedback its conditional share of the metric, else h's diagonal.
  void find_column_weights() {
    std::vector<float> ones(static_cast<size_t>(p_.cols), 1.0f);
    column_weight_ = DeviceBuffer<float>(stream_, p_.cols);
    const size_t size = sizeof(float), pitch = static_cast<size_t>(p_.cols + 1) * size;
    if (feedback_ != nullptr) {
      check(cudaMemcpyAsync(column_weight_.get(), space_.column_weight.get(),
                            static_cast<size_t>(column_weight_.bytes()), cudaMemcpyDeviceToDevice, stream_.get()),
            "copying on the device");
    } else if (space_.has_h) {
      check(cudaMemcpy2DAsync(column_weight_.get(), size, space_.h.get(), pitch, size, static_cast<size_t>(p_.cols),
                              cudaMemcpyDeviceToDevice, stream_.get()),
            "copying on the device");
    } else {
      column_weight_.upload(ones.data(), p_.cols);
      stream_.synchronize();
    }
  }

  void descend(const DeviceLevels& levels) {
    DeviceBuffer<float> eh(stream_, count());
    encode_product(stream_, p_.rows, p_.cols, p_.cols, error_.get(), p_.cols, space_.h.get(), p_.cols, 1.0f, false,
                   eh.get(), p_.cols);
    cuda::descend(stream_, matrix_, levels, table(top_of(levels.host())), space_.h.get(), eh.get(), p_.watch);
  }

  const Problem& p_;
  const EncodeOption option_;
  const Space& space_;
  const float* target_;  // [rows, cols]
  const Stream& stream_;
  const int64_t groups_;
  DeviceBuffer<float> values_, error_;
  DeviceBuffer<uint8_t> codes_;
  const ScalarMatrix matrix_;
  DeviceBuffer<float> scales_;         // [rows, groups], or [blocks]
  DeviceBuffer<uint8_t> zeros_;        // [rows, groups]
  DeviceBuffer<float> column_weight_;  // [cols], of searched scales
  const float* feedback_ = nullptr;
  CodeBook book_{};
  // Two-level.
  DeviceBuffer<uint8_t> scale_codes_;
  DeviceBuffer<float> maxima_;
  DeviceBuffer<uint32_t> minimum_;
};

}  // namespace

EncodeCost run_scalar(const Problem& problem, const EncodeOption& option, const EncodeTarget& target, float* error,
                      const EncodedView* out) {
  ScalarRun run(problem, option, target);
  const EncodeCost cost = run.run();
  if (error != nullptr) {
    check(cudaMemcpyAsync(error, run.error().get(), static_cast<size_t>(run.error().bytes()), cudaMemcpyDeviceToDevice,
                          problem.stream.get()),
          "copying on the device");
  }
  if (out != nullptr) run.store(*out);
  return cost;
}

}  // namespace lq::cuda
