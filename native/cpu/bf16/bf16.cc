#include "bf16/bf16.h"

#include <algorithm>
#include <new>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "cpu_features.h"

namespace lq::cpu::bf16 {
namespace {

// Packed rows at a time, and the depth of a piece: what a core's second cache holds beside a panel.
constexpr int64_t kPackedElements = int64_t{512} << 10;
constexpr int64_t kMostDepth = 2048;
// A block of rows stays in a core's first cache while panels go by, for so many steps of one term, and what goes by is
// at most so many columns: the second cache keeps them for the next block.
constexpr int64_t kSteps = 12, kPanelsAtOnce = 18;

int64_t rows_at_once(int64_t depth, int32_t terms) {
  return std::max<int64_t>(kPackedElements / block_elements(depth, terms), 1) * kRows;
}

#if defined(__x86_64__)
// Linux gives a process the tiles' registers when it asks for them.
bool may_use_tiles() {
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}
#else
bool may_use_tiles() { return false; }
#endif

}  // namespace

Instructions available() {
  static const Instructions found = [] {
    const CpuFeatures features = cpu_features();
    if (!features.avx512 || !features.avx512_bf16) return Instructions::none;
    return features.amx_bf16 && may_use_tiles() ? Instructions::amx : Instructions::avx512;
  }();
  return found;
}

void pack_rows(const View& a, float scale, int64_t rows, int64_t depth, int32_t terms, int64_t stride, uint16_t* out) {
  avx512::pack_rows(a, scale, rows, depth, terms, stride, out);
}

int32_t pack_panel(const View& b, int64_t columns, int64_t depth, int32_t terms, int64_t stride, uint16_t* out) {
  return avx512::pack_panel(b, columns, depth, terms, stride, out);
}

void multiply(Instructions with, const Rows& a, const Panel* panels, int64_t ahead, int64_t rows, int64_t columns,
              int64_t depth, bool accumulate, float* c, int64_t ldc) {
  if (with == Instructions::amx) {
    return amx::multiply(a, panels, ahead, rows, columns, depth, accumulate, c, ldc);
  }
  avx512::multiply(a, panels, rows, columns, depth, accumulate, c, ldc);
}

uint16_t* Memory::get(int64_t elements) {
  if (elements <= elements_) return data_;
  std::free(data_);
  data_ = nullptr;
  elements_ = 0;
  const size_t bytes = (static_cast<size_t>(elements) * sizeof(uint16_t) + 63) / 64 * 64;
  data_ = static_cast<uint16_t*>(std::aligned_alloc(64, bytes));
  if (data_ == nullptr) throw std::bad_alloc();
  elements_ = elements;
  return data_;
}

void PackedMatrix::assign(const View& b, int64_t depth, int64_t columns, int32_t terms) {
  b_ = b;
  depth_ = depth;
  columns_ = columns;
  panels_ = (columns + kColumns - 1) / kColumns;
  terms_ = terms;
  // Pages that are never written take no memory.
  data_ = memory_.get(terms * panels_ * panel_elements(depth));
  if (panels_ > most_panels_) {
    states_.reset(new std::atomic<int8_t>[static_cast<size_t>(panels_)]);
    most_panels_ = panels_;
  }
  for (int64_t i = 0; i < panels_; ++i) states_[static_cast<size_t>(i)].store(kEmpty, std::memory_order_relaxed);
}

int8_t PackedMatrix::begun(int64_t i) {
  std::atomic<int8_t>& state = states_[static_cast<size_t>(i)];
  int8_t seen = state.load(std::memory_order_acquire);
  if (seen != kEmpty || !state.compare_exchange_strong(seen, kBusy, std::memory_order_acquire)) return seen;
  const View view{b_.at(0, i * kColumns), b_.ld, b_.transposed};
  const int64_t elements = panel_elements(depth_);
  seen = static_cast<int8_t>(pack_panel(view, std::min(kColumns, columns_ - i * kColumns), depth_, terms_,
                                        panels_ * elements, data_ + i * elements));
  state.store(seen, std::memory_order_release);
  return seen;
}

void PackedMatrix::prepare(int64_t first, int64_t count) {
  for (int64_t i = first; i < first + count; ++i) begun(i);
}

Panel PackedMatrix::panel(int64_t i, int64_t from) {
  int8_t terms = begun(i);
  for (; terms == kBusy; terms = states_[static_cast<size_t>(i)].load(std::memory_order_acquire)) {
    std::this_thread::yield();
  }
  const int64_t elements = panel_elements(depth_);
  return {data_ + i * elements + panel_elements(from), panels_ * elements, terms};
}

namespace {

// Calls fn(row, rows, depth, depths, packed rows) for pieces of a that fit a cache, all depths of a row before the
// next.
template <typename Fn>
void for_packed_rows(const View& a, int32_t terms, float scale, int64_t m, int64_t depth, const Fn& fn) {
  thread_local Memory memory;
  const int64_t most = rows_at_once(std::min(depth, kMostDepth), terms);
  for (int64_t i = 0; i < m; i += most) {
    const int64_t rows = std::min(most, m - i);
    for (int64_t k = 0; k < depth; k += kMostDepth) {
      const int64_t here = std::min(kMostDepth, depth - k), block = block_elements(here, terms);
      uint16_t* packed = memory.get((rows + kRows - 1) / kRows * block);
      pack_rows({a.at(i, k), a.ld, a.transposed}, scale, rows, here, terms, block, packed);
      fn(i, rows, k, here, Rows{packed, block, terms});
    }
  }
}

}  // namespace

void product(Instructions with, int32_t terms, float scale, const View& a, const View& b, int64_t m, int64_t n,
             int64_t depth, bool accumulate, float* c, int64_t ldc) {
  thread_local Memory memory;
  for_packed_rows(a, terms, scale, m, depth, [&](int64_t i, int64_t rows, int64_t k, int64_t here, const Rows& packed) {
    const int64_t elements = panel_elements(here);
    uint16_t* data = memory.get(terms * elements);
    for (int64_t j = 0; j < n; j += kColumns) {
      const int64_t columns = std::min(kColumns, n - j);
      const int32_t needed = pack_panel({b.at(k, j), b.ld, b.transposed}, columns, here, terms, elements, data);
      const Panel panel{data, elements, needed};
      multiply(with, packed, &panel, 0, rows, columns, here, accumulate || k > 0, c + i * ldc + j, ldc);
    }
  });
}

namespace {

// c [rows, columns] (+)= a times part of b, of kPanelsAtOnce panels at most; `more`: as many columns follow.
void add_part(Instructions with, const Rows& a, PackedMatrix* b, Span depth, Span columns, int64_t rows, bool more,
              bool accumulate, float* c, int64_t ldc) {
  const int64_t most = kSteps / a.terms * kDepth, first = columns.from / kColumns;
  const int64_t panels = (columns.count + kColumns - 1) / kColumns;
  Panel part[kPanelsAtOnce];
  b->prepare(first, panels);
  for (int64_t k = 0; k < depth.count; k += most) {
    for (int64_t j = 0; j < panels; ++j) part[j] = b->panel(first + j, depth.from + k);
    // The depths that come next, or those of the next columns.
    const int64_t ahead = k + most < depth.count ? panel_elements(most)
                                                 : (more ? panels * panel_elements(b->depth()) - panel_elements(k) : 0);
    multiply(with, {a.data + block_elements(k, a.terms), a.stride, a.terms}, part, ahead, rows, columns.count,
             std::min(most, depth.count - k), accumulate || k > 0, c, ldc);
  }
}

}  // namespace

void product(Instructions with, const Rows& a, PackedMatrix* b, Span depth, Span columns, int64_t m, bool accumulate,
             float* c, int64_t ldc, FunctionRef<void()> poll) {
  constexpr int64_t kWidth = kPanelsAtOnce * kColumns;
  const int64_t most = rows_at_once(std::min(depth.count, kMostDepth), a.terms);
  for (int64_t i = 0; i < m; i += most) {
    for (int64_t k = 0; k < depth.count; k += kMostDepth) {
      const Rows part{a.data + i / kRows * a.stride + block_elements(k, a.terms), a.stride, a.terms};
      for (int64_t j = 0; j < columns.count; j += kWidth) {
        poll();
        add_part(with, part, b, {depth.from + k, std::min(kMostDepth, depth.count - k)},
                 {columns.from + j, std::min(kWidth, columns.count - j)}, std::min(most, m - i),
                 columns.from + j + 2 * kWidth <= b->columns(), accumulate || k > 0, c + i * ldc + j, ldc);
      }
    }
  }
}

void product(Instructions with, float scale, const View& a, PackedMatrix* b, Span depth, Span columns, int64_t m,
             bool accumulate, float* c, int64_t ldc, FunctionRef<void()> poll) {
  for_packed_rows(
      a, b->terms(), scale, m, depth.count, [&](int64_t i, int64_t rows, int64_t k, int64_t here, const Rows& packed) {
        product(with, packed, b, {depth.from + k, here}, columns, rows, accumulate || k > 0, c + i * ldc, ldc, poll);
      });
}

}  // namespace lq::cpu::bf16
