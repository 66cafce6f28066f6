// Products with packed matrices against the definition in double precision.
#include <algorithm>
#include <cmath>

#include "encoding_reference.h"
#include "reference.h"
#include "suite.h"

namespace lq::contract {
namespace {

// Rounded operands leave errors that grow as the root of the sum of squares of what is summed: 2^-8 of each operand at
// most, about 2^-9.3 of it on average, for three roundings of a term at most (x, x in rotated coordinates, a value; or
// x, a factor, x L2'). Measured in that root, the mean over a product is near 2.8e-3, a tenth more or less where there
// are few outputs, and the largest of 10^5 outputs near 1.3e-2; a missing or doubled term of the 384 that these
// products sum is 5e-2.
constexpr double kMean = 3.6e-3, kLargest = 1.6e-2;

// A packed matrix in double precision: its codes' part, and its factors.
struct Reference {
  std::vector<double> dense;  // [rows, cols]
  std::vector<float> l1, l2;
};

void check_product(Suite& suite, const std::string& name, const EncodedView& w, const Reference& reference,
                   const std::vector<int64_t>& batches) {
  const int64_t rows = w.rows, cols = w.cols, rank = w.option.rank;
  const int64_t most = *std::max_element(batches.begin(), batches.end());
  const std::vector<float>&l1 = reference.l1, &l2 = reference.l2;
  const std::vector<double>& dense = reference.dense;
  const std::vector<float> x = gaussian(most * cols, 24, 1.0);
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
      return suite.backend.packed_product(w, rank > 0 ? l1.data() : nullptr, rank > 0 ? l2.data() : nullptr, x.data(),
                                          tokens, to->data(), kNoControl);
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

void check_two_level(Suite& suite, const QuantConfig& config, int64_t rows, int64_t cols, int32_t rank,
                     const std::vector<int64_t>& batches) {
  constexpr const char* kTypes[] = {"bf16", "fp16", "fp32"};
  const std::string name = "packed product " + shape_name(rows, cols) + " rank " + std::to_string(rank) + " (" +
                           std::to_string(config.b0) + ", " + std::to_string(config.b1) + ", " +
                           kTypes[static_cast<int>(config.b2)] + ", " + std::to_string(config.block) + ", " +
                           std::to_string(config.group) + ")";
  const CodeBook book = normal_float(config.b0);
  const int64_t count = rows * cols;
  std::vector<uint8_t> codes(static_cast<size_t>(code_bytes(config, count))),
      scales(static_cast<size_t>(scale_bytes(config, count))), groups(static_cast<size_t>(group_bytes(config, count)));
  QuantizedView q{config, &book, count, codes.data(), scales.data(), groups.data(), 0};
  const std::vector<float> w = gaussian(count, 21);
  suite.code(name + " quantize", suite.backend.quantize({w.data(), Dtype::F32, rows, cols}, &q, kNoControl),
             StatusCode::ok);
  Reference reference{{}, gaussian(rows * rank, 22, 0.2), gaussian(rank * cols, 23, 0.1)};
  for (int64_t i = 0; i < count; ++i) {
    reference.dense.push_back(decoded_scale(q, i / config.block) *
                              static_cast<double>(book.levels[field(q.codes, i, config.b0)]));
  }
  check_product(suite, name, encoded_view(q, rows, cols, rank), reference, batches);
}

// What an option's parts mean, put together and multiplied.
void check_encoded(Suite& suite, EncodeOption o, int64_t rows, int64_t cols, const std::vector<int64_t>& batches) {
  const std::string name = "packed product " + shape_name(rows, cols) + " grid " +
                           std::to_string(static_cast<int>(o.grid)) + " of " + std::to_string(o.bits) + "/" +
                           std::to_string(o.step) + " L=" + std::to_string(o.states) + (o.tail_biting ? " ring" : "") +
                           " transform " + std::to_string(static_cast<int>(o.transform)) + " scales " +
                           std::to_string(static_cast<int>(o.scales)) + " rank " + std::to_string(o.rank);
  const std::unique_ptr<Encoded> encoded = random_encoding(o, rows, cols, 0.05, 77);
  Reference reference{{}, gaussian(rows * o.rank, 22, 0.2), gaussian(o.rank * cols, 23, 0.1)};
  EncodedView alone = encoded->view;
  alone.option.rank = 0;
  const std::vector<float> codes = decoded(alone, {}, {});
  reference.dense.assign(codes.begin(), codes.end());
  check_product(suite, name, encoded->view, reference, batches);

  const std::vector<float> exact = decoded(encoded->view, reference.l1, reference.l2);
  std::vector<float> out(exact.size());
  suite.code(name + " decode",
             suite.backend.decode(encoded->view, reference.l1.data(), reference.l2.data(), out.data(), kNoControl),
             StatusCode::ok);
  int64_t different = 0;
  for (size_t i = 0; i < out.size(); ++i) different += !(out[i] == exact[i]);
  suite.check(name + " decode", different == 0,
              std::to_string(different) + " of " + std::to_string(out.size()) + " differ");
}

EncodeOption trellis(int32_t bits, int32_t step, int32_t states, bool tail_biting, Transform transform, int32_t rank) {
  EncodeOption o{};
  o.transform = transform;
  o.grid = GridKind::trellis;
  o.bits = bits;
  o.step = step;
  o.states = states;
  o.tail_biting = tail_biting;
  o.scales = ScaleKind::row;
  o.rank = rank;
  return o;
}

void check_trellis_products(Suite& suite) {
  const std::vector<int64_t> few{1, 3, 8, 9, 16, 33, 65};
  constexpr int32_t kRates[][2] = {{1, 1}, {3, 2}, {2, 1}, {5, 2}, {3, 1}, {7, 2}, {4, 1}};
  for (const auto& rate : kRates) {
    check_encoded(suite, trellis(rate[0], rate[1], 12, false, Transform::hadamard, 0), 208, 544, few);
    check_encoded(suite, trellis(rate[0], rate[1], 12, true, Transform::none, 5), 96, 1056, {1, 16});
    for (const int32_t states : {14, 16}) {
      check_encoded(suite, trellis(rate[0], rate[1], states, states == 14, Transform::hadamard, 0), 80, 512, {2, 13});
    }
    // Short tiles, and more bits than a window has.
    check_encoded(suite, trellis(rate[0], rate[1], 12, rate[0] == 3, Transform::hadamard, 2), 37, 76, {1, 17});
  }
  check_encoded(suite, trellis(6, 1, 16, false, Transform::hadamard, 0), 64, 64, {1, 9});
  check_encoded(suite, trellis(1, 1, 12, true, Transform::none, 0), 3, 1, {1});
  // More rows than blocks that run at once, so that some have several sums to give.
  check_encoded(suite, trellis(2, 1, 12, false, Transform::hadamard, 0), 11008, 64, {1, 12});
}

void check_scalar_products(Suite& suite) {
  static const CodeBook nf3 = normal_float(3);
  for (const GridKind grid : {GridKind::nf, GridKind::fitted, GridKind::integer, GridKind::fp4}) {
    for (const ScaleKind scales : {ScaleKind::two_level, ScaleKind::group, ScaleKind::row, ScaleKind::searched}) {
      for (const Transform transform : {Transform::none, Transform::hadamard, Transform::scaled}) {
        EncodeOption o{};
        o.transform = transform;
        o.grid = grid;
        o.bits = grid == GridKind::fp4 ? 4 : grid == GridKind::integer ? 5 : 3;
        o.step = 1;
        o.scales = scales;
        o.symmetric = scales == ScaleKind::two_level || scales == ScaleKind::searched;
        o.config = {o.bits, 4, ScaleDtype::BF16, 32, 16};
        o.group = 24;
        o.scale_type = ScaleDtype::FP32;
        o.rank = scales == ScaleKind::row && transform != Transform::scaled ? 3 : 0;
        o.book = &nf3;
        if (scales == ScaleKind::searched && grid == GridKind::fitted) continue;
        const bool scaled = grid == GridKind::integer && (scales == ScaleKind::group || scales == ScaleKind::row);
        if (transform == Transform::scaled && !scaled) continue;
        check_encoded(suite, o, 37, 96, {1, 17});
      }
    }
  }
  EncodeOption nothing{};
  nothing.grid = GridKind::zero;
  nothing.scales = ScaleKind::block;
  nothing.step = 1;
  nothing.rank = 4;
  check_encoded(suite, nothing, 40, 64, {1, 70});
}

void check_refusals(Suite& suite) {
  const std::vector<float> x(128, 1.0f);
  std::vector<float> out(16);
  EncodeOption o = trellis(2, 1, 12, false, Transform::none, 0);
  const std::unique_ptr<Encoded> encoded = random_encoding(o, 16, 128, 0.05, 7);
  const auto multiply = [&](const EncodedView& w, int64_t tokens) {
    return suite.backend.packed_product(w, nullptr, nullptr, x.data(), tokens, out.data(), kNoControl);
  };
  EncodedView w = encoded->view;
  suite.code("packed product of no tokens", multiply(w, 0), StatusCode::invalid_argument);
  w.option.rank = 2;
  suite.code("packed product without its factors", multiply(w, 1), StatusCode::invalid_argument);
  w = encoded->view;
  w.parts[static_cast<size_t>(EncodedPart::row_scales)] = nullptr;
  suite.code("packed product without its scales", multiply(w, 1), StatusCode::invalid_argument);
  w = encoded->view;
  w.rows = 0;
  suite.code("packed product of nothing", multiply(w, 1), StatusCode::invalid_argument);
}

}  // namespace

void check_packed_product(Suite& suite) {
  const std::vector<int64_t> batches{1, 3, 8, 17, 64, 130};
  for (const int32_t b0 : {2, 3, 4, 8}) {
    // Every block and group size of the paper's grid, and every width and type of scale.
    check_two_level(suite, {b0, 8, ScaleDtype::BF16, 64, 256}, 136, 384, 0, batches);
    check_two_level(suite, {b0, 4, ScaleDtype::FP32, 64, 64}, 264, 384, 64, batches);
    check_two_level(suite, {b0, 3, ScaleDtype::FP16, 32, 16}, 136, 384, 64, batches);
    check_two_level(suite, {b0, 2, ScaleDtype::BF16, 32, 32}, 128, 256, 5, batches);
    check_two_level(suite, {b0, 3, ScaleDtype::FP16, 16, 16}, 136, 384, 40, batches);
    check_two_level(suite, {b0, 8, ScaleDtype::FP32, 16, 64}, 72, 640, 0, batches);
    // Rows that no kernel's tile divides.
    check_two_level(suite, {b0, 4, ScaleDtype::BF16, 64, 16}, 37, 688, 7, batches);
    check_two_level(suite, {b0, 4, ScaleDtype::FP32, 20, 3}, 33, 100, 3, {1, 17, 130});
    check_two_level(suite, {b0, 3, ScaleDtype::FP16, 64, 64}, 1, 777, 1, {1, 8, 130});
    check_two_level(suite, {b0, 3, ScaleDtype::FP16, 32, 64}, 333, 1, 1, {1, 8, 130});
  }
  check_trellis_products(suite);
  check_scalar_products(suite);
  check_refusals(suite);
}

}  // namespace lq::contract
