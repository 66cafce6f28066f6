// Products with packed matrices beside dense bf16 ones: checked against double precision, then timed. Prints a table.
//   lq_product_bench LIBRARY [--quick | --trellis]
#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "lq/backend.h"
#include "matrices.h"
#include "ops/time_products.h"

namespace {

using namespace lq;
using namespace lq::bench;

// Of the norm of the outputs looked at. Operands and outputs in bf16 leave about 2e-3, with rotated activations 3.3e-3.
constexpr double kTolerance = 4.5e-3;

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}

void require(const Status& status, const char* what) {
  if (status.code != StatusCode::ok) stop(std::string(what) + ": " + status.message);
}

// bf16 normal deviates, and the same in fp32.
struct Normals {
  Normals(int64_t count, uint64_t seed, float scale)
      : rounded(static_cast<size_t>(count)), values(static_cast<size_t>(count)) {
    std::mt19937_64 generator(seed);
    std::normal_distribution<float> normal(0.0f, scale);
    for (size_t i = 0; i < values.size(); ++i) {
      rounded[i] = to_bf16(normal(generator));
      values[i] = from_bf16(rounded[i]);
    }
  }
  std::vector<uint16_t> rounded;
  std::vector<float> values;
};

// Relative error of some rows and tokens of out [tokens, rows], where w is Q + L1 L2.
double error_of(const std::vector<uint16_t>& out, const std::vector<float>& w, const Normals& x, int64_t tokens,
                int64_t rows, int64_t cols) {
  constexpr int64_t kRows = 229, kTokens = 11;
  double error = 0, norm = 0;
  for (int64_t a = 0; a < std::min(kTokens, tokens); ++a) {
    const int64_t token = tokens <= kTokens ? a : a * (tokens - 1) / (kTokens - 1);
    for (int64_t b = 0; b < kRows; ++b) {
      const int64_t row = b * (rows - 1) / (kRows - 1);
      double exact = 0;
      for (int64_t j = 0; j < cols; ++j) {
        exact += static_cast<double>(w[static_cast<size_t>(row * cols + j)]) *
                 static_cast<double>(x.values[static_cast<size_t>(token * cols + j)]);
      }
      const double got = static_cast<double>(from_bf16(out[static_cast<size_t>(token * rows + row)]));
      error += (got - exact) * (got - exact);
      norm += exact * exact;
    }
  }
  return std::sqrt(error / norm);
}

void print_row(int64_t rows, int64_t cols, const std::string& what, const std::vector<double>& us,
               const std::vector<double>* dense) {
  std::printf("| %lld x %lld | %s |", static_cast<long long>(rows), static_cast<long long>(cols), what.c_str());
  for (size_t i = 0; i < us.size(); ++i) {
    if (dense == nullptr) {
      std::printf(" %.1f |", us[i]);
    } else {
      std::printf(" %.1f (%.2fx) |", us[i], (*dense)[i] / us[i]);
    }
  }
  std::printf("\n");
  std::fflush(stdout);
}

// Times products of one packed matrix and of a dense one for numbers of tokens, each checked first.
class Bench {
 public:
  Bench(Backend* on, cuda::TimeProductsFn time, std::vector<int64_t> numbers)
      : backend(on), time_products(time), tokens(std::move(numbers)) {}

  Backend* const backend;
  const cuda::TimeProductsFn time_products;
  const std::vector<int64_t> tokens;
  double worst = 0;

  // A shape's dense matrix and activations; the next row has the times of dense products above it.
  void begin(int64_t rows, int64_t cols) {
    dense_ = layer_weights(rows, cols, 5);
    x_ = std::make_unique<Normals>(tokens.back() * cols, 6, 1.0f);
    first_ = true;
  }
  const std::vector<uint16_t>& dense() const { return dense_; }

  // `w` is what the matrix stands for.
  void row(const std::string& what, const EncodedView& matrix, const Normals& l1, const Normals& l2,
           const std::vector<float>& w) {
    std::vector<std::vector<uint16_t>> out;
    std::vector<uint16_t*> places;
    for (const int64_t n : tokens) out.emplace_back(static_cast<size_t>(n * matrix.rows));
    for (std::vector<uint16_t>& one : out) places.push_back(one.data());
    std::vector<double> packed_us(tokens.size()), dense_us(tokens.size());
    const cuda::ProductTimes times{
        matrix,        l1.values.data(),   l2.values.data(), dense_.data(),    static_cast<int32_t>(tokens.size()),
        tokens.data(), x_->rounded.data(), places.data(),    packed_us.data(), dense_us.data()};
    Status status{};
    time_products(0, &times, &status);
    require(status, "products");
    for (size_t i = 0; i < tokens.size(); ++i) {
      const double error = error_of(out[i], w, *x_, tokens[i], matrix.rows, matrix.cols);
      worst = std::max(worst, error);
      if (!(error <= kTolerance)) {
        stop("a product of " + std::to_string(tokens[i]) + " tokens with " + what + " is off by " +
             std::to_string(error) + " of its norm");
      }
    }
    if (first_) print_row(matrix.rows, matrix.cols, "dense bf16", dense_us, nullptr);
    first_ = false;
    print_row(matrix.rows, matrix.cols, what, packed_us, &dense_us);
  }

  void header() const {
    std::printf("\n| rows x columns | weights |");
    for (const int64_t n : tokens) std::printf(" %lld |", static_cast<long long>(n));
    std::printf("\n| --- | --- |");
    for (size_t i = 0; i < tokens.size(); ++i) std::printf(" ---: |");
    std::printf("\n");
  }

 private:
  std::vector<uint16_t> dense_;
  std::unique_ptr<Normals> x_;
  bool first_ = true;
};

void normal_float_rows(Bench* bench, int64_t rows, int64_t cols) {
  for (const int bits : {2, 3, 4}) {
    const QuantConfig config{bits, 8, ScaleDtype::BF16, 64, 256};
    const CodeBook book = normal_float(bits);
    const int64_t count = rows * cols;
    std::vector<uint8_t> codes(static_cast<size_t>(code_bytes(config, count)));
    std::vector<uint8_t> scales(static_cast<size_t>(scale_bytes(config, count)));
    std::vector<uint8_t> groups(static_cast<size_t>(group_bytes(config, count)));
    QuantizedView q{config, &book, count, codes.data(), scales.data(), groups.data(), 0.0f};
    require(bench->backend->quantize({bench->dense().data(), Dtype::BF16, rows, cols}, &q, {}), "quantize");
    for (const int32_t rank : {0, 64}) {
      const Normals l1(rows * rank, 7, 0.05f), l2(rank * cols, 8, 0.05f);
      std::vector<float> w(static_cast<size_t>(count));
      require(bench->backend->reconstruct(q, l1.values.data(), l2.values.data(), rows, cols, rank, w.data(), {}),
              "reconstruct");
      bench->row("NF of " + std::to_string(bits) + " bits, rank " + std::to_string(rank),
                 encoded_view(q, rows, cols, rank), l1, l2, w);
    }
  }
}

// Any bits are a trellis code: time does not depend on what they stand for.
void trellis_rows(Bench* bench, int64_t rows, int64_t cols, int32_t states) {
  constexpr int32_t kRates[][2] = {{1, 1}, {3, 2}, {2, 1}, {5, 2}, {3, 1}, {7, 2}, {4, 1}};
  constexpr uint16_t kScale = 0x2400;  // 1/64 in fp16
  for (const auto& rate : kRates) {
    for (const int32_t rank : {0, 64}) {
      if (rank > 0 && rate[0] != 4) continue;
      EncodeOption o{};
      o.transform = Transform::hadamard;
      o.grid = GridKind::trellis;
      o.bits = rate[0];
      o.step = rate[1];
      o.states = states;
      o.scales = ScaleKind::row;
      o.rank = rank;
      EncodedView e{o, rows, cols, 77, {}};
      std::vector<uint8_t> parts[kPartCount];
      std::mt19937_64 random(9);
      for (int32_t i = 0; i < kPartCount; ++i) {
        parts[i].resize(static_cast<size_t>(part_bytes(o, rows, cols, static_cast<EncodedPart>(i))));
        for (uint8_t& byte : parts[i]) byte = static_cast<uint8_t>(random());
        e.parts[i] = parts[i].empty() ? nullptr : parts[i].data();
      }
      std::vector<uint8_t>& scales = parts[static_cast<size_t>(EncodedPart::row_scales)];
      for (size_t i = 0; i < scales.size(); i += 2) std::memcpy(&scales[i], &kScale, 2);
      const float one = 1.0f;
      std::memcpy(e.parts[static_cast<size_t>(EncodedPart::multiplier)], &one, 4);
      const Normals l1(rows * rank, 7, 0.05f), l2(rank * cols, 8, 0.05f);
      std::vector<float> w(static_cast<size_t>(rows * cols));
      require(bench->backend->decode(e, l1.values.data(), l2.values.data(), w.data(), {}), "decode");
      char name[64];
      std::snprintf(name, sizeof name, "trellis of %g bits, L = %d%s", static_cast<double>(rate[0]) / rate[1], states,
                    rank > 0 ? ", rank 64" : "");
      bench->row(name, e, l1, l2, w);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string option = argc > 2 ? argv[2] : "";
  if (argc < 2 || argc > 3 || (argc == 3 && option != "--quick" && option != "--trellis")) {
    stop("usage: lq_product_bench LIBRARY [--quick | --trellis]");
  }
  const bool quick = option == "--quick", only_trellis = option == "--trellis";
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) stop(dlerror());
  const auto create = reinterpret_cast<CreateBackendFn>(dlsym(library, "lq_create_backend"));
  const auto time_products = reinterpret_cast<cuda::TimeProductsFn>(dlsym(library, "lq_time_products"));
  if (create == nullptr || time_products == nullptr) stop("not this library");
  Status status{};
  Backend* backend = create(kBackendAbi, 0, &status);
  if (backend == nullptr) stop(status.message);
  DeviceInfo info{};
  backend->info(&info);
  std::printf("%s (%s)\n\nMicroseconds a product, and how many times as fast as dense bf16, by tokens\n", info.name,
              info.detail);
  double worst = 0;
  if (!only_trellis) {
    std::vector<int64_t> tokens;
    for (int64_t n = 1; n <= 4096; n *= quick ? 8 : 2) tokens.push_back(n);
    Bench bench(backend, time_products, tokens);
    bench.header();
    std::vector<std::pair<int64_t, int64_t>> shapes{{4096, 4096}};
    if (!quick) shapes.insert(shapes.end(), {{11008, 4096}, {4096, 11008}});
    for (const auto& [rows, cols] : shapes) {
      bench.begin(rows, cols);
      normal_float_rows(&bench, rows, cols);
    }
    worst = bench.worst;
  }
  Bench bench(backend, time_products, {1, 2, 4, 8, 16, 32, 64});
  bench.header();
  std::vector<std::pair<int64_t, int64_t>> shapes{{4096, 4096}};
  if (!quick) shapes.insert(shapes.end(), {{14336, 4096}, {4096, 14336}});
  for (const auto& [rows, cols] : shapes) {
    bench.begin(rows, cols);
    trellis_rows(&bench, rows, cols, 12);
    for (const int32_t states : {14, 16}) {
      if (!quick && rows == cols) trellis_rows(&bench, rows, cols, states);
    }
  }
  std::printf("\nLargest error against double precision: %.2g of the norm\n", std::max(worst, bench.worst));
  reinterpret_cast<DestroyBackendFn>(dlsym(library, "lq_destroy_backend"))(backend);
  return 0;
}
