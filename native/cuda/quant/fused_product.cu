// x W' for W = Q + L1 L2 as it is stored: out = x Q' + (x L2') L1', in bf16 with fp32 sums.
//
// The memory plan. Q is never made dense: a block of threads streams its 128 rows of codes, 2 to 4 bits a weight, from
// global into shared memory, 128 columns a stage, with the fields of their scales and the activations of the same
// columns. A ring of two to eight stages (as many as 96 KB hold beside the table of levels, so that every architecture
// takes one block and large ones two) is under way at once: the copies are asynchronous, and a stage is refilled as
// soon as every warp is through with it. From there a code goes to registers, through the table (a copy of it a lane,
// so that no two meet in a bank) into the left operand of an mma, and no further. Sums stay in registers until the row
// is finished.
//
// The low-rank part goes first, in a launch of its own: x L2' is [tokens, rank], tens of kilobytes in a buffer that the
// workspace keeps. The second launch may begin while it runs and waits for it only where it reads it.
//
// A matrix has fewer row tiles than a large device has multiprocessors, so the columns are split until all are busy.
// Each split leaves fp32 sums in the workspace, and the one that comes last, which a counter a tile tells, adds them up
// in the order of the splits: the result does not depend on who comes when. Sums, counters and x L2' grow to the
// largest product seen and are kept; nothing else is allocated.
//
// Where everything lies inside of a stage and a warp is told in fused_product.cuh.
#include <algorithm>

#include "quant/fused_product.cuh"
#include "quant/fused_product.h"
#include "quant/product_steps.cuh"

namespace lq::cuda {
namespace {

// --- x L2' ---------------------------------------------------------------------------------------------------------

constexpr int kProjectWarps = 16;

// Factors are multiplied in the columns' own order, 32 a step: lane 4 g + q takes eight neighbours, four an mma.
__device__ inline void multiply_eights(float (&sums)[4], const uint4& upper, const uint4& lower, const uint4& right) {
  multiply_add_bf16(sums, {upper.x, lower.x, upper.y, lower.y}, right.x, right.y);
  multiply_add_bf16(sums, {upper.z, lower.z, upper.w, lower.w}, right.z, right.w);
}

// out [tokens, rank] = x l2', 16 of the rank and 8 tokens a block; warps share the columns.
__global__ void __launch_bounds__(kProjectWarps * 32)
    project_kernel(const Bf16* x, int64_t stride, int64_t tokens, const Bf16* l2, int64_t cols, int64_t rank,
                   Bf16* out) {
  let_next_launch_start();
  __shared__ float partial[kProjectWarps][128];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int64_t token = static_cast<int64_t>(blockIdx.y) * 8 + g;
  const Bf16* upper = l2 + (static_cast<int64_t>(blockIdx.x) * 16 + g) * cols + q * 8;
  const Bf16* lower = upper + 8 * cols;
  const bool there = token < tokens;
  const Bf16* right = x + (there ? token : 0) * stride + q * 8;
  float sums[4] = {};
#pragma unroll 4
  for (int64_t column = warp * 32; column < cols; column += kProjectWarps * 32) {
    const uint4 of_x = there ? *reinterpret_cast<const uint4*>(right + column) : uint4{0, 0, 0, 0};
    multiply_eights(sums, *reinterpret_cast<const uint4*>(upper + column),
                    *reinterpret_cast<const uint4*>(lower + column), of_x);
  }
  // As [token][rank]: sums are (g, 2q), (g, 2q + 1), (g + 8, 2q), (g + 8, 2q + 1) of rank and token.
#pragma unroll
  for (int e = 0; e < 4; ++e) partial[warp][(q * 2 + e % 2) * 16 + g + e / 2 * 8] = sums[e];
  __syncthreads();
  const int64_t row = static_cast<int64_t>(blockIdx.y) * 8 + threadIdx.x / 16;
  if (threadIdx.x >= 128 || row >= tokens) return;
  float sum = 0.0f;
#pragma unroll
  for (int w = 0; w < kProjectWarps; ++w) sum += partial[w][threadIdx.x];
  out[row * rank + static_cast<int64_t>(blockIdx.x) * 16 + threadIdx.x % 16] = __float2bfloat16_rn(sum);
}

// --- x Q' + (x L2') L1' --------------------------------------------------------------------------------------------

struct FusedArguments {
  PackedParts parts;
  int group_shift;  // log2 of the group
  const Bf16* x;
  int64_t x_stride;
  int64_t tokens;
  const Bf16* projected;  // [tokens, rank]
  Target out;
  int stages;  // of 128 columns
  int splits;
  float* sums;         // [splits, token tiles, row tiles, tokens of a tile, 128], when there are several splits
  uint32_t* arrivals;  // [token tiles, row tiles]
};

// Block (row tile, split, token tile).
template <int Bits, int Block, int TokenTiles>
__global__ void __launch_bounds__(kFusedThreads, blocks_a_multiprocessor(TokenTiles))
    fused_kernel(const FusedArguments p) {
  using Layout = FusedLayout<Bits, TokenTiles>;
  constexpr int kTokens = Layout::kTokens, kPitch = code_pitch(Bits);
  constexpr int kScales = 64 / Block;  // block scales a lane decodes of a stage; its warp's 16 rows have 32 times that
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ bool last;
  const int tid = threadIdx.x, warp = tid / 32, lane = tid % 32, g = lane / 4, q = lane % 4;
  const int64_t row0 = static_cast<int64_t>(blockIdx.x) * kTileRows;
  const int64_t token0 = static_cast<int64_t>(blockIdx.z) * kFusedTile;
  const int64_t tokens = min(p.tokens - token0, static_cast<int64_t>(kTokens));
  const int first_stage = static_cast<int>(static_cast<int64_t>(p.stages) * blockIdx.y / p.splits);
  const int count = static_cast<int>(static_cast<int64_t>(p.stages) * (blockIdx.y + 1) / p.splits) - first_stage;

  // What this thread decodes: scales [lane % 2 * kScales, ...) of row lane / 2 of its warp.
  const int64_t scale_row = row0 + warp * 16 + lane / 2;
  const bool scale_there = scale_row < p.parts.rows;
  const int64_t first_block = (scale_there ? scale_row : 0) * (p.parts.cols / Block) + lane % 2 * kScales +
                              static_cast<int64_t>(first_stage) * (kStageColumns / Block);
  const bool wide_groups = p.parts.config.b2 == ScaleDtype::FP32;
  const int64_t row_bytes = p.parts.cols * Bits / 8;

  const auto stage_memory = [&](int slot) { return memory + Layout::kTableBytes + slot * Layout::kStageBytes; };
  const auto fetch = [&](int stage, int slot) {
    if (stage < count) {
      unsigned char* to = stage_memory(slot);
      const int64_t column = static_cast<int64_t>(first_stage + stage) * kStageColumns;
      // Codes: `Bits` chunks of 16 bytes a row.
#pragma unroll
      for (int i = tid; i < kTileRows * Bits; i += kFusedThreads) {
        const int row = i / Bits, chunk = i % Bits;
        const bool inside = row0 + row < p.parts.rows;
        const uint8_t* from = p.parts.codes + (inside ? (row0 + row) * row_bytes + column * Bits / 8 + chunk * 16 : 0);
        copy_async_or_zero(shared_address(to + (row * kPitch + chunk * 4) * 4), from, inside);
      }
      to += Layout::kCodeBytes;
      // Fields of the scales, and their group's maximum.
      const int64_t block = first_block + static_cast<int64_t>(stage) * (kStageColumns / Block);
      const uint32_t* fields = p.parts.scales + block * p.parts.config.b1 / 32;
      const int64_t group = block >> p.group_shift;
      const uint32_t slot_address = shared_address(to + tid * 12);
      copy_async_or_zero<4>(slot_address, fields, scale_there);
      copy_async_or_zero<4>(slot_address + 4, fields + 1, scale_there);
      copy_async_or_zero<4>(slot_address + 8, p.parts.groups + (wide_groups ? group : group / 2), scale_there);
      to += Layout::kScaleBytes;
      // Activations, eights of a lane together: [unit, half][token][q]. Threads of a warp take both halves, so that
      // they read 128 neighbouring bytes of a token.
#pragma unroll
      for (int i = tid; i < kTokens * kStageColumns / 8; i += kFusedThreads) {
        const int of_q = i % 4, half = i / 8 % 2, rest = i / 16;
        const int token = rest % (kTokens / 2) * 2 + i / 4 % 2, unit = rest / (kTokens / 2);
        const bool inside = token < tokens;
        const Bf16* from = p.x + (inside ? (token0 + token) * p.x_stride : 0) + column + unit * 64;
        const uint32_t at = shared_address(to + (((unit * 2 + half) * kTokens + token) * 4 + of_q) * 16);
        if constexpr (Block == 16) {
          copy_async_or_zero<8>(at, from + column_of_four<Block>(half, of_q, 0), inside);
          copy_async_or_zero<8>(at + 8, from + column_of_four<Block>(half, of_q, 1), inside);
        } else {
          copy_async_or_zero(at, from + column_of_four<Block>(half, of_q, 0), inside);
        }
      }
    }
    copy_commit();
  };
  for (int stage = 0; stage < Layout::kStages - 1; ++stage) fetch(stage, stage);

  for (int i = tid; i < 32 << 2 * Bits; i += kFusedThreads) {
    const int pair = i / 32;
    reinterpret_cast<uint32_t*>(memory)[i] = pack(p.parts.levels[pair % (1 << Bits)], p.parts.levels[pair >> Bits]);
  }

  const float unit_of_scale = 1.0f / static_cast<float>((1 << p.parts.config.b1) - 1);
  const uint32_t field_mask = (1u << p.parts.config.b1) - 1;
  float sums[TokenTiles][4] = {};
  int slot = 0;
  for (int stage = 0; stage < count; ++stage) {
    copy_wait<Layout::kStages - 2>();
    __syncthreads();
    fetch(stage + Layout::kStages - 1, slot == 0 ? Layout::kStages - 1 : slot - 1);
    const unsigned char* from = stage_memory(slot);
    if (++slot == Layout::kStages) slot = 0;
    const uint32_t* codes = reinterpret_cast<const uint32_t*>(from) + (warp * 16 + g) * kPitch;
    const uint32_t* raw = reinterpret_cast<const uint32_t*>(from + Layout::kCodeBytes) + tid * 3;
    const auto* activations = reinterpret_cast<const uint4*>(from + Layout::kCodeBytes + Layout::kScaleBytes);

    float decoded[kScales];
    {
      const int64_t block = first_block + static_cast<int64_t>(stage) * (kStageColumns / Block);
      const uint32_t fields = __funnelshift_r(raw[0], raw[1], static_cast<uint32_t>(block * p.parts.config.b1) % 32);
      float maximum = __uint_as_float(raw[2]);
      if (!wide_groups) {
        const auto bits = static_cast<uint16_t>((block >> p.group_shift) % 2 != 0 ? raw[2] >> 16 : raw[2]);
        maximum = p.parts.config.b2 == ScaleDtype::BF16 ? __bfloat162float(__ushort_as_bfloat16(bits))
                                                        : __half2float(__ushort_as_half(bits));
      }
      maximum *= unit_of_scale;
#pragma unroll
      for (int i = 0; i < kScales; ++i) {
        const uint32_t field = fields >> (i * p.parts.config.b1) & field_mask;
        decoded[i] = fmaf(static_cast<float>(field), maximum, p.parts.offset);
      }
    }

#pragma unroll
    for (int unit = 0; unit < 2; ++unit) {
      uint32_t upper[2], lower[2];
      load_eights<Bits, Block>(codes, unit, q, upper);
      load_eights<Bits, Block>(codes + 8 * kPitch, unit, q, lower);
      float of_block[TokenTiles][4] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint4 right[TokenTiles];
#pragma unroll
        for (int t = 0; t < TokenTiles; ++t) {
          right[t] = activations[((unit * 2 + half) * kTokens + t * 8) * 4 + lane];
        }
#pragma unroll
        for (int four = 0; four < 2; ++four) {
          const uint32_t left[4] = {levels_of_pair<Bits>(memory, upper[half], four * 2, lane * 4),
                                    levels_of_pair<Bits>(memory, lower[half], four * 2, lane * 4),
                                    levels_of_pair<Bits>(memory, upper[half], four * 2 + 1, lane * 4),
                                    levels_of_pair<Bits>(memory, lower[half], four * 2 + 1, lane * 4)};
#pragma unroll
          for (int t = 0; t < TokenTiles; ++t) {
            multiply_add_bf16(of_block[t], left, four == 0 ? right[t].x : right[t].z,
                              four == 0 ? right[t].y : right[t].w);
          }
          constexpr int kFours = Block / 16;  // mmas of a block
          const int done = unit * 4 + half * 2 + four + 1;
          if (done % kFours == 0) {
            // Scale i of a row is in lane 2 * row + i / kScales, its number i % kScales there.
            const int block = (done - 1) / kFours;
            const float of_upper = __shfl_sync(0xffffffffu, decoded[block % kScales], g * 2 + block / kScales);
            const float of_lower = __shfl_sync(0xffffffffu, decoded[block % kScales], g * 2 + 16 + block / kScales);
#pragma unroll
            for (int t = 0; t < TokenTiles; ++t) {
#pragma unroll
              for (int e = 0; e < 4; ++e) {
                sums[t][e] = fmaf(e < 2 ? of_upper : of_lower, of_block[t][e], sums[t][e]);
                of_block[t][e] = 0.0f;
              }
            }
          }
        }
      }
    }
  }

  // The low-rank part, 32 of the rank a step, steps shared among the splits.
  if (p.parts.rank > 0) {
    wait_for_previous_launch();
    const int64_t row = row0 + warp * 16 + g, rank = p.parts.rank;
    const auto* l1 = reinterpret_cast<const Bf16*>(p.parts.l1);
    for (int64_t step = blockIdx.y; step < rank / 32; step += p.splits) {
      const int64_t at = step * 32 + q * 8;
      constexpr uint4 kNothing{0, 0, 0, 0};
      const uint4 upper = row < p.parts.rows ? *reinterpret_cast<const uint4*>(l1 + row * rank + at) : kNothing;
      const uint4 lower =
          row + 8 < p.parts.rows ? *reinterpret_cast<const uint4*>(l1 + (row + 8) * rank + at) : kNothing;
#pragma unroll
      for (int t = 0; t < TokenTiles; ++t) {
        const int64_t token = t * 8 + g;
        // Written by the launch this one may have overlapped, so not through the read-only cache.
        const uint4 right = token < tokens
                                ? __ldcg(reinterpret_cast<const uint4*>(p.projected + (token0 + token) * rank + at))
                                : kNothing;
        multiply_eights(sums[t], upper, lower, right);
      }
    }
  }

  const auto for_sums = [&](auto&& use) {
#pragma unroll
    for (int t = 0; t < TokenTiles; ++t) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int token = t * 8 + q * 2 + e % 2, row = warp * 16 + g + e / 2 * 8;
        if (token < tokens && row0 + row < p.parts.rows) use(token, row, sums[t][e]);
      }
    }
  };
  if (p.splits == 1) {
    for_sums([&](int token, int row, float sum) { store_output(p.out, token0 + token, row0 + row, sum); });
    return;
  }
  // Each split leaves its sums; the one that comes last adds them up, in the order of the splits.
  const int64_t tile = static_cast<int64_t>(blockIdx.z) * gridDim.x + blockIdx.x;
  const int64_t tile_size = kTokens * kTileRows, split_size = tile_size * gridDim.x * gridDim.z;
  float* mine = p.sums + blockIdx.y * split_size + tile * tile_size;
  for_sums([&](int token, int row, float sum) { mine[token * kTileRows + row] = sum; });
  __threadfence();
  __syncthreads();
  if (tid == 0) {
    last = atomicAdd(p.arrivals + tile, 1u) + 1 == static_cast<uint32_t>(p.splits);
    if (last) p.arrivals[tile] = 0;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  const int row = tid % kTileRows;
  if (row0 + row >= p.parts.rows) return;
  for (int token = tid / kTileRows; token < tokens; token += kFusedThreads / kTileRows) {
    const float* from = p.sums + tile * tile_size + token * kTileRows + row;
    float sum = 0.0f;
#pragma unroll 4
    for (int split = 0; split < p.splits; ++split) sum += __ldcg(from + split * split_size);
    store_output(p.out, token0 + token, row0 + row, sum);
  }
}

template <int Bits, int Block, int TokenTiles>
void launch(const Stream& stream, const FusedArguments& p, const dim3& grid, bool overlap) {
  constexpr int kBytes = FusedLayout<Bits, TokenTiles>::kBytes;
  const auto kernel = fused_kernel<Bits, Block, TokenTiles>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes), "preparing a product");
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(kFusedThreads);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream.get();
  config.attrs = &attribute;
  config.numAttrs = overlap ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, p), "a product with packed weights");
}

template <int Bits, int Block>
void launch_tiles(const Stream& stream, const FusedArguments& p, int tiles, const dim3& grid, bool overlap) {
  if (tiles == 1) return launch<Bits, Block, 1>(stream, p, grid, overlap);
  if (tiles == 2) return launch<Bits, Block, 2>(stream, p, grid, overlap);
  if (tiles == 4) return launch<Bits, Block, 4>(stream, p, grid, overlap);
  launch<Bits, Block, 8>(stream, p, grid, overlap);
}

template <int Bits>
void launch_blocks(const Stream& stream, const FusedArguments& p, int tiles, const dim3& grid, bool overlap) {
  if (p.parts.config.block == 64) return launch_tiles<Bits, 64>(stream, p, tiles, grid, overlap);
  if (p.parts.config.block == 32) return launch_tiles<Bits, 32>(stream, p, tiles, grid, overlap);
  launch_tiles<Bits, 16>(stream, p, tiles, grid, overlap);
}

int log2_of(int64_t n) {
  int out = 0;
  while ((int64_t{1} << out) < n) ++out;
  return out;
}

template <typename T>
void grow(const Stream& stream, DeviceBuffer<T>* buffer, int64_t size) {
  if (buffer->size() >= size) return;
  *buffer = {};
  *buffer = DeviceBuffer<T>(stream, size);
  buffer->clear();
}

}  // namespace

bool fused_product_takes(const QuantConfig& c, int64_t rows, int64_t cols) {
  return c.b0 >= 2 && c.b0 <= 4 && (c.block == 16 || c.block == 32 || c.block == 64) && c.group >= 4 &&
         (c.group & (c.group - 1)) == 0 && rows % 8 == 0 && cols % kStageColumns == 0;
}

FusedWorkspace::FusedWorkspace() {
  int device = 0, major = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device), "asking for the device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "asking for the device");
  overlaps_ = major >= 9;
}

void fused_product(const Stream& stream, const PackedParts& parts, const Operand& x, int64_t tokens, const Target& out,
                   FusedWorkspace* workspace) {
  int tiles = 1;
  while (tiles * 8 < std::min(tokens, kFusedTile)) tiles *= 2;
  const int64_t row_tiles = ceil_div(parts.rows, kTileRows), token_tiles = ceil_div(tokens, kFusedTile);
  FusedArguments p{};
  p.parts = parts;
  p.group_shift = log2_of(parts.config.group);
  p.x = reinterpret_cast<const Bf16*>(x.data);
  p.x_stride = x.stride;
  p.tokens = tokens;
  p.out = out;
  p.stages = static_cast<int>(parts.cols / kStageColumns);
  // Rows are split until every multiprocessor has as many blocks as it holds.
  const int64_t blocks = int64_t{blocks_a_multiprocessor(tiles)} * workspace->multiprocessors_;
  p.splits = static_cast<int>(std::clamp<int64_t>(blocks / (row_tiles * token_tiles), 1, p.stages));
  if (p.splits > 1) {
    grow(stream, &workspace->sums_, p.splits * row_tiles * token_tiles * tiles * 8 * kTileRows);
    grow(stream, &workspace->arrivals_, row_tiles * token_tiles);
    p.sums = workspace->sums_.get();
    p.arrivals = workspace->arrivals_.get();
  }
  if (parts.rank > 0) {
    grow(stream, &workspace->projected_, tokens * parts.rank);
    auto* projected = reinterpret_cast<Bf16*>(workspace->projected_.get());
    p.projected = projected;
    const dim3 grid(static_cast<unsigned>(parts.rank / 16), static_cast<unsigned>(ceil_div(tokens, 8)));
    project_kernel<<<grid, kProjectWarps * 32, 0, stream.get()>>>(
        p.x, p.x_stride, tokens, reinterpret_cast<const Bf16*>(parts.l2), parts.cols, parts.rank, projected);
    check_launch("projecting on the low rank");
  }
  const dim3 grid(static_cast<unsigned>(row_tiles), static_cast<unsigned>(p.splits),
                  static_cast<unsigned>(token_tiles));
  const bool overlap = workspace->overlaps_ && parts.rank > 0;
  if (parts.config.b0 == 2) return launch_blocks<2>(stream, p, tiles, grid, overlap);
  if (parts.config.b0 == 3) return launch_blocks<3>(stream, p, tiles, grid, overlap);
  launch_blocks<4>(stream, p, tiles, grid, overlap);
}

}  // namespace lq::cuda
