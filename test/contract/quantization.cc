// quantize, dequantize and reconstruct: every field of the packed form against the definition, stage by stage.
#include <algorithm>
#include <cmath>
#include <limits>

#include "reference.h"
#include "suite.h"

namespace lq::contract {
namespace {

struct Packed {
  Packed(const QuantConfig& config, const CodeBook& book, int64_t count)
      : codes(static_cast<size_t>(code_bytes(config, count)), 0xff),
        scales(static_cast<size_t>(scale_bytes(config, count)), 0xff),
        groups(static_cast<size_t>(group_bytes(config, count)), 0xff),
        view{config, &book, count, codes.data(), scales.data(), groups.data(), -1} {}
  Packed(const Packed&) = delete;
  std::vector<uint8_t> codes, scales, groups;
  QuantizedView view;
};

std::string name_of(const QuantConfig& c, const std::string& what) {
  constexpr const char* kTypes[] = {"bf16", "fp16", "fp32"};
  return "quantize " + what + " (" + std::to_string(c.b0) + ", " + std::to_string(c.b1) + ", " +
         kTypes[static_cast<int>(c.b2)] + ", " + std::to_string(c.block) + ", " + std::to_string(c.group) + ")";
}

// Checks one quantisation of w. A scale may be the other neighbour, a code the other level, only where the exact
// quotient is a tie to fp32 precision.
void check_one(Suite& suite, const std::vector<float>& w, int64_t rows, int64_t cols, const QuantConfig& config,
               const std::string& what) {
  const std::string name = name_of(config, what);
  const CodeBook book = normal_float(config.b0);
  const int64_t n = rows * cols, blocks = block_count(config, n);
  Packed p(config, book, n);
  const Status status = suite.backend.quantize({w.data(), Dtype::F32, rows, cols}, &p.view, kNoControl);
  suite.code(name, status, StatusCode::ok);
  if (status.code != StatusCode::ok) return;
  const QuantizedView& q = p.view;

  std::vector<double> absmax(static_cast<size_t>(blocks), 0.0);
  for (int64_t i = 0; i < n; ++i) {
    double& m = absmax[static_cast<size_t>(i / config.block)];
    m = std::max(m, std::abs(static_cast<double>(w[static_cast<size_t>(i)])));
  }
  const double off = *std::min_element(absmax.begin(), absmax.end());
  suite.check(name + " offset", static_cast<double>(q.offset) == off, std::to_string(q.offset));

  const double top = (1 << config.b1) - 1;
  int64_t bad_groups = 0, bad_scales = 0;
  for (int64_t g = 0; g < group_count(config, n); ++g) {
    const int64_t end = std::min(blocks, (g + 1) * config.group);
    float largest = 0;
    for (int64_t b = g * config.group; b < end; ++b) {
      largest = std::max(largest, static_cast<float>(absmax[static_cast<size_t>(b)]) - static_cast<float>(off));
    }
    const double v = round_scale(static_cast<double>(largest), config.b2);
    bad_groups += group_value(q.groups, g, config.b2) != v;
    for (int64_t b = g * config.group; b < end; ++b) {
      const double t =
          static_cast<double>(static_cast<float>(absmax[static_cast<size_t>(b)]) - static_cast<float>(off));
      const double exact = v > 0 ? std::min(t * top / v, top) : 0.0;
      const double distance = std::abs(exact - field(q.scales, b, config.b1));
      bad_scales += distance > 0.5 + 1e-5 * top;
    }
  }
  suite.check(name + " group maxima", bad_groups == 0, std::to_string(bad_groups) + " differ");
  suite.check(name + " scales", bad_scales == 0, std::to_string(bad_scales) + " differ");

  int64_t bad_codes = 0;
  double worst = 0;
  std::vector<float> out(static_cast<size_t>(n));
  suite.code(name + " dequantize", suite.backend.dequantize(q, out.data(), kNoControl), StatusCode::ok);
  for (int64_t i = 0; i < n; ++i) {
    const double scale = decoded_scale(q, i / config.block);
    const uint32_t code = field(q.codes, i, config.b0);
    const double level = static_cast<double>(book.levels[code]);
    if (scale > 0) {
      const double x = static_cast<double>(w[static_cast<size_t>(i)]) / scale;
      double nearest = std::numeric_limits<double>::infinity();
      for (int32_t l = 0; l < (1 << config.b0); ++l) {
        nearest = std::min(nearest, std::abs(x - static_cast<double>(book.levels[l])));
      }
      bad_codes += std::abs(x - level) > nearest + 2e-6 * std::max(1.0, std::abs(x));
    } else {
      bad_codes += level != 0;
    }
    worst = std::max(
        worst, std::abs(static_cast<double>(out[static_cast<size_t>(i)]) - level * scale) / std::max(scale, 1e-30));
  }
  suite.check(name + " codes", bad_codes == 0, std::to_string(bad_codes) + " of " + std::to_string(n) + " differ");
  suite.at_most(name + " dequantized", worst, 1e-6);

  // Bits beyond the last field are zero, so that equal tensors have equal bytes.
  const int64_t spare = static_cast<int64_t>(p.codes.size()) * 8 - n * config.b0;
  suite.check(name + " padding", spare == 0 || (p.codes.back() >> (8 - spare)) == 0, "not zero");
}

void check_reconstruct(Suite& suite, int64_t rows, int64_t cols, int32_t rank) {
  const QuantConfig config{3, 4, ScaleDtype::BF16, 32, 16};
  const CodeBook book = normal_float(3);
  const std::vector<float> w = gaussian(rows * cols, 5), l1 = gaussian(rows * rank, 6, 0.3),
                           l2 = gaussian(rank * cols, 7, 0.3);
  Packed p(config, book, rows * cols);
  suite.backend.quantize({w.data(), Dtype::F32, rows, cols}, &p.view, kNoControl);
  std::vector<float> q(w.size()), out(w.size());
  suite.backend.dequantize(p.view, q.data(), kNoControl);
  const std::string name = "reconstruct " + shape_name(rows, cols) + " rank " + std::to_string(rank);
  suite.code(name,
             suite.backend.reconstruct(p.view, rank > 0 ? l1.data() : nullptr, rank > 0 ? l2.data() : nullptr, rows,
                                       cols, rank, out.data(), kNoControl),
             StatusCode::ok);
  double worst = 0;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      double exact = static_cast<double>(q[static_cast<size_t>(i * cols + j)]);
      for (int32_t k = 0; k < rank; ++k) {
        exact += static_cast<double>(l1[static_cast<size_t>(i * rank + k)]) *
                 static_cast<double>(l2[static_cast<size_t>(k * cols + j)]);
      }
      worst = std::max(worst, std::abs(exact - static_cast<double>(out[static_cast<size_t>(i * cols + j)])));
    }
  }
  suite.at_most(name, worst, 1e-5);
}

}  // namespace

void check_quantization(Suite& suite) {
  const struct {
    int64_t rows, cols;
  } shapes[] = {{64, 128}, {1, 777}, {333, 1}, {37, 688}, {3, 5}, {1, 1}, {129, 100}};
  for (const auto& s : shapes) {
    const std::vector<float> w = gaussian(s.rows * s.cols, 11);
    const std::string what = shape_name(s.rows, s.cols);
    for (const int32_t b0 : {2, 3, 4, 8}) {
      check_one(suite, w, s.rows, s.cols, {b0, 8, ScaleDtype::FP32, 64, 256}, what);
      check_one(suite, w, s.rows, s.cols, {b0, 3, ScaleDtype::BF16, 16, 16}, what);
      check_one(suite, w, s.rows, s.cols, {b0, 2, ScaleDtype::FP16, 32, 4}, what);
      check_one(suite, w, s.rows, s.cols, {b0, 4, ScaleDtype::BF16, 20, 3}, what);  // nothing divides anything
    }
  }
  std::vector<float> special(688 * 8, 0.0f);
  check_one(suite, special, 8, 688, {4, 4, ScaleDtype::BF16, 64, 16}, "zeros");
  std::fill(special.begin(), special.end(), 0.25f);
  check_one(suite, special, 8, 688, {3, 2, ScaleDtype::FP16, 64, 16}, "constant");
  special = gaussian(8 * 688, 3);
  std::fill(special.begin() + 64, special.begin() + 128, 0.0f);  // one zero block: the offset is 0
  check_one(suite, special, 8, 688, {4, 3, ScaleDtype::FP32, 64, 16}, "zero block");
  check_one(suite, gaussian(4096, 4, 1e-39), 64, 64, {4, 4, ScaleDtype::FP32, 64, 16}, "subnormal");
  check_one(suite, gaussian(4096, 4, 3e5), 64, 64, {4, 4, ScaleDtype::BF16, 64, 16}, "large");
  check_one(suite, gaussian(4096, 4, 3e-8), 64, 64, {4, 4, ScaleDtype::FP16, 64, 16}, "below fp16");

  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> w = gaussian(688 * 300, 9);
    w[150007] = w[70001] = bad;
    const QuantConfig config{4, 4, ScaleDtype::BF16, 64, 16};
    const CodeBook book = normal_float(4);
    Packed p(config, book, static_cast<int64_t>(w.size()));
    const Status status = suite.backend.quantize({w.data(), Dtype::F32, 300, 688}, &p.view, kNoControl);
    suite.code("quantize refuses what is not finite", status, StatusCode::not_finite);
    suite.check("quantize names the first index", status.index == 70001, std::to_string(status.index));
  }
  check_reconstruct(suite, 37, 688, 0);
  check_reconstruct(suite, 37, 688, 5);
  check_reconstruct(suite, 1, 100, 3);
  check_reconstruct(suite, 100, 1, 1);
  check_reconstruct(suite, 130, 200, 64);
}

}  // namespace lq::contract
