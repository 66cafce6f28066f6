#include "cpu_features.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lq::cpu {

#if defined(__x86_64__)

namespace {

// XCR0: which registers the operating system saves on a context switch.
uint64_t enabled_state() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

constexpr bool has(uint64_t value, uint64_t bits) { return (value & bits) == bits; }

}  // namespace

CpuFeatures cpu_features() {
  constexpr uint32_t kLeaf1Avx2 = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
  constexpr uint32_t kLeaf7Avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
  constexpr uint64_t kYmmState = 0x06;  // SSE and AVX registers
  constexpr uint64_t kZmmState = 0xe6;  // those, the mask registers and the upper halves of all 32
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, kLeaf1Avx2)) return {};
  const uint64_t state = enabled_state();
  if (!has(state, kYmmState) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, bit_AVX2)) return {};
  constexpr uint32_t kLeaf7Amx = 1u << 22 | 1u << 24;  // AMX-BF16 and AMX-TILE, in EDX
  constexpr uint32_t kSubleafBf16 = 1u << 5;           // AVX512-BF16, in EAX of subleaf 1
  constexpr uint64_t kTileState = 0x60000;             // the tiles' configuration and data
  CpuFeatures found{.avx2 = true,
                    .avx512 = has(state, kZmmState) && has(b, kLeaf7Avx512),
                    .avx512_bf16 = false,
                    .amx_bf16 = has(state, kTileState) && has(d, kLeaf7Amx)};
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) found.avx512_bf16 = found.avx512 && has(a, kSubleafBf16);
  return found;
}

#else

CpuFeatures cpu_features() { return {}; }

#endif

}  // namespace lq::cpu
