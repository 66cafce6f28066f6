#include "blocks.h"

#include <bit>
#include <cstring>

#include "convert.h"
#include "grids.h"
#include "threads.h"

namespace lq::cpu::gguf {
namespace {

uint16_t word(const uint8_t* p) { return static_cast<uint16_t>(p[0] | (p[1] << 8)); }
uint32_t dword(const uint8_t* p) { return word(p) | (static_cast<uint32_t>(word(p + 2)) << 16); }
float half(const uint8_t* p) { return from_f16(word(p)); }
int nibble(const uint8_t* codes, int i) { return i < 16 ? codes[i] & 15 : codes[i - 16] >> 4; }

// Products are formed in the order of ggml's reference, so that they round alike.

void q4_0(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(nibble(b + 2, i) - 8);
}

void q4_1(const uint8_t* b, float* out) {
  const float d = half(b), m = half(b + 2);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(nibble(b + 4, i)) + m;
}

void q5_0(const uint8_t* b, float* out) {
  const float d = half(b);
  const uint32_t high = dword(b + 2);
  for (int i = 0; i < 32; ++i) {
    out[i] = d * static_cast<float>((nibble(b + 6, i) | static_cast<int>(((high >> i) & 1) << 4)) - 16);
  }
}

void q5_1(const uint8_t* b, float* out) {
  const float d = half(b), m = half(b + 2);
  const uint32_t high = dword(b + 4);
  for (int i = 0; i < 32; ++i) {
    out[i] = d * static_cast<float>(nibble(b + 8, i) | static_cast<int>(((high >> i) & 1) << 4)) + m;
  }
}

void q8_0(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<int8_t>(b[2 + i])) * d;
}

void q2_k(const uint8_t* b, float* out) {
  const float d = half(b + 80), dmin = half(b + 82);
  for (int i = 0; i < 256; ++i) {
    const uint8_t scale = b[i / 16];
    const int h = i / 128, j = (i % 128) / 32, l = i % 32;
    const float dl = d * static_cast<float>(scale & 15), ml = dmin * static_cast<float>(scale >> 4);
    out[i] = dl * static_cast<float>((b[16 + 32 * h + l] >> (2 * j)) & 3) - ml;
  }
}

int q3_k_scale(const uint8_t* s, int j) {
  const int low = j < 8 ? s[j] & 15 : s[j - 8] >> 4;
  return (low | (((s[8 + j % 4] >> (2 * (j / 4))) & 3) << 4)) - 32;
}

void q3_k(const uint8_t* b, float* out) {
  const float d = half(b + 108);
  for (int i = 0; i < 256; ++i) {
    const int h = i / 128, j = (i % 128) / 32, l = i % 32;
    const float dl = d * static_cast<float>(q3_k_scale(b + 96, i / 16));
    const int high = (b[l] >> (4 * h + j)) & 1;
    out[i] = dl * static_cast<float>(((b[32 + 32 * h + l] >> (2 * j)) & 3) - (high ? 0 : 4));
  }
}

void q4_k(const uint8_t* b, float* out) {
  const float d = half(b), dmin = half(b + 2);
  for (int j = 0; j < 8; ++j) {
    const ScaleMin s = scale_min(b + 4, j);
    const float dl = d * static_cast<float>(s.scale), ml = dmin * static_cast<float>(s.minimum);
    const uint8_t* codes = b + 16 + 32 * (j / 2);
    for (int l = 0; l < 32; ++l) out[32 * j + l] = dl * static_cast<float>((codes[l] >> (4 * (j % 2))) & 15) - ml;
  }
}

void q5_k(const uint8_t* b, float* out) {
  const float d = half(b), dmin = half(b + 2);
  for (int j = 0; j < 8; ++j) {
    const ScaleMin s = scale_min(b + 4, j);
    const float dl = d * static_cast<float>(s.scale), ml = dmin * static_cast<float>(s.minimum);
    const uint8_t* codes = b + 48 + 32 * (j / 2);
    for (int l = 0; l < 32; ++l) {
      const int q = ((codes[l] >> (4 * (j % 2))) & 15) | (((b[16 + l] >> j) & 1) << 4);
      out[32 * j + l] = dl * static_cast<float>(q) - ml;
    }
  }
}

void q6_k(const uint8_t* b, float* out) {
  const float d = half(b + 208);
  for (int i = 0; i < 256; ++i) {
    const int h = i / 128, k = (i % 128) / 32, l = i % 32;
    const float dl = d * static_cast<float>(static_cast<int8_t>(b[192 + i / 16]));
    const int low = (b[64 * h + l + 32 * (k % 2)] >> (4 * (k / 2))) & 15;
    const int high = (b[128 + 32 * h + l] >> (2 * k)) & 3;
    out[i] = dl * static_cast<float>((low | (high << 4)) - 32);
  }
}

// Eight weights of a grid of two-bit indices.
void grid8(float scale, uint16_t row, uint8_t signs, float* out) {
  for (int i = 0; i < 8; ++i) {
    const float magnitude = scale * static_cast<float>(kIq2Magnitudes[(row >> (2 * i)) & 3]);
    out[i] = (signs >> i) & 1 ? -magnitude : magnitude;
  }
}

// Four weights of a grid of three-bit indices.
void grid4(float scale, uint16_t row, const uint8_t* magnitudes, uint8_t signs, float* out) {
  for (int i = 0; i < 4; ++i) {
    const float magnitude = scale * static_cast<float>(magnitudes[(row >> (3 * i)) & 7]);
    out[i] = (signs >> i) & 1 ? -magnitude : magnitude;
  }
}

void iq2_xxs(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int g = 0; g < 8; ++g) {
    const uint8_t* codes = b + 2 + 8 * g;
    const uint32_t rest = dword(codes + 4);
    const float scale = d * (0.5f + static_cast<float>(rest >> 28)) * 0.25f;
    for (int k = 0; k < 4; ++k) {
      grid8(scale, kIq2XxsGrid[codes[k]], even_signs(rest >> (7 * k)), out + 32 * g + 8 * k);
    }
  }
}

void iq2_xs(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int k = 0; k < 32; ++k) {
    const uint16_t code = word(b + 2 + 2 * k);
    const int s = (b[66 + k / 4] >> (4 * ((k / 2) % 2))) & 15;
    grid8(d * (0.5f + static_cast<float>(s)) * 0.25f, kIq2XsGrid[code & 511], even_signs(code >> 9), out + 8 * k);
  }
}

void iq2_s(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int k = 0; k < 32; ++k) {
    const int row = b[2 + k] | (((b[66 + k / 4] >> (2 * (k % 4))) & 3) << 8);
    const int s = (b[74 + k / 4] >> (4 * ((k / 2) % 2))) & 15;
    grid8(d * (0.5f + static_cast<float>(s)) * 0.25f, kIq2SGrid[row], b[34 + k], out + 8 * k);
  }
}

void iq3_xxs(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int g = 0; g < 8; ++g) {
    const uint32_t rest = dword(b + 66 + 4 * g);
    const float scale = d * (0.5f + static_cast<float>(rest >> 28)) * 0.5f;
    for (int k = 0; k < 8; ++k) {
      const uint8_t signs = static_cast<uint8_t>(even_signs(rest >> (7 * (k / 2))) >> (4 * (k % 2)));
      grid4(scale, kIq3XxsGrid[b[2 + 8 * g + k]], kIq3XxsMagnitudes, signs, out + 32 * g + 4 * k);
    }
  }
}

void iq3_s(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int k = 0; k < 64; ++k) {
    const int row = b[2 + k] | (((b[66 + k / 8] >> (k % 8)) & 1) << 8);
    const int s = (b[106 + k / 16] >> (4 * ((k / 8) % 2))) & 15;
    const uint8_t signs = static_cast<uint8_t>(b[74 + k / 2] >> (4 * (k % 2)));
    grid4(d * static_cast<float>(1 + 2 * s), kIq3SGrid[row], kIq3SMagnitudes, signs, out + 4 * k);
  }
}

void grid1(float scale, uint16_t row, float delta, float* out) {
  for (int i = 0; i < 8; ++i) out[i] = scale * (static_cast<float>(kIq1Values[(row >> (2 * i)) & 3]) + delta);
}

void iq1_s(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int g = 0; g < 8; ++g) {
    const uint16_t high = word(b + 34 + 2 * g);
    const float scale = d * static_cast<float>(2 * ((high >> 12) & 7) + 1);
    const float delta = high & 0x8000 ? -0.125f : 0.125f;
    for (int k = 0; k < 4; ++k) {
      grid1(scale, kIq1SGrid[b[2 + 4 * g + k] | (((high >> (3 * k)) & 7) << 8)], delta, out + 32 * g + 8 * k);
    }
  }
}

void iq1_m(const uint8_t* b, float* out) {
  const uint8_t* s = b + 48;
  const float d = from_f16(static_cast<uint16_t>((word(s) >> 12) | ((word(s + 2) >> 8) & 0x00f0) |
                                                 ((word(s + 4) >> 4) & 0x0f00) | (word(s + 6) & 0xf000)));
  for (int k = 0; k < 32; ++k) {
    const float scale = d * static_cast<float>(2 * ((word(s + 2 * (k / 8)) >> (3 * ((k / 2) % 4))) & 7) + 1);
    const int high = b[32 + k / 2] >> (4 * (k % 2));
    grid1(scale, kIq1SGrid[b[k] | ((high & 7) << 8)], high & 8 ? -0.125f : 0.125f, out + 8 * k);
  }
}

void iq4_nl(const uint8_t* b, float* out) {
  const float d = half(b);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kIq4Values[nibble(b + 2, i)]);
}

void iq4_xs(const uint8_t* b, float* out) {
  const float d = half(b);
  const uint16_t high = word(b + 2);
  for (int g = 0; g < 8; ++g) {
    const int s = (((b[4 + g / 2] >> (4 * (g % 2))) & 15) | (((high >> (2 * g)) & 3) << 4)) - 32;
    const float dl = d * static_cast<float>(s);
    for (int i = 0; i < 32; ++i) out[32 * g + i] = dl * static_cast<float>(kIq4Values[nibble(b + 8 + 16 * g, i)]);
  }
}

// Trit n of a byte that holds up to five, most significant first.
float trit(float d, uint8_t byte, int n) {
  constexpr uint8_t kPowers[5] = {1, 3, 9, 27, 81};
  const auto shifted = static_cast<uint8_t>(byte * kPowers[n]);
  return d * static_cast<float>(((shifted * 3) >> 8) - 1);
}

void tq1_0(const uint8_t* b, float* out) {
  const float d = half(b + 52);
  for (int i = 0; i < 160; ++i) out[i] = trit(d, b[i % 32], i / 32);
  for (int i = 0; i < 80; ++i) out[160 + i] = trit(d, b[32 + i % 16], i / 16);
  for (int i = 0; i < 16; ++i) out[240 + i] = trit(d, b[48 + i % 4], i / 4);
}

void tq2_0(const uint8_t* b, float* out) {
  const float d = half(b + 64);
  for (int i = 0; i < 256; ++i) {
    const int h = i / 128, j = (i % 128) / 32, l = i % 32;
    out[i] = d * static_cast<float>(((b[32 * h + l] >> (2 * j)) & 3) - 1);
  }
}

void mxfp4(const uint8_t* b, float* out) {
  const float d = e8m0_half(b[0]);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kFp4Values[nibble(b + 1, i)]);
}

// Unsigned E4M3, halved for the doubled FP4 values; 0x7f is 0.
float ue4m3_half(uint8_t x) {
  if (x == 0 || x == 0x7f) return 0;
  const int exponent = (x >> 3) & 15, mantissa = x & 7;
  const float value = exponent == 0 ? static_cast<float>(mantissa) * 0x1p-9f
                                    : (1.0f + static_cast<float>(mantissa) / 8.0f) *
                                          std::bit_cast<float>(static_cast<uint32_t>(exponent - 7 + 127) << 23);
  return value * 0.5f;
}

void nvfp4(const uint8_t* b, float* out) {
  for (int g = 0; g < 4; ++g) {
    const float d = ue4m3_half(b[g]);
    for (int i = 0; i < 16; ++i) {
      const uint8_t byte = b[4 + 8 * g + i % 8];
      out[16 * g + i] = d * static_cast<float>(kFp4Values[i < 8 ? byte & 15 : byte >> 4]);
    }
  }
}

void f16(const uint8_t* b, float* out) { *out = half(b); }
void bf16(const uint8_t* b, float* out) { *out = from_bf16(word(b)); }

constexpr BlockFormat kFormats[] = {
    {BlockType::Q4_0, "Q4_0", 32, 18, q4_0},
    {BlockType::Q4_1, "Q4_1", 32, 20, q4_1},
    {BlockType::Q5_0, "Q5_0", 32, 22, q5_0},
    {BlockType::Q5_1, "Q5_1", 32, 24, q5_1},
    {BlockType::Q8_0, "Q8_0", 32, 34, q8_0},
    {BlockType::Q2_K, "Q2_K", 256, 84, q2_k},
    {BlockType::Q3_K, "Q3_K", 256, 110, q3_k},
    {BlockType::Q4_K, "Q4_K", 256, 144, q4_k},
    {BlockType::Q5_K, "Q5_K", 256, 176, q5_k},
    {BlockType::Q6_K, "Q6_K", 256, 210, q6_k},
    {BlockType::IQ2_XXS, "IQ2_XXS", 256, 66, iq2_xxs},
    {BlockType::IQ2_XS, "IQ2_XS", 256, 74, iq2_xs},
    {BlockType::IQ2_S, "IQ2_S", 256, 82, iq2_s},
    {BlockType::IQ3_XXS, "IQ3_XXS", 256, 98, iq3_xxs},
    {BlockType::IQ3_S, "IQ3_S", 256, 110, iq3_s},
    {BlockType::IQ1_S, "IQ1_S", 256, 50, iq1_s},
    {BlockType::IQ1_M, "IQ1_M", 256, 56, iq1_m},
    {BlockType::IQ4_NL, "IQ4_NL", 32, 18, iq4_nl},
    {BlockType::IQ4_XS, "IQ4_XS", 256, 136, iq4_xs},
    {BlockType::TQ1_0, "TQ1_0", 256, 54, tq1_0},
    {BlockType::TQ2_0, "TQ2_0", 256, 66, tq2_0},
    {BlockType::MXFP4, "MXFP4", 32, 17, mxfp4},
    {BlockType::NVFP4, "NVFP4", 64, 36, nvfp4},
    {BlockType::F16, "F16", 1, 2, f16},
    {BlockType::BF16, "BF16", 1, 2, bf16},
};

}  // namespace

float e8m0_half(uint8_t exponent) {
  const uint32_t bits = exponent < 2 ? uint32_t{0x00200000} << exponent : static_cast<uint32_t>(exponent - 1) << 23;
  return std::bit_cast<float>(bits);
}

const BlockFormat* find_format(std::string_view name) {
  for (const BlockFormat& format : kFormats) {
    if (name == format.name) return &format;
  }
  return nullptr;
}

const BlockFormat& format_of(BlockType type) { return kFormats[static_cast<int32_t>(type)]; }

void decode(const BlockFormat& format, const uint8_t* in, int64_t blocks, float* out) {
  parallel_for(0, blocks, 64, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) format.decode(in + i * format.bytes, out + i * format.weights);
  });
}

}  // namespace lq::cpu::gguf
