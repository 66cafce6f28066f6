// The block types of GGUF: their sizes and values.
//
// Layouts are those of ggml (ggml/src/ggml-common.h, ggml-quants.c); every decoder is held bit for bit against the
// `gguf` package in test/interop. A row is a whole number of blocks; blocks follow one another without gaps.
#pragma once

#include <cstdint>
#include <string_view>

namespace lq::cpu::gguf {

enum class BlockType : int32_t {
  Q4_0,
  Q4_1,
  Q5_0,
  Q5_1,
  Q8_0,
  Q2_K,
  Q3_K,
  Q4_K,
  Q5_K,
  Q6_K,
  IQ2_XXS,
  IQ2_XS,
  IQ2_S,
  IQ3_XXS,
  IQ3_S,
  IQ1_S,
  IQ1_M,
  IQ4_NL,
  IQ4_XS,
  TQ1_0,
  TQ2_0,
  MXFP4,
  NVFP4,
  F16,  // a weight each
  BF16,
};

struct BlockFormat {
  BlockType type;
  const char* name;  // as ggml prints it
  int32_t weights;   // of one block
  int32_t bytes;
  void (*decode)(const uint8_t* block, float* out);
};

// Null when the type is unknown or its values cannot be read.
const BlockFormat* find_format(std::string_view name);
const BlockFormat& format_of(BlockType type);

// Decodes `blocks` consecutive blocks.
void decode(const BlockFormat& format, const uint8_t* in, int64_t blocks, float* out);

// The value of an E8M0 exponent, halved as ggml does because its FP4 values are doubled.
float e8m0_half(uint8_t exponent);

// Eight signs from seven bits: the eighth makes their number even.
constexpr uint8_t even_signs(uint32_t seven) {
  uint32_t parity = seven & 0x7fu;
  parity ^= parity >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return static_cast<uint8_t>((seven & 0x7fu) | ((parity & 1u) << 7));
}

// (scale, minimum) j of the eight pairs of 6 bits in the 12 bytes of Q4_K and Q5_K.
struct ScaleMin {
  uint8_t scale, minimum;
};
inline ScaleMin scale_min(const uint8_t* b, int j) {
  if (j < 4) return {static_cast<uint8_t>(b[j] & 63), static_cast<uint8_t>(b[j + 4] & 63)};
  return {static_cast<uint8_t>((b[j + 4] & 15) | ((b[j - 4] >> 6) << 4)),
          static_cast<uint8_t>((b[j + 4] >> 4) | ((b[j] >> 6) << 4))};
}

}  // namespace lq::cpu::gguf
