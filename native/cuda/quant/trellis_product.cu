// x W' for a trellis code (lq/encode.h), in bf16 with fp32 sums: out = (R x) Y' scaled by rows, where Y are values of
// states and R is the rotation of inputs.
//
// Where weights lie. Y is the left operand of mma.m16n8k16. Which 16 columns make one mma is free as long as both
// operands agree, so it is chosen for the tile: lane 4 g + q takes columns 4 q .. 4 q + 3 of rows g and g + 8, weights
// 4 lane .. 4 lane + 3 of the tile's sequence and those 128 further on. Four steps and the state before them are at
// most 30 bits of the stream: each four is one window, cut out of two words of shared memory.
//
// How values are found. Shared memory answers 32 lanes that want 32 different words of a table in as many cycles as its
// fullest bank has words, between three and four for random words: lookups are what a product costs, and bytes are
// second. So where it fits the table is of pairs, indexed by the bits that two neighbours' states have together, which
// halves the lookups (2^(L + k) words, 32 to 128 KB at L = 12); else it is of single values, in up to 16 copies, each
// in banks of its own for a few lanes.
//
// Who does what. A unit is 64 rows by 32 columns. Units, row by row of 64, are shared out evenly over as many blocks as
// run at once, and in a block over its warps, each with a ring of units under way for itself: no barrier but where 64
// rows end. There the sums of the warps are added up, in their order; where several blocks share the rows, each leaves
// its sums and the one that comes last, which a counter tells, adds them up in the blocks' order.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "quant/product_steps.cuh"
#include "quant/trellis_product.h"
#include "runtime/shared_memory.h"

namespace lq::cuda {
namespace {

constexpr int kUnitTiles = 4;               // rows of tiles of a unit; it has two columns of them
constexpr int kUnitRows = kUnitTiles * 16;  // of W
constexpr int kUnitColumns = 32;
constexpr int kOctet = kUnitRows * 8;  // sums of 8 tokens
// Of a block: sums of 16 tokens take the registers of half of them.
__host__ __device__ constexpr int most_warps(int token_tiles) { return token_tiles == 1 ? 16 : 8; }

// --- R x -----------------------------------------------------------------------------------------------------------

constexpr int kRotateWarps = 4;
constexpr int kRun = 512;  // columns of a warp, 16 a lane

// out [tokens, cols] = x in rotated coordinates: runs of `block` columns, a power of two. cols are a multiple of 16.
__global__ void __launch_bounds__(kRotateWarps * 32)
    rotate_tokens_kernel(const Bf16* x, int64_t stride, int64_t tokens, int64_t cols, int block, const float* signs,
                         float scale, Bf16* out) {
  let_next_launch_start();
  wait_for_previous_launch();
  const int lane = threadIdx.x % 32;
  const int64_t runs = (cols + kRun - 1) / kRun;
  const int64_t task = static_cast<int64_t>(blockIdx.x) * kRotateWarps + threadIdx.x / 32;
  if (task >= tokens * runs) return;
  const int64_t token = task / runs, col = task % runs * kRun + lane * 16;
  const bool inside = col < cols;
  float v[16] = {};
  if (inside) {
    const Bf16* from = x + token * stride + col;
#pragma unroll
    for (int i = 0; i < 16; i += 2) {
      const float2 pair = load_pair(from + i), sign = load_pair(signs + col + i);
      v[i] = pair.x * sign.x * scale;
      v[i + 1] = pair.y * sign.y * scale;
    }
  }
#pragma unroll
  for (int h = 1; h < 16; h *= 2) {
    if (h >= block) break;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      if ((i & h) != 0) continue;
      const float a = v[i], b = v[i + h];
      v[i] = a + b;
      v[i + h] = a - b;
    }
  }
  for (int h = 1; h * 16 < block; h *= 2) {
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const float other = __shfl_xor_sync(0xffffffffu, v[i], h);
      v[i] = (lane & h) != 0 ? other - v[i] : v[i] + other;
    }
  }
  if (!inside) return;
#pragma unroll
  for (int i = 0; i < 16; i += 2) store_pair(out + token * cols + col + i, v[i], v[i + 1]);
}

// --- (R x) Y' ------------------------------------------------------------------------------------------------------

struct Arguments {
  const uint8_t* codes;
  const uint32_t* starts;
  const uint16_t* values;  // bf16 [V][2^L]
  const float* scales;     // [rows]
  const Bf16* x;
  int64_t x_stride;
  int tokens;
  Target out;
  int row_tiles, column_pairs, groups;  // groups: of 64 rows
  int tile_bytes;
  int bits, step, states;
  int second, third, fourth;  // bits from a four's first weight to its others
  TrellisLookup lookup;
  int stages, stage_bytes;
  float* sums;         // [2 a block, tokens in octets, 64 rows]
  uint32_t* arrivals;  // [groups]
};

// Bytes of shared memory a warp has of a unit: codes, starts, then x of both columns of tiles.
__host__ __device__ constexpr int starts_at(int tile_bytes) { return 2 * kUnitTiles * tile_bytes; }
__host__ __device__ constexpr int x_at(int tile_bytes) { return starts_at(tile_bytes) + kUnitTiles * 4; }
constexpr int unit_bytes(int tile_bytes, int token_tiles) { return x_at(tile_bytes) + 2 * token_tiles * 256; }

__device__ inline uint32_t shared_word(const unsigned char* at) { return *reinterpret_cast<const uint32_t*>(at); }

// Pairs of values: word i is that of states i mod 2^L and i >> k, two steps one after the other.
__device__ void fill_pairs(const Arguments& p, unsigned char* table, uint16_t* staged) {
  const int count = p.step << p.states, k = p.second;
  for (int i = threadIdx.x; i < count / 8; i += blockDim.x) {
    reinterpret_cast<uint4*>(staged)[i] = reinterpret_cast<const uint4*>(p.values)[i];
  }
  __syncthreads();
  const uint16_t* next = staged + (p.step == 2 ? 1 << p.states : 0);
  const int mask = (1 << p.states) - 1;
  for (int i = threadIdx.x * 4; i < 1 << (p.states + k); i += blockDim.x * 4) {
    const uint2 four = *reinterpret_cast<const uint2*>(staged + (i & mask));
    const uint32_t a = next[i >> k], b = k == 1 ? next[(i >> 1) + 1] : a;
    *reinterpret_cast<uint4*>(table + i * 4) = {__byte_perm(four.x, a, 0x5410), __byte_perm(four.x, a, 0x5432),
                                                __byte_perm(four.y, b, 0x5410), __byte_perm(four.y, b, 0x5432)};
  }
}

// Copy c of single values has banks [c * 2^b, (c + 1) * 2^b), b = 5 - copies_log: 128 bytes hold 2^(b + 1) values, so
// often.
__device__ void fill_singles(const Arguments& p, unsigned char* table) {
  const int b = 5 - p.lookup.copies_log;
  uint4* to = reinterpret_cast<uint4*>(table);
  if (b == 1) {
#pragma unroll 8
    for (int i = threadIdx.x; i < p.lookup.bytes / 16; i += blockDim.x) {
      const uint2 two = __ldg(reinterpret_cast<const uint2*>(p.values) + (i >> 3));
      to[i] = {two.x, two.y, two.x, two.y};
    }
    return;
  }
  const int fours = (1 << (b - 2)) - 1;
#pragma unroll 8
  for (int i = threadIdx.x; i < p.lookup.bytes / 16; i += blockDim.x) {
    to[i] = __ldg(reinterpret_cast<const uint4*>(p.values) + (((i >> 3) << (b - 2)) | (i & fours)));
  }
}

template <bool Pairs>
struct Lookup {
  uint32_t mask, high_mask, base, kind;
  int high_shift;

  __device__ explicit Lookup(const Arguments& p, int lane) {
    if constexpr (Pairs) {
      mask = ((1u << (p.states + p.second)) - 1) << 2;
      return;
    }
    const int b = 5 - p.lookup.copies_log;
    const uint32_t all = (1u << p.states) - 1, low = (2u << b) - 1;
    // One copy is the values as they are, without a gap for lanes.
    mask = (b < 5 ? all & low : all) << 1;
    high_mask = b < 5 ? (all >> (b + 1)) << 7 : 0u;
    high_shift = b < 5 ? 4 - b : 0;
    base = static_cast<uint32_t>(lane >> b) << (2 + b);
    kind = p.step == 2 ? 128u << (p.states - b - 1) : 0u;
  }

  // The value of a state that begins at bit 2 of `at`.
  __device__ uint32_t single(const unsigned char* table, uint32_t at, uint32_t of_kind) const {
    const uint32_t from = ((at << high_shift) & high_mask) | ((at >> 1) & mask) | of_kind;
    return *reinterpret_cast<const uint16_t*>(table + from);
  }

  // Two weights of a window, bf16x2; the first one's state begins at bit 2 of `at`, the second's `next` bits further
  // on.
  __device__ uint32_t two(const unsigned char* table, uint32_t at, int next) const {
    if constexpr (Pairs) return shared_word(table + (at & mask));
    return __byte_perm(single(table, at, base), single(table, at >> next, base | kind), 0x5410);
  }
};

__device__ inline void wait_for_stage(int stages) {
  if (stages == 2) return copy_wait<0>();
  if (stages == 3) return copy_wait<1>();
  if (stages == 4) return copy_wait<2>();
  copy_wait<4>();  // of 6
}

template <bool Pairs, int TokenTiles>
__global__ void __launch_bounds__(most_warps(TokenTiles) * 32, 1) trellis_kernel(const Arguments p) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ bool last;
  let_next_launch_start();
  const int tid = threadIdx.x, warps = blockDim.x / 32, warp = tid / 32, lane = tid % 32, g = lane / 4, q = lane % 4;
  const int tile_bytes = p.tile_bytes, across = 2 * p.column_pairs;
  unsigned char* ring = memory + p.lookup.bytes + warp * p.stages * p.stage_bytes;
  float* shared_sums = reinterpret_cast<float*>(memory + p.lookup.bytes + warps * p.stages * p.stage_bytes);
  const auto units = static_cast<uint32_t>(p.groups * p.column_pairs);
  const auto first_unit = [&](uint32_t block) { return static_cast<int>(units * block / gridDim.x); };
  const int begin = first_unit(blockIdx.x), end = first_unit(blockIdx.x + 1);

  // What this lane copies of a unit: two pieces of 16 bytes of codes at most, a word of starts, and x. Where it is in
  // a row of tiles is counted on from unit to unit; the rows' beginnings change where 64 rows end.
  const int pieces_a_row = tile_bytes / 8;  // of two tiles
  const auto row_of_piece = [&](int i) {
    return (i >= pieces_a_row) + (i >= 2 * pieces_a_row) + (i >= 3 * pieces_a_row);
  };
  const int first_row_of_codes = row_of_piece(lane), second_row_of_codes = row_of_piece(lane + 32);
  const bool has_first = lane < kUnitTiles * pieces_a_row, has_second = lane + 32 < kUnitTiles * pieces_a_row;
  const uint8_t *first_codes, *second_codes;
  const uint32_t* starts;
  const auto enter_rows = [&](int group) {
    const auto tiles_before = [&](int r) {
      return static_cast<int64_t>(min(group * kUnitTiles + r, p.row_tiles - 1)) * across;
    };
    first_codes =
        p.codes + tiles_before(first_row_of_codes) * tile_bytes + (lane - first_row_of_codes * pieces_a_row) * 16;
    second_codes = p.codes + tiles_before(second_row_of_codes) * tile_bytes +
                   (lane + 32 - second_row_of_codes * pieces_a_row) * 16;
    starts = p.starts + tiles_before(lane % kUnitTiles) / 2;
  };
  int codes_unit = begin + warp, codes_group = codes_unit / p.column_pairs, codes_pair = codes_unit % p.column_pairs;
  int x_unit = codes_unit, x_pair = codes_pair;
  enter_rows(codes_group);
  const auto fetch_codes = [&](int slot) {
    if (codes_unit >= end) return;
    const uint32_t to = shared_address(ring + slot * p.stage_bytes);
    const int at = codes_pair * 2 * tile_bytes;
    if (has_first) copy_async(to + lane * 16, first_codes + at);
    if (has_second) copy_async(to + lane * 16 + 512, second_codes + at);
    if (lane < kUnitTiles) copy_async_or_zero<4>(to + starts_at(tile_bytes) + lane * 4, starts + codes_pair, true);
    codes_unit += warps;
    codes_pair += warps;
    if (codes_pair < p.column_pairs) return;
    do {
      codes_pair -= p.column_pairs;
      ++codes_group;
    } while (codes_pair >= p.column_pairs);
    enter_rows(codes_group);
  };
  const Bf16* x_of_lane = p.x + g * p.x_stride + q * 4;
  const auto fetch_x = [&](int slot) {
    if (x_unit < end) {
      const uint32_t to = shared_address(ring + slot * p.stage_bytes + x_at(tile_bytes) + lane * 8);
      const Bf16* from = x_of_lane + x_pair * kUnitColumns;
#pragma unroll
      for (int t = 0; t < TokenTiles; ++t) {
        if (t * 8 + g >= p.tokens) continue;
        copy_async_or_zero<8>(to + t * 256, from + t * 8 * p.x_stride, true);
        copy_async_or_zero<8>(to + (TokenTiles + t) * 256, from + t * 8 * p.x_stride + 16, true);
      }
      x_unit += warps;
      x_pair += warps;
      while (x_pair >= p.column_pairs) x_pair -= p.column_pairs;
    }
    copy_commit();
  };
  for (int i = 0; i < p.stages - 1; ++i) fetch_codes(i);
  if constexpr (Pairs) {
    fill_pairs(p, memory, reinterpret_cast<uint16_t*>(shared_sums));
  } else {
    fill_singles(p, memory);
  }
  // Tokens that are not there are zero for good.
  for (int slot = 0; slot < p.stages; ++slot) {
    for (int i = 0; i < 2 * TokenTiles; ++i) {
      if (i % TokenTiles * 8 + g < p.tokens) continue;
      *reinterpret_cast<uint2*>(ring + slot * p.stage_bytes + x_at(tile_bytes) + (i * 32 + lane) * 8) = {0, 0};
    }
  }
  wait_for_previous_launch();
  for (int i = 0; i < p.stages - 1; ++i) fetch_x(i);
  __syncthreads();

  // The window of this lane's first four begins two bits before its first state, so that table indices need no shift.
  const int window = (lane * 4 + 1) * p.bits / p.step - p.states - 2;
  const int word = window >> 5, shift = window & 31, half = tile_bytes / 2;
  // Before the stream there is the tile's start.
  const bool reaches_back = word < 0;
  const int first_at = reaches_back ? starts_at(tile_bytes) : word * 4, first_row = reaches_back ? 4 : 2 * tile_bytes,
            first_column = reaches_back ? 0 : tile_bytes, first_even_shift = reaches_back ? 16 : 0;
  const Lookup<Pairs> lookup(p, lane);

  float sums[TokenTiles][kUnitTiles][4] = {};
  int slot = 0, unit = begin + warp;
  for (int group = begin / p.column_pairs; group * p.column_pairs < end; ++group) {
    const int group_begin = group * p.column_pairs, group_end = group_begin + p.column_pairs;
    for (; unit < min(end, group_end); unit += warps) {
      wait_for_stage(p.stages);
      __syncwarp();
      const int free = slot == 0 ? p.stages - 1 : slot - 1;
      fetch_codes(free);
      fetch_x(free);
      const unsigned char* from = ring + slot * p.stage_bytes;
      slot = slot + 1 == p.stages ? 0 : slot + 1;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        uint2 right[TokenTiles];
#pragma unroll
        for (int t = 0; t < TokenTiles; ++t) {
          right[t] = *reinterpret_cast<const uint2*>(from + x_at(tile_bytes) + ((c * TokenTiles + t) * 32 + lane) * 8);
        }
#pragma unroll
        for (int r = 0; r < kUnitTiles; ++r) {
          const unsigned char* tile = from + (r * 2 + c) * tile_bytes + word * 4;
          uint32_t before = shared_word(from + first_at + r * first_row + c * first_column);
          if (c == 0) before <<= first_even_shift;
          const uint32_t upper = __funnelshift_r(before, shared_word(tile + 4), shift);
          const uint32_t lower = __funnelshift_r(shared_word(tile + half), shared_word(tile + half + 4), shift);
          const uint32_t left[4] = {lookup.two(memory, upper, p.second), lookup.two(memory, lower, p.second),
                                    lookup.two(memory, upper >> p.third, p.fourth - p.third),
                                    lookup.two(memory, lower >> p.third, p.fourth - p.third)};
#pragma unroll
          for (int t = 0; t < TokenTiles; ++t) multiply_add_bf16(sums[t][r], left, right[t].x, right[t].y);
        }
      }
    }

    const bool whole = begin <= group_begin && group_end <= end;
    const auto store = [&](int i, float sum) {
      const int64_t row = static_cast<int64_t>(group) * kUnitRows + i % kOctet / 8;
      const int token = i / kOctet * 8 + i % 8;
      if (token < p.tokens && row < p.row_tiles * 16) store_output(p.out, token, row, sum * p.scales[row]);
    };
    // A block leaves sums for the rows it begins in, and for those that it ends in.
    const auto place_of = [&](uint32_t block, bool begins_here) {
      return p.sums + static_cast<int64_t>(2 * block + (begins_here ? 0 : 1)) * (TokenTiles * kOctet);
    };
    float* own = place_of(blockIdx.x, begin >= group_begin);
#pragma unroll
    for (int t = 0; t < TokenTiles; ++t) {
      __syncthreads();
#pragma unroll
      for (int r = 0; r < kUnitTiles; ++r) {
        float* to = shared_sums + warp * kOctet + (r * 16 + g) * 8 + q * 2;
        store_pair(to, sums[t][r][0], sums[t][r][1]);
        store_pair(to + 64, sums[t][r][2], sums[t][r][3]);
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[t][r][e] = 0.0f;
      }
      __syncthreads();
#pragma unroll 1
      for (int i = tid; i < kOctet; i += blockDim.x) {
        float sum = 0.0f;
#pragma unroll 4
        for (int w = 0; w < warps; ++w) sum += shared_sums[w * kOctet + i];
        if (whole) {
          store(t * kOctet + i, sum);
        } else {
          own[t * kOctet + i] = sum;
        }
      }
    }
    if (whole) continue;
    // The block that has a unit: the last that begins at it or before.
    const auto block_of = [&](int unit_of) { return ((static_cast<uint32_t>(unit_of) + 1) * gridDim.x - 1) / units; };
    const uint32_t first_block = block_of(group_begin), last_block = block_of(group_end - 1);
    __threadfence();
    __syncthreads();
    if (tid == 0) {
      last = atomicAdd(p.arrivals + group, 1u) + 1 == last_block - first_block + 1;
      if (last) p.arrivals[group] = 0;
    }
    __syncthreads();
    if (!last) continue;
    __threadfence();
    const float* first_place = place_of(first_block, first_unit(first_block) >= group_begin);
#pragma unroll 1
    for (int i = tid; i < TokenTiles * kOctet; i += blockDim.x) {
      float sum = __ldcg(first_place + i);
#pragma unroll 1
      for (uint32_t block = first_block + 1; block <= last_block; ++block) sum += __ldcg(place_of(block, true) + i);
      store(i, sum);
    }
  }
}

// --- Launches ------------------------------------------------------------------------------------------------------

__global__ void row_scales_kernel(const uint16_t* stored, float multiplier, int64_t rows, float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < rows) out[i] = __half2float(__ushort_as_half(stored[i])) * multiplier;
}

int shared_limit() {
  int device = 0, most = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "asking for shared memory");
  return most - 64;  // static arrays
}

// The fastest that fits: rings of three stages at least, pairs before singles, many warps before many copies.
TrellisPlan plan(const EncodeOption& o, int token_tiles, int limit) {
  struct Candidate {
    TrellisLookup lookup;
    int warps;
  };
  const int unit = unit_bytes(32 * o.bits / o.step, token_tiles);
  std::vector<Candidate> candidates;
  const int pair_bits = o.states + (o.bits + o.step - 1) / o.step;
  for (int warps = most_warps(token_tiles); warps >= 8; warps /= 2) {
    if (o.states <= 12 && pair_bits <= 15) candidates.push_back({{true, 0, 4 << pair_bits}, warps});
  }
  for (int warps = most_warps(token_tiles); warps >= 8; warps /= 2) {
    for (int copies = 4; copies >= 0; --copies) {
      candidates.push_back({{false, copies, (2 * o.step) << o.states << copies}, warps});
    }
  }
  for (const int least : {3, 2}) {
    for (const auto& [lookup, warps] : candidates) {
      const int sums = std::max(warps * kOctet * 4, lookup.pairs ? (2 * o.step) << o.states : 0);
      const int fit = (limit - lookup.bytes - sums) / (warps * unit);
      const int stages = fit >= 6 ? 6 : std::min(fit, 4);
      if (stages < least) continue;
      // More than half, so that a launch which starts early does not put two blocks where one is to be.
      const int bytes = std::max(lookup.bytes + sums + warps * stages * unit, limit / 2 + 1024);
      return {lookup, warps, stages, bytes};
    }
  }
  return {};
}

template <typename T>
void grow(const Stream& stream, DeviceBuffer<T>* buffer, int64_t size) {
  if (buffer->size() >= size) return;
  *buffer = {};
  *buffer = DeviceBuffer<T>(stream, size);
  buffer->clear();
}

// With `overlap` the launch may start while the one before it still runs, for which it waits where it needs it.
template <typename... Parameters, typename... Values>
void launch(const Stream& stream, void (*kernel)(Parameters...), int64_t blocks, int threads, int shared_bytes,
            bool overlap, Values... values) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream.get();
  config.attrs = &attribute;
  config.numAttrs = overlap ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(values)...), "a product with trellis codes");
}

// As many as run at once; a few less where rows are then shared by whole blocks.
int64_t blocks_for(int64_t most, int64_t groups, int64_t column_pairs) {
  const int64_t each = std::min(most / groups, column_pairs);
  if (each > 0 && groups * each * 10 >= most * 9) return groups * each;
  return std::min(most, groups * column_pairs);
}

}  // namespace

TrellisWorkspace::TrellisWorkspace() {
  int device = 0, major = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device), "asking for the device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "asking for the device");
  overlaps_ = major >= 9;
}

bool TrellisProduct::takes(const EncodedParts& parts) {
  const EncodeOption& o = parts.option();
  if (o.grid != GridKind::trellis || o.bits > 4 * o.step || parts.rows() % 16 != 0 || parts.cols() % 32 != 0) {
    return false;
  }
  // Units are counted in 32 bits, times blocks.
  if (ceil_div(parts.rows(), kUnitRows) * (parts.cols() / kUnitColumns) > (int64_t{1} << 22)) return false;
  return plan(o, kTrellisTile / 8, shared_limit()).stages > 0;
}

TrellisProduct::TrellisProduct(const Stream& stream, const EncodedParts& parts)
    : stream_(stream), parts_(parts), scales_(stream, parts.rows()) {
  for (int i = 0; i < 2; ++i) plans_[i] = plan(parts.option(), i + 1, shared_limit());
  allow_all_shared_memory(trellis_kernel<true, 1>);
  allow_all_shared_memory(trellis_kernel<true, 2>);
  allow_all_shared_memory(trellis_kernel<false, 1>);
  allow_all_shared_memory(trellis_kernel<false, 2>);
  row_scales_kernel<<<static_cast<unsigned>(ceil_div(parts.rows(), 256)), 256, 0, stream.get()>>>(
      parts.row_scales(), parts.multiplier(), parts.rows(), scales_.get());
  check_launch("row scales");
}

void TrellisProduct::multiply(const Operand& x, int64_t tokens, const Target& out, TrellisWorkspace* workspace) const {
  const uint16_t* from = x.data;
  int64_t stride = x.stride;
  const DeviceRotation* rotation = parts_.rotation();
  if (rotation != nullptr) {
    const int64_t cols = parts_.cols(), tasks = tokens * ceil_div(cols, kRun);
    grow(stream_, &workspace->rotated_, tokens * cols);
    launch(stream_, rotate_tokens_kernel, ceil_div(tasks, kRotateWarps), kRotateWarps * 32, 0, workspace->overlaps_,
           reinterpret_cast<const Bf16*>(x.data), x.stride, tokens, cols, rotation->block(), rotation->signs(),
           static_cast<float>(1.0 / std::sqrt(static_cast<double>(rotation->block()))),
           reinterpret_cast<Bf16*>(workspace->rotated_.get()));
    from = workspace->rotated_.get();
    stride = cols;
  }
  for (int64_t first = 0; first < tokens; first += kTrellisTile) {
    Target to = out;
    to.data = static_cast<uint8_t*>(out.data) + first * out.stride * (out.bf16 ? 2 : 4);
    multiply_tile(from + first * stride, stride, rotation != nullptr && first == 0,
                  static_cast<int>(std::min(tokens - first, kTrellisTile)), to, workspace);
  }
}

void TrellisProduct::multiply_tile(const uint16_t* x, int64_t stride, bool after_rotation, int tokens,
                                   const Target& out, TrellisWorkspace* workspace) const {
  const EncodeOption& o = parts_.option();
  const int token_tiles = tokens <= 8 ? 1 : 2;
  const TrellisPlan& chosen = plans_[token_tiles - 1];
  const auto end = [&](int t) { return (t + 1) * o.bits / o.step; };
  Arguments p{};
  p.codes = parts_.codes();
  p.starts = parts_.starts();
  p.values = parts_.table().rounded.get();
  p.scales = scales_.get();
  p.x = reinterpret_cast<const Bf16*>(x);
  p.x_stride = stride;
  p.tokens = tokens;
  p.out = out;
  p.row_tiles = static_cast<int>(parts_.rows() / 16);
  p.column_pairs = static_cast<int>(parts_.cols() / kUnitColumns);
  p.groups = static_cast<int>(ceil_div(p.row_tiles, kUnitTiles));
  p.tile_bytes = 32 * o.bits / o.step;
  p.bits = o.bits;
  p.step = o.step;
  p.states = o.states;
  p.second = end(1) - end(0);
  p.third = end(2) - end(0);
  p.fourth = end(3) - end(0);
  p.lookup = chosen.lookup;
  p.stages = chosen.stages;
  p.stage_bytes = unit_bytes(p.tile_bytes, token_tiles);
  const int64_t blocks = blocks_for(workspace->multiprocessors_, p.groups, p.column_pairs);
  grow(stream_, &workspace->sums_, 2 * blocks * token_tiles * kOctet);
  grow(stream_, &workspace->arrivals_, p.groups);
  p.sums = workspace->sums_.get();
  p.arrivals = workspace->arrivals_.get();
  const bool overlap = workspace->overlaps_ && after_rotation;
  const auto kernel = chosen.lookup.pairs ? token_tiles == 1 ? trellis_kernel<true, 1> : trellis_kernel<true, 2>
                      : token_tiles == 1 ? trellis_kernel<false, 1>
                                          : trellis_kernel<false, 2>;
  launch(stream_, kernel, blocks, chosen.warps * 32, chosen.shared_bytes, overlap, p);
}

}  // namespace lq::cuda
