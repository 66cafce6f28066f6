#include "kernels/kernels.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "cpu_features.h"

namespace lq::cpu {

BookTable make_table(const CodeBook& book) {
  BookTable t{};
  t.bits = book.bits;
  const int32_t count = 1 << book.bits;
  for (float& threshold : t.thresholds) threshold = std::numeric_limits<float>::infinity();
  for (int32_t i = 0; i < count; ++i) {
    t.levels[i] = book.levels[i];
    if (i + 1 < count) {
      t.thresholds[i] = static_cast<float>((static_cast<double>(book.levels[i]) + book.levels[i + 1]) / 2);
    }
    if (std::abs(book.levels[i]) < std::abs(book.levels[t.zero])) t.zero = i;
  }
  return t;
}

Isa isa() {
  static const Isa chosen = [] {
    const CpuFeatures features = cpu_features();
    const Isa best = features.avx512 ? Isa::avx512 : features.avx2 ? Isa::avx2 : Isa::baseline;
    const char* limit = std::getenv("LQ_ISA");
    if (limit != nullptr && std::strcmp(limit, "baseline") == 0) return Isa::baseline;
    if (limit != nullptr && std::strcmp(limit, "avx2") == 0 && best == Isa::avx512) return Isa::avx2;
    return best;
  }();
  return chosen;
}

const Kernels& kernels(Isa isa) { return table_for(isa, baseline::table, avx2::table, avx512::table); }

const Kernels& kernels() {
  static const Kernels& chosen = kernels(isa());
  return chosen;
}

}  // namespace lq::cpu
