// Products with packed matrices against the definition in double precision.
#include <algorithm>
#include <cmath>

#include "reference.h"
#include "suite.h"

namespace lq::contract {
namespace {

// Rounded operands leave errors that grow as the root of the sum of squares of what is summed: 2^-9 of each operand at
// most, about 2^-10.3 of it on average, for three roundings of a term (x, a factor, x L2'). Measured in that root, the
// mean over a product is near 1.3e-3 and the largest of some thousands of outputs near 5e-3; a missing or doubled term
// of the 384 that these products sum is 5e-2.
constexpr double kMean = 3e-3, kLargest = 1.2e-2;

struct PackedParts {
  PackedParts(const QuantConfig& config, const CodeBook& book, int64_t count)
      : codes(static_cast<size_t>(code_bytes(config, count))),
        scales(static_cast<size_t>(scale_bytes(config, count))),
        groups(static_cast<size_t>(group_bytes(config, count))),
        view{config, &book, count, codes.data(), scales.data(), groups.data(), 0} {}
  PackedParts(const PackedParts&) = delete;
  std::vector<uint8_t> codes, scales, groups;
  QuantizedView view;
};

void check_product(Suite& suite, const QuantConfig& config, int64_t rows, int64_t cols, int32_t rank,
                   const std::vector<int64_t>& batches) {
  constexpr const char* kTypes[] = {"bf16", "fp16", "fp32"};
  const std::string name = "packed product " + shape_name(rows, cols) + " rank " + std::to_string(rank) + " (" +
                           std::to_string(config.b0) + ", " + std::to_string(config.b1) + ", " +
                           kTypes[static_cast<int>(config.b2)] + ", " + std::to_string(config.block) + ", " +
                           std::to_string(config.group) + ")";
  const CodeBook book = normal_float(config.b0);
  const int64_t most = *std::max_element(batches.begin(), batches.end());
  const std::vector<float> w = gaussian(rows * cols, 21), l1 = gaussian(rows * rank, 22, 0.2),
                           l2 = gaussian(rank * cols, 23, 0.1), x = gaussian(most * cols, 24, 1.0);
  PackedParts p(config, book, rows * cols);
  suite.code(name + " quantize", suite.backend.quantize({w.data(), Dtype::F32, rows, cols}, &p.view, kNoControl),
             StatusCode::ok);
  std::vector<double> dense(static_cast<size_t>(rows * cols));
  for (int64_t i = 0; i < rows * cols; ++i) {
    dense[static_cast<size_t>(i)] =
        decoded_scale(p.view, i / config.block) * static_cast<double>(book.levels[field(p.view.codes, i, config.b0)]);
  }
  // For each output its exact value, and the root of the sum of squares of its terms.
  std::vector<double> exact(static_cast<size_t>(most * rows)), size(exact.size());
  std::vector<double> projected(static_cast<size_t>(rank)), projected_squares(projected.size());
  for (int64_t t = 0; t < most; ++t) {
    const float* of_x = &x[static_cast<size_t>(t * cols)];
    for (int64_t k = 0; k < rank; ++k) {
      double sum = 0, squares = 0;
      for (int64_t j = 0; j < cols; ++j) {
        const double term = static_cast<double>(of_x[j]) * static_cast<double>(l2[static_cast<size_t>(k * cols + j)]);
        sum += term;
        squares += term * term;
      }
      projected[static_cast<size_t>(k)] = sum;
      projected_squares[static_cast<size_t>(k)] = squares;
    }
    for (int64_t i = 0; i < rows; ++i) {
      double sum = 0, squares = 0;
      for (int64_t j = 0; j < cols; ++j) {
        const double term = dense[static_cast<size_t>(i * cols + j)] * static_cast<double>(of_x[j]);
        sum += term;
        squares += term * term;
      }
      for (int64_t k = 0; k < rank; ++k) {
        const double factor = static_cast<double>(l1[static_cast<size_t>(i * rank + k)]);
        sum += factor * projected[static_cast<size_t>(k)];
        squares += factor * factor *
                   (projected_squares[static_cast<size_t>(k)] + std::pow(projected[static_cast<size_t>(k)], 2));
      }
      exact[static_cast<size_t>(t * rows + i)] = sum;
      size[static_cast<size_t>(t * rows + i)] = std::sqrt(squares);
    }
  }
  for (const int64_t tokens : batches) {
    const std::string batch = name + " of " + std::to_string(tokens);
    std::vector<float> out(static_cast<size_t>(tokens * rows), NAN), again(out);
    const auto multiply = [&](std::vector<float>* to) {
      return suite.backend.packed_product(p.view, rank > 0 ? l1.data() : nullptr, rank > 0 ? l2.data() : nullptr, rows,
                                          cols, rank, x.data(), tokens, to->data(), kNoControl);
    };
    suite.code(batch, multiply(&out), StatusCode::ok);
    double squares = 0, largest = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      const double error = std::abs(static_cast<double>(out[i]) - exact[i]) / (size[i] + 1e-30);
      squares += error * error;
      // Written so that a NaN stays.
      largest = error <= largest ? largest : error;
    }
    suite.at_most(batch + ", mean error", std::sqrt(squares / static_cast<double>(out.size())), kMean);
    suite.at_most(batch + ", largest error", largest, kLargest);
    multiply(&again);
    suite.check(batch + ", the same again", out == again, "");
  }
}

void check_refusals(Suite& suite) {
  const CodeBook book = normal_float(4);
  const std::vector<float> x(128, 1.0f);
  std::vector<float> out(8);
  PackedParts p({4, 4, ScaleDtype::BF16, 64, 16}, book, 8 * 128);
  const auto multiply = [&](int64_t rows, int32_t rank, int64_t tokens) {
    return suite.backend.packed_product(p.view, nullptr, nullptr, rows, 128, rank, x.data(), tokens, out.data(),
                                        kNoControl);
  };
  suite.code("packed product of another size", multiply(7, 0, 1), StatusCode::invalid_argument);
  suite.code("packed product of no tokens", multiply(8, 0, 0), StatusCode::invalid_argument);
  suite.code("packed product without its factors", multiply(8, 2, 1), StatusCode::invalid_argument);
}

}  // namespace

void check_packed_product(Suite& suite) {
  const std::vector<int64_t> batches{1, 3, 8, 17, 64, 130};
  for (const int32_t b0 : {2, 3, 4, 8}) {
    // Every block and group size of the paper's grid, and every width and type of scale.
    check_product(suite, {b0, 8, ScaleDtype::BF16, 64, 256}, 136, 384, 0, batches);
    check_product(suite, {b0, 4, ScaleDtype::FP32, 64, 64}, 264, 384, 64, batches);
    check_product(suite, {b0, 3, ScaleDtype::FP16, 32, 16}, 136, 384, 64, batches);
    check_product(suite, {b0, 2, ScaleDtype::BF16, 32, 32}, 128, 256, 5, batches);
    check_product(suite, {b0, 3, ScaleDtype::FP16, 16, 16}, 136, 384, 40, batches);
    check_product(suite, {b0, 8, ScaleDtype::FP32, 16, 64}, 72, 640, 0, batches);
    // Rows that no kernel's tile divides.
    check_product(suite, {b0, 4, ScaleDtype::BF16, 64, 16}, 37, 688, 7, batches);
    check_product(suite, {b0, 4, ScaleDtype::FP32, 20, 3}, 33, 100, 3, {1, 17, 130});
    check_product(suite, {b0, 3, ScaleDtype::FP16, 64, 64}, 1, 777, 1, {1, 8, 130});
    check_product(suite, {b0, 3, ScaleDtype::FP16, 32, 64}, 333, 1, 1, {1, 8, 130});
  }
  check_refusals(suite);
}

}  // namespace lq::contract
