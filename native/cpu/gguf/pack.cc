#include "gguf/pack.h"

#include <bit>
#include <cstring>

#include "convert.h"
#include "gguf/grids.h"

namespace lq::cpu::gguf {
namespace {

void put_half(float x, uint8_t* out) {
  const uint16_t bits = to_f16(x);
  out[0] = static_cast<uint8_t>(bits);
  out[1] = static_cast<uint8_t>(bits >> 8);
}

void put_dword(uint32_t x, uint8_t* out) {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<uint8_t>(x >> (8 * i));
}

// 32 codes of four bits: the low halves of 16 bytes, then the high ones.
void put_nibbles(const uint8_t* code, uint8_t* out) {
  for (int i = 0; i < 16; ++i) out[i] = static_cast<uint8_t>((code[i] & 15) | ((code[i + 16] & 15) << 4));
}

uint32_t fifth_bits(const uint8_t* code) {
  uint32_t high = 0;
  for (int i = 0; i < 32; ++i) high |= static_cast<uint32_t>(code[i] >> 4) << i;
  return high;
}

// 256 codes, their two lowest bits.
void put_pairs(const uint8_t* code, uint8_t* out) {
  std::memset(out, 0, 64);
  for (int i = 0; i < 256; ++i) {
    const int h = i / 128, j = (i % 128) / 32, l = i % 32;
    out[32 * h + l] = static_cast<uint8_t>(out[32 * h + l] | ((code[i] & 3) << (2 * j)));
  }
}

// Eight (scale, minimum) pairs of six bits.
void put_scale_mins(const int32_t* scale, const int32_t* minimum, uint8_t* b) {
  std::memset(b, 0, 12);
  for (int j = 0; j < 4; ++j) {
    b[j] = static_cast<uint8_t>(scale[j] | ((scale[j + 4] >> 4) << 6));
    b[j + 4] = static_cast<uint8_t>(minimum[j] | ((minimum[j + 4] >> 4) << 6));
    b[j + 8] = static_cast<uint8_t>((scale[j + 4] & 15) | ((minimum[j + 4] & 15) << 4));
  }
}

void put_q4_k_codes(const uint8_t* code, uint8_t* out) {
  for (int c = 0; c < 4; ++c) {
    for (int l = 0; l < 32; ++l) {
      out[32 * c + l] = static_cast<uint8_t>((code[64 * c + l] & 15) | ((code[64 * c + 32 + l] & 15) << 4));
    }
  }
}

}  // namespace

void pack(BlockType type, const ScalarBlock& s, uint8_t* out) {
  switch (type) {
    case BlockType::Q4_0:
    case BlockType::IQ4_NL:
      put_half(s.d, out);
      return put_nibbles(s.code, out + 2);
    case BlockType::Q4_1:
      put_half(s.d, out);
      put_half(-s.dmin, out + 2);
      return put_nibbles(s.code, out + 4);
    case BlockType::Q5_0:
      put_half(s.d, out);
      put_dword(fifth_bits(s.code), out + 2);
      return put_nibbles(s.code, out + 6);
    case BlockType::Q5_1:
      put_half(s.d, out);
      put_half(-s.dmin, out + 2);
      put_dword(fifth_bits(s.code), out + 4);
      return put_nibbles(s.code, out + 8);
    case BlockType::Q8_0:
      put_half(s.d, out);
      for (int i = 0; i < 32; ++i) out[2 + i] = static_cast<uint8_t>(s.code[i] - 128);
      return;
    case BlockType::MXFP4: {
      // The exponent of a power of two that e8m0_half halves.
      out[0] = static_cast<uint8_t>((std::bit_cast<uint32_t>(s.d) >> 23) + 1);
      uint8_t code[32];
      // Codes ascend from -12 to 12 in steps of the fifteen values; the format's are sign and magnitude.
      for (int i = 0; i < 32; ++i) code[i] = static_cast<uint8_t>(s.code[i] < 7 ? 15 - s.code[i] : s.code[i] - 7);
      return put_nibbles(code, out + 1);
    }
    case BlockType::Q2_K:
      for (int j = 0; j < 16; ++j) out[j] = static_cast<uint8_t>(s.scale[j] | (s.minimum[j] << 4));
      put_pairs(s.code, out + 16);
      put_half(s.d, out + 80);
      return put_half(s.dmin, out + 82);
    case BlockType::Q3_K: {
      std::memset(out, 0, 110);
      for (int i = 0; i < 256; ++i) {
        const int h = i / 128, j = (i % 128) / 32, l = i % 32;
        out[l] = static_cast<uint8_t>(out[l] | ((s.code[i] >> 2) << (4 * h + j)));
      }
      put_pairs(s.code, out + 32);
      uint8_t* b = out + 96;
      for (int j = 0; j < 16; ++j) {
        const int v = s.scale[j] + 32;
        b[j % 8] = static_cast<uint8_t>(b[j % 8] | ((v & 15) << (j < 8 ? 0 : 4)));
        b[8 + j % 4] = static_cast<uint8_t>(b[8 + j % 4] | ((v >> 4) << (2 * (j / 4))));
      }
      return put_half(s.d, out + 108);
    }
    case BlockType::Q4_K:
      put_half(s.d, out);
      put_half(s.dmin, out + 2);
      put_scale_mins(s.scale, s.minimum, out + 4);
      return put_q4_k_codes(s.code, out + 16);
    case BlockType::Q5_K:
      put_half(s.d, out);
      put_half(s.dmin, out + 2);
      put_scale_mins(s.scale, s.minimum, out + 4);
      std::memset(out + 16, 0, 32);
      for (int i = 0; i < 256; ++i) {
        out[16 + i % 32] = static_cast<uint8_t>(out[16 + i % 32] | ((s.code[i] >> 4) << (i / 32)));
      }
      return put_q4_k_codes(s.code, out + 48);
    case BlockType::Q6_K:
      std::memset(out, 0, 192);
      for (int i = 0; i < 256; ++i) {
        const int h = i / 128, k = (i % 128) / 32, l = i % 32;
        uint8_t& low = out[64 * h + l + 32 * (k % 2)];
        uint8_t& high = out[128 + 32 * h + l];
        low = static_cast<uint8_t>(low | ((s.code[i] & 15) << (4 * (k / 2))));
        high = static_cast<uint8_t>(high | ((s.code[i] >> 4) << (2 * k)));
      }
      for (int j = 0; j < 16; ++j) out[192 + j] = static_cast<uint8_t>(s.scale[j]);
      return put_half(s.d, out + 208);
    case BlockType::IQ4_XS: {
      put_half(s.d, out);
      std::memset(out + 2, 0, 6);
      for (int g = 0; g < 8; ++g) {
        const int v = s.scale[g] + 32;
        out[4 + g / 2] = static_cast<uint8_t>(out[4 + g / 2] | ((v & 15) << (4 * (g % 2))));
        out[2 + g / 4] = static_cast<uint8_t>(out[2 + g / 4] | ((v >> 4) << (2 * (g % 4))));
        put_nibbles(s.code + 32 * g, out + 8 + 16 * g);
      }
      return;
    }
    default:
      return;
  }
}

void pack(BlockType type, const GridBlock& s, uint8_t* out) {
  put_half(s.d, out);
  switch (type) {
    case BlockType::IQ2_XXS:
      for (int g = 0; g < 8; ++g) {
        uint32_t rest = static_cast<uint32_t>(s.scale[g]) << 28;
        for (int k = 0; k < 4; ++k) {
          out[2 + 8 * g + k] = static_cast<uint8_t>(s.row[4 * g + k]);
          rest |= static_cast<uint32_t>(s.signs[4 * g + k] & 127) << (7 * k);
        }
        put_dword(rest, out + 2 + 8 * g + 4);
      }
      return;
    case BlockType::IQ2_XS:
      for (int k = 0; k < 32; ++k) {
        const int code = s.row[k] | ((s.signs[k] & 127) << 9);
        out[2 + 2 * k] = static_cast<uint8_t>(code);
        out[3 + 2 * k] = static_cast<uint8_t>(code >> 8);
      }
      for (int j = 0; j < 8; ++j) out[66 + j] = static_cast<uint8_t>(s.scale[2 * j] | (s.scale[2 * j + 1] << 4));
      return;
    case BlockType::IQ2_S:
      std::memset(out + 66, 0, 8);
      for (int k = 0; k < 32; ++k) {
        out[2 + k] = static_cast<uint8_t>(s.row[k]);
        out[34 + k] = s.signs[k];
        out[66 + k / 4] = static_cast<uint8_t>(out[66 + k / 4] | ((s.row[k] >> 8) << (2 * (k % 4))));
      }
      for (int j = 0; j < 8; ++j) out[74 + j] = static_cast<uint8_t>(s.scale[2 * j] | (s.scale[2 * j + 1] << 4));
      return;
    case BlockType::IQ3_XXS:
      for (int g = 0; g < 8; ++g) {
        uint32_t rest = static_cast<uint32_t>(s.scale[g]) << 28;
        for (int k = 0; k < 8; ++k) out[2 + 8 * g + k] = static_cast<uint8_t>(s.row[8 * g + k]);
        for (int k = 0; k < 4; ++k) rest |= static_cast<uint32_t>(s.signs[4 * g + k] & 127) << (7 * k);
        put_dword(rest, out + 66 + 4 * g);
      }
      return;
    case BlockType::IQ3_S:
      std::memset(out + 66, 0, 8);
      for (int k = 0; k < 64; ++k) {
        out[2 + k] = static_cast<uint8_t>(s.row[k]);
        out[66 + k / 8] = static_cast<uint8_t>(out[66 + k / 8] | ((s.row[k] >> 8) << (k % 8)));
      }
      std::memcpy(out + 74, s.signs, 32);
      for (int j = 0; j < 4; ++j) out[106 + j] = static_cast<uint8_t>(s.scale[2 * j] | (s.scale[2 * j + 1] << 4));
      return;
    default:
      return;
  }
}

}  // namespace lq::cpu::gguf
