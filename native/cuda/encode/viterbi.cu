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
};

// Shared memory: costs before and after a step, values, then for every step the oldest bits that were the best, a word
// for 32 states.
__global__ void __launch_bounds__(512) tile_kernel(Code code, Launch a, int cost_count, int table_count, int words) {
  extern __shared__ float shared[];
  __shared__ float targets[kLength];
  __shared__ uint16_t path[kLength];
  __shared__ float least[32];
  __shared__ int place[32];
  float *before = shared, *after = shared + cost_count;
  __half* table = reinterpret_cast<__half*>(shared + 2 * cost_count);
  const int states = 1 << code.states;
  uint32_t* history = reinterpret_cast<uint32_t*>(table + table_count * states);
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);

  for (int i = thread; i < table_count * states; i += threads)
    table[i] = code.values[i >> code.states][i & (states - 1)];
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kSide, col = a.at + a.offset;
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
  for (int p = thread; p < cost_count; p += threads) before[p] = 0;
  __syncthreads();

  for (int t = 0; t < count; ++t) {
    const int bits = bits_of(code, t), next = t + 1 < count ? bits_of(code, t + 1) : code.first;
    const int rest = code.states - next, kept = 1 << rest, older = 1 << next;
    const __half* v = table + (table_count == 2 && bits != code.first ? states : 0);
    const float target = targets[t];
    for (int p = thread; p < kept; p += threads) {
      float best = 3e38f;
      int from = 0;
      for (int h = 0; h < older; ++h) {
        const int s = (h << rest) | p;
        const float d = target - __half2float(v[s]), cost = fmaf(d, d, before[s >> bits]);
        if (cost < best) {
          best = cost;
          from = h;
        }
      }
      after[p] = best;
      for (int b = 0; b < next; ++b) {
        const uint32_t word = __ballot_sync(0xffffffffu, (from >> b) & 1);
        if (thread % 32 == 0) history[t * words + b * (kept / 32) + p / 32] = word;
      }
    }
    __syncthreads();
    float* swapped = before;
    before = after;
    after = swapped;
  }

  // The end of least cost, the lowest of equals.
  const int ends = 1 << (code.states - code.first);
  float best = 3e38f;
  int end = 0;
  for (int p = thread; p < ends; p += threads) {
    if (before[p] < best) {
      best = before[p];
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
    int p = end;
    for (int t = count - 1; t >= 0; --t) {
      const int next = t + 1 < count ? bits_of(code, t + 1) : code.first, rest = code.states - next;
      int h = 0;
      for (int b = 0; b < next; ++b) {
        h |= static_cast<int>(history[t * words + b * ((1 << rest) / 32) + p / 32] >> (p % 32) & 1u) << b;
      }
      const int s = (h << rest) | p;
      path[t] = static_cast<uint16_t>(s);
      p = s >> bits_of(code, t);
    }
  }
  __syncthreads();

  for (int i = thread; i < count; i += threads) {
    const int64_t r = row + i / width, k = r * a.m.cols + col + i % width;
    const int bits = bits_of(code, i);
    const float value = __half2float(table[(table_count == 2 && bits != code.first ? states : 0) + path[i]]);
    a.m.values[k] = value;
    a.m.error[k] = a.m.target[k] - value * a.m.scales[r];
  }
  const int64_t tile = static_cast<int64_t>(blockIdx.x);
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

}  // namespace

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
  const int tables = c.first == c.second ? 1 : 2, least = std::min(c.first, c.second);
  const int costs = 1 << (c.states - least);
  int words = 0;
  for (const int bits : {c.first, c.second}) words = std::max(words, bits * (1 << (c.states - bits)) / 32);
  const int shared = 2 * costs * 4 + tables * (2 << c.states) + kLength * words * 4;
  const int threads = std::min(512, costs);
  allow_all_shared_memory(tile_kernel);
  const int64_t column = (at + offset) / kTileSide, columns = tiles_along(matrix.cols);
  const int64_t last = tile_extent(matrix.rows, tiles_along(matrix.rows) - 1);
  const Launch launch{matrix,
                      wide,
                      wide_cols,
                      at,
                      offset,
                      feedback,
                      tile_offset(o, matrix.rows + kTileSide, matrix.cols, 1, 0),
                      lq::tile_bits(o, kTileSide * kTileSide),
                      lq::tile_bits(o, last * kTileSide),
                      column,
                      columns};
  tile_kernel<<<static_cast<unsigned>(tiles_along(matrix.rows)), threads, shared, stream.get()>>>(c, launch, costs,
                                                                                                  tables, words);
  check_launch("encoding tiles");
}

}  // namespace lq::cuda
