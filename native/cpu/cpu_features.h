#pragma once

namespace lq::cpu {

// Instruction sets that both the processor and the operating system support.
struct CpuFeatures {
  bool avx2;    // AVX2, FMA and F16C
  bool avx512;  // avx2, and AVX-512 F, BW, VL and DQ
  bool avx512_bf16;
  bool amx_bf16;  // with tiles
};

// Asks CPUID directly: the compilers' __builtin_cpu_supports needs a runtime that not every toolchain links into a
// shared library.
CpuFeatures cpu_features();

}  // namespace lq::cpu
