#include "lm/kernels.h"

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"

namespace lq::lm {

const Kernels& kernels() {
  static const Kernels& chosen = cpu::table_for(cpu::isa(), baseline::table, avx2::table, avx512::table);
  return chosen;
}

void fill_rows(const float* bias, int64_t rows, int64_t n, float* y) {
  if (bias == nullptr) {
    std::fill_n(y, rows * n, 0.0f);
    return;
  }
  for (int64_t i = 0; i < rows; ++i) std::copy_n(bias, n, y + i * n);
}

double value(const LogSumExp& state) { return state.maximum + std::log(state.sum); }

}  // namespace lq::lm
