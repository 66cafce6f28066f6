#include "encode/exl3.h"

#include <cstring>

#include "convert.h"

namespace lq::cpu {
namespace {

float half_of(uint32_t bits) { return from_f16(static_cast<uint16_t>(bits & 0xFFFF)); }

float sum_of_halves(uint32_t x) {
  x = (x & 0x8FFF8FFFu) ^ 0x3B603B60u;
  // Exact in fp32: exponents differ by less than 4.
  return from_f16(to_f16(half_of(x) + half_of(x >> 16)));
}

float sum_of_bytes(uint32_t x) {
  const uint32_t sum = 1024 + (x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24);
  // Exact in fp32 before it is rounded to fp16: a multiple of 2^-18 below 16.
  return from_f16(to_f16(static_cast<float>(sum) * half_of(0x1EEE) + half_of(0xC931)));
}

uint32_t load_word(const uint8_t* tile, int64_t index) {
  const uint8_t* b = tile + 4 * index;
  return static_cast<uint32_t>(b[0]) | static_cast<uint32_t>(b[1]) << 8 | static_cast<uint32_t>(b[2]) << 16 |
         static_cast<uint32_t>(b[3]) << 24;
}

}  // namespace

std::vector<float> exl3_values(Exl3Code code) {
  std::vector<float> values(size_t{1} << 16);
  for (uint32_t s = 0; s < values.size(); ++s) {
    switch (code) {
      case Exl3Code::inst3:
        values[s] = sum_of_halves(s * 89226354u + 64248484u);
        break;
      case Exl3Code::mcg:
        values[s] = sum_of_halves(s * 0xCBAC1FEDu);
        break;
      case Exl3Code::mul1:
        values[s] = sum_of_bytes(s * 0x83DCD12Du);
        break;
    }
  }
  return values;
}

void exl3_pack(const uint16_t* symbols, int32_t bits, uint8_t* tile) {
  uint64_t filled = 0;
  int32_t count = 0;
  for (int64_t t = 0; t < kExl3Tile; ++t) {
    filled = filled << bits | symbols[t];
    count += bits;
    if (count < 32) continue;
    count -= 32;
    const uint32_t word = static_cast<uint32_t>(filled >> count);
    for (int32_t i = 0; i < 4; ++i) *tile++ = static_cast<uint8_t>(word >> (8 * i));
  }
}

void exl3_states(const uint8_t* tile, int32_t bits, uint16_t* states) {
  const int64_t words = 8 * bits;
  // The bits before the first are the last.
  uint64_t window = load_word(tile, words - 1);
  int64_t next = 0;
  int32_t ahead = 0;  // bits of the window beyond the current weight's
  for (int64_t t = 0; t < kExl3Tile; ++t) {
    if (ahead < bits) {
      window = window << 32 | load_word(tile, next++);
      ahead += 32;
    }
    ahead -= bits;
    states[t] = static_cast<uint16_t>(window >> ahead);
  }
}

void hadamard_down(float* block, int64_t cols) {
  for (int64_t h = 1; h < kTwoSidedBlock; h *= 2) {
    for (int64_t p = 0; p < kTwoSidedBlock; ++p) {
      if ((p & h) != 0) continue;
      float *low = block + p * cols, *high = low + h * cols;
      for (int64_t j = 0; j < cols; ++j) {
        const float u = low[j], v = high[j];
        low[j] = u + v;
        high[j] = u - v;
      }
    }
  }
}

}  // namespace lq::cpu
