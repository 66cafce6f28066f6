// What the stages of one run share: shapes, positions, scratch memory, cancellation, matrix products.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "bf16/bf16.h"
#include "lm/rotary.h"
#include "lq/language_model.h"
#include "threads.h"

namespace lq::lm {

// A failure on its way to the public method that turns it into its return value.
struct Failure {
  Status status;
};
[[noreturn]] void fail(StatusCode code, const char* message);

// Uninitialised aligned floats. Zero-filling buffers that are overwritten anyway would cost a pass over memory.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t count) { reserve(count); }
  // Grows to `count` floats; contents are lost. Throws std::bad_alloc.
  void reserve(int64_t count) {
    if (count <= count_) return;
    data_.reset();
    count_ = 0;
    const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64;
    data_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
    if (!data_) throw std::bad_alloc();
    count_ = count;
  }
  float* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> data_;
  int64_t count_ = 0;
};

// Width of the embedding's rows, and of what logits are made of.
inline int64_t embedding_width(const LanguageModelConfig& c) {
  return c.embedding.width > 0 ? c.embedding.width : c.hidden;
}
inline int64_t head_width(const LanguageModelConfig& c) { return c.head.transform ? embedding_width(c) : c.hidden; }
// Buffers that layers share, one after another, by what they hold.
enum class Shared : int32_t { normed = 0, pairs, pair_weights, group, gradient, count };

// One batch of sequences going through the model. Activations are [rows, n], rows = sequences * context.
class Batch {
 public:
  Batch(const LanguageModelConfig& config, const Control& control, int64_t context);

  const LanguageModelConfig& config;
  const int64_t context;
  int64_t sequences = 0;
  const RotaryTable rotary, local_rotary;

  int64_t rows() const { return sequences * context; }
  int64_t q_size() const { return static_cast<int64_t>(config.heads) * config.head_dim; }
  int64_t kv_size() const { return static_cast<int64_t>(config.kv_heads) * config.head_dim; }

  // Throws Failure{cancelled} when the caller asked to stop.
  void check() const;

  // Calls fn(first_row, row_count, slot) over pieces of rows on the pool.
  void for_rows(cpu::FunctionRef<void(int64_t, int64_t, int32_t)> fn) const;
  // The same over `count` rows that are no batch's.
  void for_pieces(int64_t count, cpu::FunctionRef<void(int64_t, int64_t)> fn) const;
  // Calls fn(i, slot) for i in [0, count) on the pool.
  void for_each(int64_t count, cpu::FunctionRef<void(int64_t, int32_t)> fn) const;

  // Scratch of the participant `slot`, at least `count` floats; the previous contents are lost.
  float* scratch(int32_t slot, int64_t count) const;

  // The buffer of that purpose, at least `count` floats; not to be asked for on the pool.
  float* shared(Shared purpose, int64_t count) const;

  // C = alpha op(A) op(B) + beta C, row-major, one thread. Polls cancellation, so a product is a unit of patience:
  // callers keep them below about a quarter of a second.
  void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
            int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) const;

  // The same in the model's precision, beta 0 or 1.
  void product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
               int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) const;

  // The first operand of several products of one thread, packed once for all of them: what projections read.
  struct Input {
    cpu::bf16::View x;  // [rows, in]; no data where it came in pieces and is packed
    int64_t rows, in;
    cpu::bf16::Rows packed;  // none where products are in fp32 itself
  };
  // Valid until this thread asks for the next.
  Input input(const cpu::bf16::View& x, int64_t rows, int64_t in) const;
  Input input(const float* x, int64_t rows, int64_t in) const { return input({x, in, false}, rows, in); }

  // The second operand of several products of one thread, packed once for all of them.
  struct Operand {
    cpu::bf16::View view;
    cpu::bf16::PackedMatrix* packed;  // null: products are in fp32 itself
  };
  // b [depth, columns]; valid until this thread asks for the same `place` again, below kOperands.
  static constexpr int32_t kOperands = 3;
  Operand operand(int32_t place, const cpu::bf16::View& b, int64_t depth, int64_t columns) const;
  // The same for all threads, until `place` is asked for again; not to be called on the pool.
  Operand shared_operand(size_t place, const cpu::bf16::View& b, int64_t depth, int64_t columns) const;
  // C [m, columns] = alpha a b (+ C when accumulate) of part of b, whose depth and columns begin at multiples of
  // cpu::bf16::kDepth and kColumns.
  void product(const cpu::bf16::View& a, float alpha, const Operand& b, cpu::bf16::Span depth, cpu::bf16::Span columns,
               int64_t m, bool accumulate, float* c, int64_t ldc) const;
  // The same of a whole first operand and some columns of b.
  void product(const Input& a, const Operand& b, cpu::bf16::Span columns, float* c, int64_t ldc) const;

  // The products with weights are in the model's precision. In bf16 a weight is packed when it is first met and kept
  // under its address: whoever puts others there forgets them first, not on the pool.
  void forget_weights() const { packed_.clear(); }

  // An input that comes in pieces of columns, beside the one above.
  class Pieces {
   public:
    // Columns [from, from + width) are x [rows, width]; from is a multiple of cpu::bf16::kDepth.
    void set(int64_t from, int64_t width, const float* x) const;
    const Input& whole() const { return input_; }

   private:
    friend class Batch;
    Input input_{};
    float* x_ = nullptr;
    uint16_t* packed_ = nullptr;
  };
  Pieces pieces(int64_t rows, int64_t in) const;

  // y [rows, columns] = x W^T (+ y when accumulate) of some rows of W [out, in], from a multiple of
  // cpu::bf16::kColumns on.
  void linear(const Input& x, const float* weight, int64_t out, cpu::bf16::Span columns, bool accumulate,
              float* y) const;
  // dx [rows, in] = dy [rows, out] W (+ dx when accumulate).
  void linear_backward(const float* dy, const float* weight, int64_t rows, int64_t in, int64_t out, bool accumulate,
                       float* dx) const {
    linear_backward(dy, weight, rows, in, out, {0, out}, accumulate, dx);
  }
  // The same of some rows of W, dy [rows, part], from a multiple of cpu::bf16::kDepth on.
  void linear_backward(const float* dy, const float* weight, int64_t rows, int64_t in, int64_t out,
                       cpu::bf16::Span part, bool accumulate, float* dx) const;

 private:
  const Control& control_;
  const int32_t terms_;
  mutable std::vector<Buffer> scratch_;
  mutable std::array<Buffer, static_cast<size_t>(Shared::count)> shared_;

  cpu::bf16::PackedMatrix* packed(const cpu::bf16::View& weight, int64_t depth, int64_t columns) const;

  Operand packed_operand(cpu::bf16::PackedMatrix* memory, const cpu::bf16::View& b, int64_t depth,
                         int64_t columns) const;

  // Of shared operands; they keep their memory from layer to layer.
  mutable std::vector<std::unique_ptr<cpu::bf16::PackedMatrix>> operands_;
  mutable std::mutex packing_;
  mutable std::map<std::pair<const float*, bool>, cpu::bf16::PackedMatrix*> packed_;
  // As many as there were at once: the next ones are packed in their memory.
  mutable std::vector<std::unique_ptr<cpu::bf16::PackedMatrix>> matrices_;
};

}  // namespace lq::lm
