#include "lm/batch.h"

#include <cstdio>

#include "blas.h"

namespace lq::lm {
namespace {

// Rows of a piece: enough that reading a weight is a small part of a product, few enough to spread, and that what is
// made of them from one product to the next stays in a core's cache.
constexpr int64_t kMostRows = 256;
constexpr int64_t kFewestRows = 16;

// A product is cut along its output columns above this many multiply-adds (half a second on one old core).
constexpr int64_t kLongestProduct = int64_t{8} << 30;

// Terms of products' operands, or 0 where they run in fp32 itself. Tiles make as accurate products of three terms many
// times faster; dot products of pairs do not.
int32_t terms_of(Precision precision) {
  if (precision == Precision::bf16) return 2;
  return cpu::bf16::available() == cpu::bf16::Instructions::amx ? 3 : 0;
}

// The number of threads may be raised while a run is under way; empty buffers cost nothing.
constexpr int32_t kMostThreads = 1024;

}  // namespace

void fail(StatusCode code, const char* message) {
  Failure failure{{code, -1, {}}};
  std::snprintf(failure.status.message, sizeof failure.status.message, "%s", message);
  throw failure;
}

Batch::Batch(const LanguageModelConfig& config, const Control& control, int64_t context)
    : config(config),
      context(context),
      rotary(rotary_table(config, context)),
      local_rotary(local_rotary_table(config, context)),
      control_(control),
      terms_(terms_of(config.precision)),
      scratch_(std::max(cpu::threads(), kMostThreads)) {}

void Batch::check() const {
  if (control_.cancelled != nullptr && control_.cancelled(control_.user)) fail(StatusCode::cancelled, "cancelled");
}

void Batch::for_rows(cpu::FunctionRef<void(int64_t, int64_t, int32_t)> fn) const {
  const int64_t threads = cpu::threads();
  const int64_t piece = std::clamp((rows() + threads - 1) / threads, kFewestRows, kMostRows);
  cpu::parallel_slots(0, rows(), piece,
                      [&](int64_t begin, int64_t end, int32_t slot) { fn(begin, end - begin, slot); });
}

void Batch::for_pieces(int64_t count, cpu::FunctionRef<void(int64_t, int64_t)> fn) const {
  cpu::parallel_slots(0, count, kMostRows, [&](int64_t begin, int64_t end, int32_t) { fn(begin, end - begin); });
}

void Batch::for_each(int64_t count, cpu::FunctionRef<void(int64_t, int32_t)> fn) const {
  cpu::parallel_slots(0, count, 1, [&](int64_t begin, int64_t, int32_t slot) { fn(begin, slot); });
}

float* Batch::scratch(int32_t slot, int64_t count) const {
  Buffer& buffer = scratch_.at(slot);
  buffer.reserve(count);
  return buffer.data();
}

float* Batch::shared(Shared purpose, int64_t count) const {
  Buffer& buffer = shared_[static_cast<size_t>(purpose)];
  buffer.reserve(count);
  return buffer.data();
}

void Batch::gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
                 int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) const {
  const int64_t columns = std::max<int64_t>(kLongestProduct / std::max<int64_t>(m * k, 1), 64);
  for (int64_t j = 0; j < n; j += columns) {
    check();
    const int64_t width = std::min(columns, n - j);
    cpu::sgemm(transpose_a, transpose_b, m, width, k, alpha, a, lda, transpose_b ? b + j * ldb : b + j, ldb, beta,
               c + j, ldc);
  }
}

void Batch::product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
                    int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) const {
  if (terms_ == 0) return gemm(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  check();
  cpu::bf16::product(cpu::bf16::available(), terms_, alpha, {a, lda, transpose_a}, {b, ldb, transpose_b}, m, n, k,
                     beta != 0, c, ldc);
}

Batch::Operand Batch::operand(int32_t place, const cpu::bf16::View& b, int64_t depth, int64_t columns) const {
  if (terms_ == 0) return {b, nullptr};
  thread_local std::array<cpu::bf16::PackedMatrix, kOperands> kept;
  cpu::bf16::PackedMatrix& packed = kept.at(static_cast<size_t>(place));
  return packed_operand(&packed, b, depth, columns);
}

Batch::Operand Batch::shared_operand(size_t place, const cpu::bf16::View& b, int64_t depth, int64_t columns) const {
  if (terms_ == 0) return {b, nullptr};
  while (operands_.size() <= place) operands_.push_back(std::make_unique<cpu::bf16::PackedMatrix>());
  return packed_operand(operands_[place].get(), b, depth, columns);
}

Batch::Operand Batch::packed_operand(cpu::bf16::PackedMatrix* memory, const cpu::bf16::View& b, int64_t depth,
                                     int64_t columns) const {
  memory->assign(b, depth, columns, terms_);
  return {b, memory};
}

void Batch::product(const cpu::bf16::View& a, float alpha, const Operand& b, cpu::bf16::Span depth,
                    cpu::bf16::Span columns, int64_t m, bool accumulate, float* c, int64_t ldc) const {
  if (b.packed == nullptr) {
    return gemm(a.transposed, b.view.transposed, m, columns.count, depth.count, alpha, a.data, a.ld,
                b.view.at(depth.from, columns.from), b.view.ld, accumulate ? 1.0f : 0.0f, c, ldc);
  }
  cpu::bf16::product(cpu::bf16::available(), alpha, a, b.packed, depth, columns, m, accumulate, c, ldc,
                     [&] { check(); });
}

cpu::bf16::PackedMatrix* Batch::packed(const cpu::bf16::View& weight, int64_t depth, int64_t columns) const {
  const std::lock_guard<std::mutex> lock(packing_);
  const auto [place, added] = packed_.try_emplace({weight.data, weight.transposed}, nullptr);
  if (!added) return place->second;
  if (packed_.size() > matrices_.size()) matrices_.push_back(std::make_unique<cpu::bf16::PackedMatrix>());
  place->second = matrices_[packed_.size() - 1].get();
  place->second->assign(weight, depth, columns, terms_);
  return place->second;
}

void Batch::product(const Input& a, const Operand& b, cpu::bf16::Span columns, float* c, int64_t ldc) const {
  if (b.packed == nullptr) return product(a.x, 1.0f, b, {0, a.in}, columns, a.rows, false, c, ldc);
  cpu::bf16::product(cpu::bf16::available(), a.packed, b.packed, {0, a.in}, columns, a.rows, false, c, ldc,
                     [&] { check(); });
}

Batch::Input Batch::input(const cpu::bf16::View& x, int64_t rows, int64_t in) const {
  if (terms_ == 0) return {x, rows, in, {}};
  thread_local cpu::bf16::Memory memory;
  const int64_t block = cpu::bf16::block_elements(in, terms_);
  uint16_t* packed = memory.get((rows + cpu::bf16::kRows - 1) / cpu::bf16::kRows * block);
  cpu::bf16::pack_rows(x, 1.0f, rows, in, terms_, block, packed);
  return {x, rows, in, {packed, block, terms_}};
}

Batch::Pieces Batch::pieces(int64_t rows, int64_t in) const {
  Pieces pieces;
  if (terms_ == 0) {
    thread_local Buffer buffer;
    buffer.reserve(rows * in);
    pieces.x_ = buffer.data();
    pieces.input_ = {{pieces.x_, in, false}, rows, in, {}};
    return pieces;
  }
  thread_local cpu::bf16::Memory memory;
  const int64_t block = cpu::bf16::block_elements(in, terms_);
  pieces.packed_ = memory.get((rows + cpu::bf16::kRows - 1) / cpu::bf16::kRows * block);
  pieces.input_ = {{nullptr, in, false}, rows, in, {pieces.packed_, block, terms_}};
  return pieces;
}

void Batch::Pieces::set(int64_t from, int64_t width, const float* x) const {
  if (packed_ == nullptr) {
    for (int64_t i = 0; i < input_.rows; ++i) std::copy_n(x + i * width, width, x_ + i * input_.in + from);
    return;
  }
  const cpu::bf16::Rows& rows = input_.packed;
  cpu::bf16::pack_rows({x, width, false}, 1.0f, input_.rows, width, rows.terms, rows.stride,
                       packed_ + cpu::bf16::block_elements(from, rows.terms));
}

void Batch::linear(const Input& x, const float* weight, int64_t out, cpu::bf16::Span columns, bool accumulate,
                   float* y) const {
  if (x.packed.data == nullptr) {
    return gemm(x.x.transposed, true, x.rows, columns.count, x.in, 1.0f, x.x.data, x.x.ld, weight + columns.from * x.in,
                x.in, accumulate ? 1.0f : 0.0f, y, columns.count);
  }
  cpu::bf16::product(cpu::bf16::available(), x.packed, packed({weight, x.in, true}, x.in, out), {0, x.in}, columns,
                     x.rows, accumulate, y, columns.count, [&] { check(); });
}

void Batch::linear_backward(const float* dy, const float* weight, int64_t rows, int64_t in, int64_t out,
                            cpu::bf16::Span part, bool accumulate, float* dx) const {
  if (terms_ > 0) {
    return cpu::bf16::product(cpu::bf16::available(), 1.0f, {dy, part.count, false},
                              packed({weight, in, false}, out, in), part, {0, in}, rows, accumulate, dx, in,
                              [&] { check(); });
  }
  gemm(false, false, rows, in, part.count, 1.0f, dy, part.count, weight + part.from * in, in, accumulate ? 1.0f : 0.0f,
       dx, in);
}

}  // namespace lq::lm
