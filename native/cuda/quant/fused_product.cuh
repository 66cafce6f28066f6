// Where everything lies in the kernel of fused_product.cu.
//
// W is the left operand of mma.m16n8k16, x the right one. Which 16 columns make one mma is free as long as both
// operands agree, so it is chosen for the codes: lane 4 g + q of a warp (row g and row g + 8 of its 16 rows, token g of
// an eight) takes a run of `block / 4` neighbouring columns of each block, in fours, one four an mma. So all 16 columns
// of an mma are of one block, its sums are of levels alone, and the block's scale multiplies 4 sums instead of 64
// weights.
//
// Columns are counted in stages of 128, of two units of 64; a unit is four mmas, in two halves. What a lane takes of a
// half, two fours, is called its eight: eight codes in one word, eight columns of x in 16 bytes.
#pragma once

#include <cstdint>

#include "lm/mma.cuh"

namespace lq::cuda {

constexpr int kStageColumns = 128;
constexpr int kTileRows = 128;  // of W, eight warps of 16
constexpr int kFusedThreads = 256;
// 32-bit words from row to row of a stage's codes, which are 4 bits' worth of them. Chosen so that eight rows meet
// different banks.
__host__ __device__ constexpr int code_pitch(int bits) { return bits == 4 ? 20 : 12; }

// Limited by registers for sums.
__host__ __device__ constexpr int blocks_a_multiprocessor(int token_tiles) { return token_tiles <= 4 ? 2 : 1; }

// First column of the two fours of an eight, in its unit.
template <int Block>
__host__ __device__ constexpr int column_of_four(int half, int q, int four) {
  return Block == 64   ? 16 * q + 8 * half + 4 * four
         : Block == 32 ? 32 * half + 8 * q + 4 * four
                       : 32 * half + 16 * four + 4 * q;
}

// The eights of a unit from a stage's row of codes: code i in bits [i * Bits, (i + 1) * Bits), rubbish above the last.
// May read one word past the row.
template <int Bits, int Block>
__device__ inline void load_eights(const uint32_t* row, int unit, int q, uint32_t (&eights)[2]) {
  if constexpr (Block == 64) {
    if constexpr (Bits == 2) {
      eights[0] = row[unit * 4 + q];
      eights[1] = eights[0] >> 16;
    } else if constexpr (Bits == 3) {
      // 48 bits from bit 48 q of the unit's 6 words on.
      const uint32_t* word = row + unit * 6 + q * 3 / 2;
      const int shift = q % 2 * 16;
      const uint32_t low = __funnelshift_r(word[0], word[1], shift);
      eights[0] = low;
      eights[1] = __funnelshift_r(low, word[1] >> shift, 24);
    } else {
      const uint2 both = *reinterpret_cast<const uint2*>(row + unit * 8 + q * 2);
      eights[0] = both.x;
      eights[1] = both.y;
    }
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if constexpr (Block == 32) {
        const int bit = (unit * 64 + column_of_four<Block>(half, q, 0)) * Bits;
        if constexpr (Bits == 2) {
          eights[half] = reinterpret_cast<const uint16_t*>(row)[bit / 16];
        } else if constexpr (Bits == 3) {
          eights[half] = __funnelshift_r(row[bit / 32], row[bit / 32 + 1], bit % 32);
        } else {
          eights[half] = row[bit / 32];
        }
      } else {
        uint32_t fours[2];
#pragma unroll
        for (int four = 0; four < 2; ++four) {
          const int bit = (unit * 64 + column_of_four<Block>(half, q, four)) * Bits;
          if constexpr (Bits == 2) {
            fours[four] = reinterpret_cast<const uint8_t*>(row)[bit / 8];
          } else if constexpr (Bits == 3) {
            fours[four] = __funnelshift_r(row[bit / 32], row[bit / 32 + 1], bit % 32) & 0xfffu;
          } else {
            fours[four] = reinterpret_cast<const uint16_t*>(row)[bit / 16];
          }
        }
        eights[half] = fours[0] | fours[1] << (4 * Bits);
      }
    }
  }
}

// Levels of pairs of codes, bf16x2, a copy a lane so that no two lanes meet in a bank: entry `pair` of lane l is word
// pair * 32 + l of the table at the start of shared memory.
template <int Bits>
__device__ inline uint32_t levels_of_pair(const unsigned char* table, uint32_t eight, int pair, uint32_t lane_bytes) {
  constexpr uint32_t kMask = ((1u << 2 * Bits) - 1) << 7;
  const int shift = 2 * Bits * pair - 7;
  const uint32_t entry = (shift >= 0 ? eight >> (shift >= 0 ? shift : 0) : eight << (shift < 0 ? -shift : 0)) & kMask;
  return *reinterpret_cast<const uint32_t*>(table + (entry | lane_bytes));
}

// Bytes of shared memory of a block, and how many stages are under way at once.
template <int Bits, int TokenTiles>
struct FusedLayout {
  static constexpr int kTableBytes = 128 << 2 * Bits;
  static constexpr int kCodeBytes = kTileRows * code_pitch(Bits) * 4;
  static constexpr int kScaleBytes =
      kFusedThreads * 12;  // of each lane: two words of scale fields, one of group maxima
  static constexpr int kTokens = 8 * TokenTiles;
  static constexpr int kActivationBytes = kTokens * kStageColumns * 2;
  static constexpr int kStageBytes = kCodeBytes + kScaleBytes + kActivationBytes;
  // 96 KB: what every architecture has, and two blocks on those with twice as much.
  static constexpr int kFit = (96 * 1024 - kTableBytes) / kStageBytes;
  static constexpr int kStages = kFit < 8 ? kFit : 8;
  static constexpr int kBytes = kTableBytes + kStages * kStageBytes;
  static_assert(kStages >= 2 && kCodeBytes % 16 == 0 && kScaleBytes % 16 == 0);
};

}  // namespace lq::cuda
