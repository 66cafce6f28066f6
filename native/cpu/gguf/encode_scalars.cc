#include "gguf/encode_scalars.h"

#include <algorithm>
#include <vector>

#include "blas.h"
#include "gguf/pack.h"

namespace lq::cpu::gguf {

using Column = float[kStrip];

void block_targets(const BlockMetric& m, const float* w, const float* error, int64_t rows, int64_t at, int64_t width,
                   float* target) {
  for (int64_t i = 0; i < rows; ++i) std::copy_n(w + i * m.cols + at, width, target + i * width);
  if (m.n == nullptr || at == 0) return;
  sgemm(false, false, rows, width, at, 1, error, m.cols, m.n + at, m.cols, 1, target, width);
}

void encode_scalars(BlockType type, const ScalarForm& form, const BlockMetric& m, const float* w, int64_t rows,
                    int32_t sweeps, uint8_t* out, float* value) {
  const EncodeKernels& k = encode_kernels();
  const int64_t cols = m.cols, super = form.super, subs = cols / form.sub, strips = (rows + kStrip - 1) / kStrip;
  const BlockFormat& format = format_of(type);
  const int64_t row_bytes = cols / super * format.bytes;
  std::vector<float> error(static_cast<size_t>(rows * cols)), target(static_cast<size_t>(rows * super));
  // N of a block without feedback.
  const std::vector<float> no_feedback(m.n == nullptr ? static_cast<size_t>(super * super) : 0);
  struct Strip {
    std::vector<float> code, value, scale, minimum, scale_code, minimum_code, d, dmin;
  };
  std::vector<Strip> strip(static_cast<size_t>(strips));
  for (Strip& s : strip) {
    for (auto* v : {&s.code, &s.value}) v->resize(static_cast<size_t>(cols * kStrip));
    for (auto* v : {&s.scale, &s.minimum, &s.scale_code, &s.minimum_code})
      v->resize(static_cast<size_t>(subs * kStrip));
    for (auto* v : {&s.d, &s.dmin}) v->resize(static_cast<size_t>(cols / super * kStrip));
  }
  std::vector<SuperOutput> made(1);
  Column weights[kMaxSuper], targets[kMaxSuper];
  for (int64_t at = 0; at < cols; at += super) {
    block_targets(m, w, error.data(), rows, at, super, target.data());
    for (int64_t s = 0; s < strips; ++s) {
      for (int64_t r = 0; r < kStrip; ++r) {
        const int64_t row = std::min(s * kStrip + r, rows - 1);  // the last strip repeats its last row
        for (int64_t j = 0; j < super; ++j) {
          weights[j][r] = w[row * cols + at + j];
          targets[j][r] = target[static_cast<size_t>(row * super + j)];
        }
      }
      const bool feed = m.n != nullptr;
      k.encode_scalar(
          form, {weights, targets, feed ? m.n + at * cols + at : no_feedback.data(), feed ? cols : super, m.d + at},
          made.data());
      Strip& to = strip[static_cast<size_t>(s)];
      const SuperOutput& o = made[0];
      std::copy_n(&o.code[0][0], super * kStrip, to.code.data() + at * kStrip);
      std::copy_n(&o.value[0][0], super * kStrip, to.value.data() + at * kStrip);
      const int64_t count = super / form.sub * kStrip, first = at / form.sub * kStrip;
      std::copy_n(&o.scale[0][0], count, to.scale.data() + first);
      std::copy_n(&o.minimum[0][0], count, to.minimum.data() + first);
      std::copy_n(&o.scale_code[0][0], count, to.scale_code.data() + first);
      std::copy_n(&o.minimum_code[0][0], count, to.minimum_code.data() + first);
      std::copy_n(o.d, kStrip, to.d.data() + at / super * kStrip);
      std::copy_n(o.dmin, kStrip, to.dmin.data() + at / super * kStrip);
      for (int64_t r = 0; r < std::min<int64_t>(kStrip, rows - s * kStrip); ++r) {
        for (int64_t j = 0; j < super; ++j) {
          error[static_cast<size_t>((s * kStrip + r) * cols + at + j)] = weights[j][r] - o.value[j][r];
        }
      }
    }
  }
  if (sweeps > 0 && m.h != nullptr) {
    std::vector<float> gradient(error.size());
    sgemm(false, false, rows, cols, cols, 1, error.data(), cols, m.h, cols, 0, gradient.data(), cols);
    std::vector<float> g(static_cast<size_t>(cols * kStrip));
    for (int64_t s = 0; s < strips; ++s) {
      Strip& to = strip[static_cast<size_t>(s)];
      for (int64_t r = 0; r < kStrip; ++r) {
        const int64_t row = std::min(s * kStrip + r, rows - 1);
        for (int64_t j = 0; j < cols; ++j) {
          g[static_cast<size_t>(j * kStrip + r)] = gradient[static_cast<size_t>(row * cols + j)];
        }
      }
      const auto columns = [](std::vector<float>& v) { return reinterpret_cast<Column*>(v.data()); };
      for (int32_t sweep = 0; sweep < sweeps; ++sweep) {
        if (!k.descend_scalar(form, cols, m.h, columns(to.scale), columns(to.minimum), columns(g), columns(to.code),
                              columns(to.value))) {
          break;
        }
      }
    }
  }
  // Codes count from 0 in the bytes.
  const float first_code = form.levels == nullptr ? static_cast<float>(form.low) : 0.0f;
  for (int64_t i = 0; i < rows; ++i) {
    const Strip& from = strip[static_cast<size_t>(i / kStrip)];
    const int64_t r = i % kStrip;
    for (int64_t at = 0; at < cols; at += super) {
      ScalarBlock block{};
      for (int64_t j = 0; j < super; ++j) {
        block.code[j] = static_cast<uint8_t>(from.code[static_cast<size_t>((at + j) * kStrip + r)] - first_code);
      }
      for (int64_t s = 0; s < super / form.sub; ++s) {
        const auto place = static_cast<size_t>((at / form.sub + s) * kStrip + r);
        block.scale[s] = static_cast<int32_t>(from.scale_code[place]);
        block.minimum[s] = static_cast<int32_t>(from.minimum_code[place]);
      }
      const auto place = static_cast<size_t>(at / super * kStrip + r);
      const auto own = static_cast<size_t>(at / form.sub * kStrip + r);
      const bool integer = form.scale == ScaleCode::integer;
      block.d = integer ? from.d[place] : from.scale[own];
      block.dmin = integer ? from.dmin[place] : from.minimum[own];
      pack(type, block, out + i * row_bytes + at / super * format.bytes);
    }
    decode(format, out + i * row_bytes, cols / super, value + i * cols);
  }
}

}  // namespace lq::cpu::gguf
