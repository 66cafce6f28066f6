#include "bf16/bf16.h"

#include <algorithm>
#include <functional>
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
constexpr int64_t kPackedElements = int64_t{256} << 10;
constexpr int64_t kMostDepth = 2048;

int64_t rows_at_once(int64_t depth) {
  const int64_t rows = kPackedElements / (steps_of(depth) * kDepth) / (2 * kRows) * (2 * kRows);
  return std::max(rows, 2 * kRows);
}

uint16_t* allocate(int64_t elements) {
  const size_t bytes = (static_cast<size_t>(elements) * sizeof(uint16_t) + 63) / 64 * 64;
  auto* p = static_cast<uint16_t*>(std::aligned_alloc(64, bytes));
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

// Memory of a thread for what it packs.
struct Scratch {
  uint16_t* get(int64_t elements) {
    if (elements > size_) {
      std::free(data_);
      data_ = nullptr;
      size_ = 0;
      data_ = allocate(elements);
      size_ = elements;
    }
    return data_;
  }
  ~Scratch() { std::free(data_); }

 private:
  uint16_t* data_ = nullptr;
  int64_t size_ = 0;
};

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

void pack_rows(const View& a, float scale, int64_t rows, int64_t depth, uint16_t* out, uint16_t* rest) {
  avx512::pack_rows(a, scale, rows, depth, out, rest);
}

bool pack_panel(const View& b, int64_t columns, int64_t depth, uint16_t* out, uint16_t* rest) {
  return avx512::pack_panel(b, columns, depth, out, rest);
}

void multiply(Instructions with, const Terms& a, const Terms& panel, int64_t rows, int64_t columns, int64_t depth,
              bool accumulate, float* c, int64_t ldc) {
  (with == Instructions::amx ? amx::multiply : avx512::multiply)(a, panel, rows, columns, depth, accumulate, c, ldc);
}

PackedMatrix::PackedMatrix(const View& b, int64_t depth, int64_t columns)
    : b_(b),
      depth_(depth),
      columns_(columns),
      panels_((columns + kColumns - 1) / kColumns),
      main_(allocate(panels_ * panel_elements(depth))),
      // Pages that are never written take no memory.
      rest_(allocate(panels_ * panel_elements(depth))),
      states_(new std::atomic<uint8_t>[static_cast<size_t>(panels_)]()) {}

PackedMatrix::State PackedMatrix::ready(int64_t i) {
  std::atomic<uint8_t>& state = states_[static_cast<size_t>(i)];
  uint8_t seen = empty;
  if (state.compare_exchange_strong(seen, busy, std::memory_order_acquire)) {
    const View view{b_.at(0, i * kColumns), b_.ld, b_.transposed};
    const int64_t at = i * panel_elements(depth_);
    const bool any =
        pack_panel(view, std::min(kColumns, columns_ - i * kColumns), depth_, main_.get() + at, rest_.get() + at);
    state.store(any ? with_rest : exact, std::memory_order_release);
    return any ? with_rest : exact;
  }
  while (seen == busy) {
    std::this_thread::yield();
    seen = state.load(std::memory_order_acquire);
  }
  return static_cast<State>(seen);
}

void PackedMatrix::multiply_panel(Instructions with, int64_t i, int64_t from, int64_t depth, const Terms& a,
                                  int64_t rows, bool accumulate, float* c, int64_t ldc) {
  const State state = ready(i);
  const int64_t at = i * panel_elements(depth_) + panel_elements(from);
  const int64_t columns = std::min(kColumns, columns_ - i * kColumns);
  const Terms panel{main_.get() + at, state == with_rest ? rest_.get() + at : nullptr};
  multiply(with, a, panel, rows, columns, depth, accumulate, c, ldc);
}

namespace {

// Calls fn(row, rows, depth, depths, packed rows) for pieces of a that fit a cache, all depths of a row before the
// next.
template <typename Fn>
void for_packed_rows(const View& a, float scale, int64_t m, int64_t depth, const Fn& fn) {
  thread_local Scratch memory;
  const int64_t most = rows_at_once(std::min(depth, kMostDepth));
  for (int64_t i = 0; i < m; i += most) {
    const int64_t rows = std::min(most, m - i);
    for (int64_t k = 0; k < depth; k += kMostDepth) {
      const int64_t here = std::min(kMostDepth, depth - k);
      const int64_t elements = (rows + 2 * kRows) / kRows * block_elements(here);
      uint16_t* packed = memory.get(2 * elements);
      pack_rows({a.at(i, k), a.ld, a.transposed}, scale, rows, here, packed, packed + elements);
      fn(i, rows, k, here, Terms{packed, packed + elements});
    }
  }
}

}  // namespace

void product(Instructions with, float scale, const View& a, const View& b, int64_t m, int64_t n, int64_t depth,
             bool accumulate, float* c, int64_t ldc) {
  thread_local Scratch memory;
  for_packed_rows(a, scale, m, depth, [&](int64_t i, int64_t rows, int64_t k, int64_t here, const Terms& packed) {
    const int64_t elements = panel_elements(here);
    uint16_t* panel = memory.get(2 * elements);
    for (int64_t j = 0; j < n; j += kColumns) {
      const int64_t columns = std::min(kColumns, n - j);
      const bool any = pack_panel({b.at(k, j), b.ld, b.transposed}, columns, here, panel, panel + elements);
      multiply(with, packed, {panel, any ? panel + elements : nullptr}, rows, columns, here, accumulate || k > 0,
               c + i * ldc + j, ldc);
    }
  });
}

void product(Instructions with, const View& a, PackedMatrix* b, int64_t m, bool accumulate, float* c, int64_t ldc,
             FunctionRef<void()> poll) {
  const int64_t panels = b->panels();
  const auto thread = static_cast<int64_t>(std::hash<std::thread::id>{}(std::this_thread::get_id()) % 8192);
  const int64_t first = thread * panels / 8192;
  for_packed_rows(a, 1.0f, m, b->depth(), [&](int64_t i, int64_t rows, int64_t k, int64_t here, const Terms& packed) {
    for (int64_t j = 0; j < panels; ++j) {
      poll();
      const int64_t panel = (first + j) % panels;
      b->multiply_panel(with, panel, k, here, packed, rows, accumulate || k > 0, c + i * ldc + panel * kColumns, ldc);
    }
  });
}

}  // namespace lq::cpu::bf16
