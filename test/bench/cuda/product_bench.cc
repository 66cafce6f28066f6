// Products with packed matrices beside dense bf16 ones: checked against double precision, then timed. Prints a table.
//   lq_product_bench LIBRARY [--quick]
#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "lq/backend.h"
#include "matrices.h"
#include "ops/time_products.h"

namespace {

using namespace lq;
using namespace lq::bench;

// Of the norm of the outputs looked at. Operands and outputs in bf16 leave about 2e-3.
constexpr double kTolerance = 4e-3;

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
  constexpr int64_t kRows = 29, kTokens = 11;
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

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) stop("usage: lq_product_bench LIBRARY [--quick]");
  const bool quick = argc > 2 && std::string(argv[2]) == "--quick";
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
  std::printf("%s (%s)\n\nMicroseconds a product, and how many times as fast as dense bf16, by tokens\n\n", info.name,
              info.detail);
  std::vector<int64_t> tokens;
  for (int64_t n = 1; n <= 4096; n *= quick ? 8 : 2) tokens.push_back(n);
  std::printf("| rows x columns | weights |");
  for (const int64_t n : tokens) std::printf(" %lld |", static_cast<long long>(n));
  std::printf("\n| --- | --- |");
  for (size_t i = 0; i < tokens.size(); ++i) std::printf(" ---: |");
  std::printf("\n");

  double worst = 0;
  std::vector<std::pair<int64_t, int64_t>> shapes{{4096, 4096}};
  if (!quick) shapes.insert(shapes.end(), {{11008, 4096}, {4096, 11008}});
  for (const auto& [rows, cols] : shapes) {
    const std::vector<uint16_t> dense = layer_weights(rows, cols, 5);
    const Normals x(tokens.back() * cols, 6, 1.0f);
    std::vector<std::vector<uint16_t>> out;
    std::vector<uint16_t*> places;
    for (const int64_t n : tokens) out.emplace_back(static_cast<size_t>(n * rows));
    for (std::vector<uint16_t>& one : out) places.push_back(one.data());
    std::vector<double> packed_us(tokens.size()), dense_us(tokens.size());
    bool first = true;
    for (const int bits : {2, 3, 4}) {
      const QuantConfig config{bits, 8, ScaleDtype::BF16, 64, 256};
      const CodeBook book = normal_float(bits);
      const int64_t count = rows * cols;
      std::vector<uint8_t> codes(static_cast<size_t>(code_bytes(config, count)));
      std::vector<uint8_t> scales(static_cast<size_t>(scale_bytes(config, count)));
      std::vector<uint8_t> groups(static_cast<size_t>(group_bytes(config, count)));
      QuantizedView q{config, &book, count, codes.data(), scales.data(), groups.data(), 0.0f};
      require(backend->quantize({dense.data(), Dtype::BF16, rows, cols}, &q, {}), "quantize");
      for (const int32_t rank : {0, 64}) {
        const Normals l1(rows * rank, 7, 0.05f), l2(rank * cols, 8, 0.05f);
        std::vector<float> w(static_cast<size_t>(count));
        require(backend->reconstruct(q, l1.values.data(), l2.values.data(), rows, cols, rank, w.data(), {}),
                "reconstruct");
        const cuda::ProductTimes times{q,
                                       l1.values.data(),
                                       l2.values.data(),
                                       dense.data(),
                                       rows,
                                       cols,
                                       rank,
                                       static_cast<int32_t>(tokens.size()),
                                       tokens.data(),
                                       x.rounded.data(),
                                       places.data(),
                                       packed_us.data(),
                                       dense_us.data()};
        time_products(0, &times, &status);
        require(status, "products");
        if (first) print_row(rows, cols, "dense bf16", dense_us, nullptr);
        first = false;
        for (size_t i = 0; i < tokens.size(); ++i) {
          const double error = error_of(out[i], w, x, tokens[i], rows, cols);
          worst = std::max(worst, error);
          if (!(error <= kTolerance)) {
            stop("a product of " + std::to_string(tokens[i]) + " tokens, " + std::to_string(bits) + " bits, rank " +
                 std::to_string(rank) + " is off by " + std::to_string(error) + " of its norm");
          }
        }
        print_row(rows, cols, std::to_string(bits) + " bits, rank " + std::to_string(rank), packed_us, &dense_us);
      }
    }
  }
  std::printf("\nLargest error against double precision: %.2g of the norm\n", worst);
  reinterpret_cast<DestroyBackendFn>(dlsym(library, "lq_destroy_backend"))(backend);
  return 0;
}
