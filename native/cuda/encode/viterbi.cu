#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "encode/trellis_values.h"
#include "encode/viterbi.h"
#include "runtime/shared_memory.h"

namespace lq::cuda {
namespace {

constexpr int kSide = 16, kLength = kSide * kSide;

struct Code {
  int states, bits, step;  // L, K, V
  int first, second;       // bits of the even and the odd steps
  const __half* values[2];
  float limit;  // targets are held within it
};

__device__ __forceinline__ int bits_of(const Code& c, int t) { return t % c.step == 0 ? c.first : c.second; }
__device__ __forceinline__ int end_of(const Code& c, int t) { return (t + 1) * c.bits / c.step; }

struct Launch {
  TileMatrix m;
  const float* wide;
  int64_t wide_cols, at, offset;
  const float* feedback;
  // Bits of a row of tiles, of a full tile of a column, and of one of the last row.
  int64_t row_bits, tile_bits, last_bits, column, columns;
  int64_t first;  // tile of the column that block 0 encodes
  bool ring;      // tail-biting
  // Sizes of Memory, and where there are more states than shared memory has room for, words of it a tile.
  int cost_count, table_count, words;
  uint32_t* scratch;
  int64_t scratch_words;
};

// Costs before and after a step, values, then for every step the oldest bits that were the best, a word for 32 states.
struct Memory {
  float *before, *after;
  const __half* table;  // of the even steps; where they differ, those of the odd ones follow
  const __half* second;
  uint32_t* history;
  int words;
};

// A run over the steps of a tile, which is a ring to it.
struct Search {
  int begin, count;
  int from, to;  // states without their newest bits that it begins and ends with; -1: any
};

__device__ __forceinline__ const __half* values_of(const Code& c, const Memory& m, int bits) {
  return bits == c.first ? m.table : m.second;
}

// The path of least cost, states into path[step of the ring], by all threads of a block.
__device__ void search(const Code& code, Memory m, const float* targets, int length, const Search& run,
                       uint16_t* path) {
  __shared__ float least[32];
  __shared__ int place[32];
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const auto step = [&](int i) { return run.begin + i < length ? run.begin + i : run.begin + i - length; };
  const int begins = 1 << (code.states - bits_of(code, step(0)));
  for (int p = thread; p < begins; p += threads) m.before[p] = run.from < 0 || run.from == p ? 0.0f : 1e30f;
  __syncthreads();
  for (int i = 0; i < run.count; ++i) {
    const int t = step(i), bits = bits_of(code, t), next = bits_of(code, step(i + 1));
    const int rest = code.states - next, kept = 1 << rest, older = 1 << next;
    const __half* v = values_of(code, m, bits);
    const float target = targets[t];
    for (int p = thread; p < kept; p += threads) {
      float best = 3e38f;
      int from = 0;
      for (int h = 0; h < older; ++h) {
        const int s = (h << rest) | p;
        const float d = target - __half2float(v[s]), cost = fmaf(d, d, m.before[s >> bits]);
        if (cost < best) {
          best = cost;
          from = h;
        }
      }
      m.after[p] = best;
      for (int b = 0; b < next; ++b) {
        const uint32_t word = __ballot_sync(0xffffffffu, (from >> b) & 1);
        if (thread % 32 == 0) m.history[i * m.words + b * (kept / 32) + p / 32] = word;
      }
    }
    __syncthreads();
    float* swapped = m.before;
    m.before = m.after;
    m.after = swapped;
  }

  int end = run.to;
  if (end < 0) {
    // The end of least cost, the lowest of equals.
    const int ends = 1 << (code.states - bits_of(code, step(run.count)));
    float best = 3e38f;
    end = 0;
    for (int p = thread; p < ends; p += threads) {
      if (m.before[p] < best) {
        best = m.before[p];
        end = p;
      }
    }
    for (int lane = 16; lane > 0; lane /= 2) {
      const float other = __shfl_down_sync(0xffffffffu, best, lane);
      const int where = __shfl_down_sync(0xffffffffu, end, lane);
      if (other < best || (other == best && where < end)) {
        best = other;
        end = where;
      }
    }
    if (thread % 32 == 0) {
      least[thread / 32] = best;
      place[thread / 32] = end;
    }
    __syncthreads();
    if (thread == 0) {
      for (int w = 1; w < threads / 32; ++w) {
        if (least[w] < best || (least[w] == best && place[w] < end)) {
          best = least[w];
          end = place[w];
        }
      }
    }
  }
  if (thread == 0) {
    int p = end;
    for (int i = run.count - 1; i >= 0; --i) {
      const int t = step(i), next = bits_of(code, step(i + 1)), rest = code.states - next;
      int h = 0;
      for (int b = 0; b < next; ++b) {
        h |= static_cast<int>(m.history[i * m.words + b * ((1 << rest) / 32) + p / 32] >> (p % 32) & 1u) << b;
      }
      const int s = (h << rest) | p;
      path[t] = static_cast<uint16_t>(s);
      p = s >> bits_of(code, t);
    }
  }
  __syncthreads();
}

// State of step t in a ring of `bits` bits, turned around: the newest bit lowest.
__device__ __forceinline__ int ring_state(const Code& c, uint32_t stream, int bits, int t) {
  int state = 0, at = end_of(c, t) % bits;
  for (int i = 0; i < c.states; ++i) {
    at = at == 0 ? bits - 1 : at - 1;
    state |= static_cast<int>(stream >> at & 1u) << i;
  }
  return state;
}

// Every stream of a tile whose ring is hardly longer than a state; the lowest of equals.
__device__ void search_all(const Code& code, const Memory& m, const float* targets, int count, uint16_t* path) {
  __shared__ float least[512];
  __shared__ uint32_t place[512];
  const int bits = end_of(code, count - 1), thread = static_cast<int>(threadIdx.x);
  float best = 3e38f;
  uint32_t found = 0;
  for (uint32_t stream = threadIdx.x; stream < 1u << bits; stream += blockDim.x) {
    float cost = 0;
    for (int t = 0; t < count && cost < best; ++t) {
      const float d =
          targets[t] - __half2float(values_of(code, m, bits_of(code, t))[ring_state(code, stream, bits, t)]);
      cost = fmaf(d, d, cost);
    }
    if (cost >= best) continue;
    best = cost;
    found = stream;
  }
  least[thread] = best;
  place[thread] = found;
  __syncthreads();
  if (thread == 0) {
    for (int w = 1; w < static_cast<int>(blockDim.x); ++w) {
      if (least[w] < best || (least[w] == best && place[w] < found)) {
        best = least[w];
        found = place[w];
      }
    }
    for (int t = 0; t < count; ++t) path[t] = static_cast<uint16_t>(ring_state(code, found, bits, t));
  }
  __syncthreads();
}

// Roomy: costs, values and paths are in global memory.
template <bool Roomy>
__global__ void __launch_bounds__(512) tile_kernel(Code code, Launch a) {
  extern __shared__ float shared[];
  __shared__ float targets[kLength];
  __shared__ uint16_t path[kLength];
  const int states = 1 << code.states;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  Memory memory{};
  memory.words = a.words;
  if constexpr (Roomy) {
    uint32_t* own = a.scratch + static_cast<int64_t>(blockIdx.x) * a.scratch_words;
    memory.before = reinterpret_cast<float*>(own);
    memory.history = own + 2 * a.cost_count;
    memory.table = code.values[0];
    memory.second = code.values[a.table_count - 1];
  } else {
    memory.before = shared;
    __half* table = reinterpret_cast<__half*>(shared + 2 * a.cost_count);
    memory.history = reinterpret_cast<uint32_t*>(table + a.table_count * states);
    for (int i = thread; i < a.table_count * states; i += threads)
      table[i] = code.values[i >> code.states][i & (states - 1)];
    memory.table = table;
    memory.second = table + (a.table_count - 1) * states;
  }
  memory.after = memory.before + a.cost_count;
  const int64_t tile = a.first + static_cast<int64_t>(blockIdx.x), row = tile * kSide, col = a.at + a.offset;
  const int height = static_cast<int>(a.m.rows - row < kSide ? a.m.rows - row : kSide);
  const int width = static_cast<int>(a.m.cols - col < kSide ? a.m.cols - col : kSide);
  const int count = height * width;
  for (int i = thread; i < count; i += threads) {
    const int64_t r = row + i / width, c = i % width;
    float x = a.wide[r * a.wide_cols + a.offset + c];
    if (a.feedback != nullptr) {
      const float* e = a.m.error + r * a.m.cols + a.at;
      const float* n = a.feedback + a.at * a.m.cols + col + c;
      for (int64_t q = 0; q < a.offset; ++q) x += e[q] * n[q * a.m.cols];
    }
    const float s = a.m.scales[r];
    targets[i] = fminf(fmaxf(s > 0 ? x / s : 0.0f, -code.limit), code.limit);
  }
  __syncthreads();

  if (a.ring && end_of(code, count - 1) < code.states + 6) {
    search_all(code, memory, targets, count, path);
  } else {
    search(code, memory, targets, count, {0, count, -1, -1}, path);
  }
  if (a.ring && end_of(code, count - 1) >= code.states + 6) {
    // The free path's middle stays, and its ends are searched again as one run from the end into the beginning. Three
    // times what a state remembers: a path has forgotten its ends by then.
    const int remembered = 3 * (code.states * code.step / code.bits + 1);
    const int reach = remembered < count / 2 ? remembered : count / 2, begin = count - reach;
    const auto before = [&](int t) { return path[t] >> bits_of(code, t); };
    const Search ends{begin, 2 * reach, before(begin % count), before(reach)};
    __syncthreads();
    search(code, memory, targets, count, ends, path);
  }

  for (int i = thread; i < count; i += threads) {
    const int64_t r = row + i / width, k = r * a.m.cols + col + i % width;
    const float value = __half2float(values_of(code, memory, bits_of(code, i))[path[i]]);
    a.m.values[k] = value;
    a.m.error[k] = a.m.target[k] - value * a.m.scales[r];
  }
  if (thread == 0) {
    const int kept = code.states - code.first;
    a.m.starts[tile * a.columns + a.column] = __brev(static_cast<uint32_t>(path[0] >> code.first)) >> (32 - kept);
  }
  if (a.m.codes == nullptr) return;
  uint8_t* out = a.m.codes + (tile * a.row_bits + a.column * (height == kSide ? a.tile_bits : a.last_bits)) / 8;
  const int stream = end_of(code, count - 1);
  for (int byte = thread; byte * 8 < stream; byte += threads) {
    uint32_t field = 0;
    for (int i = 0; i < 8 && byte * 8 + i < stream; ++i) {
      const int at = byte * 8 + i;
      // The step that took bit `at`: the first whose end is beyond it.
      const int t = ((at + 1) * code.step + code.bits - 1) / code.bits - 1;
      const int bits = bits_of(code, t), index = at - (end_of(code, t) - bits);
      field |= (static_cast<uint32_t>(path[t]) >> (bits - 1 - index) & 1u) << i;
    }
    out[byte] = static_cast<uint8_t>(field);
  }
}

constexpr int32_t kMostShared = 12;   // bits of states that shared memory has room for
constexpr int64_t kRoomyTiles = 264;  // at once, otherwise

struct Sizes {
  int states, costs, tables, words;
  int64_t scratch_words() const { return 2 * static_cast<int64_t>(costs) + kLength * static_cast<int64_t>(words); }
  int shared_bytes() const { return 2 * costs * 4 + tables * (2 << states) + kLength * words * 4; }
};

Sizes sizes_of(const Code& c) {
  Sizes out{c.states, 1 << (c.states - std::min(c.first, c.second)), c.first == c.second ? 1 : 2, 0};
  for (const int bits : {c.first, c.second}) out.words = std::max(out.words, bits * (1 << (c.states - bits)) / 32);
  return out;
}

}  // namespace

int64_t roomy_scratch(int32_t states) {
  // One bit a step needs the most.
  if (states <= kMostShared) return 0;
  return kRoomyTiles * 4 * ((int64_t{2} << (states - 1)) + kLength * ((int64_t{1} << (states - 1)) / 32));
}

DeviceCode::DeviceCode(const Stream& stream, const EncodeOption& option) : option_(option) {
  const int64_t count = int64_t{1} << option.states;
  for (int which = 0; which < option.step; ++which) {
    const std::vector<float> values = cpu::trellis_values(option.states, cpu::step_bits(option, which));
    std::vector<uint16_t> turned(values.size());
    for (uint32_t s = 0; s < turned.size(); ++s) {
      const float v = values[cpu::reverse_bits(s, option.states)];
      turned[s] = __half_as_ushort(__float2half_rn(v));
      largest_ = std::max(largest_, std::abs(v));
    }
    values_[which] = DeviceBuffer<uint16_t>(stream, count);
    values_[which].upload(turned.data(), count);
    stream.synchronize();
  }
}

void encode_tiles(const Stream& stream, const DeviceCode& code, const TileMatrix& matrix, const float* wide,
                  int64_t wide_cols, int64_t at, int64_t offset, const float* feedback) {
  const EncodeOption& o = code.option();
  Code c{};
  c.states = o.states;
  c.bits = o.bits;
  c.step = o.step;
  c.first = cpu::step_bits(o, 0);
  c.second = cpu::step_bits(o, o.step - 1);
  for (int i = 0; i < 2; ++i) c.values[i] = reinterpret_cast<const __half*>(code.values(i));
  c.limit = code.largest() + 2;
  const Sizes sizes = sizes_of(c);
  const bool roomy = o.states > kMostShared;
  const int threads = std::min(512, sizes.costs);
  const int64_t tiles = tiles_along(matrix.rows), last = tile_extent(matrix.rows, tiles - 1);
  const int64_t wave = roomy ? std::min(tiles, kRoomyTiles) : tiles;
  const DeviceBuffer<uint32_t> scratch(stream, roomy ? wave * sizes.scratch_words() : 0);
  allow_all_shared_memory(tile_kernel<false>);
  for (int64_t first = 0; first < tiles; first += wave) {
    const Launch launch{matrix,
                        wide,
                        wide_cols,
                        at,
                        offset,
                        feedback,
                        tile_offset(o, matrix.rows + kTileSide, matrix.cols, 1, 0),
                        lq::tile_bits(o, kTileSide * kTileSide),
                        lq::tile_bits(o, last * kTileSide),
                        (at + offset) / kTileSide,
                        tiles_along(matrix.cols),
                        first,
                        o.tail_biting,
                        sizes.costs,
                        sizes.tables,
                        sizes.words,
                        scratch.get(),
                        sizes.scratch_words()};
    const auto count = static_cast<unsigned>(std::min(wave, tiles - first));
    if (roomy) {
      tile_kernel<true><<<count, threads, 0, stream.get()>>>(c, launch);
    } else {
      tile_kernel<false><<<count, threads, sizes.shared_bytes(), stream.get()>>>(c, launch);
    }
    check_launch("encoding tiles");
  }
}

}  // namespace lq::cuda
