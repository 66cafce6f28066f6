// What a matrix can be encoded as, beyond the two-level NormalFloat of types.h: transform x grid x scales x rounding x
// rank, the metric its error is measured in, and the exact bytes of every part. Plain data, like types.h.
//
// A weight is rebuilt from its parts bit by bit as follows; every operation is one IEEE-754 operation in fp32, rounded
// to nearest even, unless it says that it is exact.
//
// 1. Values. y[i][j] of the matrix [rows, cols], in the coordinates of the transform:
//    nf       level[code] * s       levels fp32, given with the option
//    fitted   level[code] * s       levels bf16, part `book`
//    int      (code - zero) * s     zero = 2^(bits-1) when symmetric, else the group's field of `group_zeros`
//    fp4      +-{0, .5, 1, 1.5, 2, 3, 4, 6}[code & 7] * s   minus when code & 8
//    trellis  value(state) * s      exact: 11 bits times 11 bits
//    gguf     a block type of GGUF (cpu/gguf/blocks.h), its scales inside its blocks; scales `block`, nothing else
//    exl3     value(state), below; scales `block`, transform `two-sided`, rows and columns multiples of 128
//    stored Scalar codes are fields of `bits` bits, one a weight, row-major.
// 2. Scales s. two-level: off + k * v / M as in types.h (k * v, then / M, then the sum), blocks of B0 consecutive
//    weights, row-major. group: fp16 of part `group_scales`, [rows, ceil(cols / size)], a group is `size` consecutive
//    columns of a row, the last may be short. row: fp16 of part `row_scales`, [rows]. searched: as group, of
//    `scale_type` and of either sign on an integer grid, without a multiplier.
// 3. Transform. none: w = y. hadamard: b = largest power of two that divides cols, at most 512; in each run of b
//    consecutive columns of a row, for h = 1, 2, 4, .. b/2, for every pair of columns p, p + h of the run whose offset
//    has bit h clear: (y[p], y[p+h]) = (y[p] + y[p+h], y[p] - y[p+h]). Then w[j] = (y[j] * c) * sign[j] with
//    c = fp32(1 / sqrt(b)) and sign[j] = -1 if bit 63 of z is set, else +1, where (splitmix64, mod 2^64)
//    z = seed + (j + 1) * 0x9E3779B97F4A7C15; z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
//    z = (z ^ z >> 27) * 0x94D049BB133111EB; z = z ^ z >> 31.
//    scaled: w[j] = y[j] / part `input_scales`[j].
//    two-sided: in each run of 128 consecutive columns of a row the sums and differences of `hadamard` with b = 128,
//    then w[i][j] = (y[i][j] * c) * part `input_scales`[j] with its c; then the same down the columns, in each run of
//    128 consecutive rows, and w[i][j] = (w[i][j] * c) * part `row_scales`[i].
// 4. Multiplier (group and row scales): w = w * m, m = part `multiplier`, fp32, a power of two: 1 unless the scales
//    would leave fp16's range.
// 5. Low rank: for k = 0 .. rank-1 in order: w[i][j] = w[i][j] + l1[i][k] * l2[k][j], product and sum each rounded.
//
// Trellis codes. K bits every V weights (V = 1 or 2), states of L bits. A sequence is a tile of 16 rows x 16 columns,
// row-major inside; the last row and column of tiles may be short, a sequence then has fewer weights. Tiles follow each
// other row of tiles by row of tiles. With e(t) = floor((t + 1) K / V), weight t of a tile of m weights has the state
// made of bits e(t) - L .. e(t) - 1 of the tile's stream, the first of them the lowest. Bits 0 .. e(m-1) - 1 of the
// stream are in part `codes`, tile after tile without gaps, lowest bit of a byte first. Bits below 0 are the tile's
// field of part `starts`, L - floor(K / V) bits, its highest bit being bit -1 of the stream; when tail-biting there is
// no such part and bit -i is bit e(m-1) - i (again counted modulo e(m-1), if the stream is shorter than a state).
//
// value(state), for a step that takes k = e(t) - e(t-1) new bits (e(-1) = 0): with p = state mod 2^(L-k) and
// u = state >> (L-k), value = fp16(fp32(Phi^-1((r + 1/2) / 2^L) / sigma)) where
//    r = ((u xor mix1(p)) mod 2^k) * 2^(L-k) + mix0(p),
// so that the 2^k states that follow one another's bits lie in different 2^k-tiles of the normal distribution;
// sigma^2 = mean of Phi^-1((i + 1/2) / 2^L)^2 over i = 0 .. 2^L - 1 (summed in order, double precision), Phi^-1 is
// PPND16 of Wichura's AS 241 in double precision. mix0 and mix1 are permutations of
// n = L - k bits: for n < 2 the identity, else with h = floor(n / 2), all mod 2^n:
//    x = x * A; x = x xor (x >> h); x = x * B; x = x xor (x >> h); x = x * A; x = x xor (x >> h)
//    mix0: A = 0x9E3779B1, B = 0x85EBCA6B;  mix1: A = 0xC2B2AE35, B = 0x27D4EB2F.
//
// EXL3 codes (exllamav3, doc/exl3.md; quant/exl3_dq.cuh): tail-biting trellises of K = 1 .. 8 bits a weight and states
// of 16 bits, a tile 16 x 16, tiles by columns of tiles: tile (i, j) of rows 16 i and columns 16 j is number j * (rows
// / 16) + i, of 32 K bytes. Its stream is read in little-endian words of 32 bits, highest bit first. Weight t has the
// state made of the 16 bits that end with bit (t + 1) K - 1, counted modulo 256 K, the last of them the lowest, and
// lies, with l = floor(t / 8) and k = t mod 8, in
//    column 2 (l mod 4) + (k mod 2) + 8 (floor(k / 2) mod 2), row floor(l / 4) + 8 floor(k / 4)   of the tile.
// value(state), of the number x = state, mod 2^32; halves are fp16, the sum rounded to fp16:
//    3inst  x = x * 89226354 + 64248484; x = (x and 0x8FFF8FFF) xor 0x3B603B60; the sum of the two halves of x
//    mcg    the same from x = x * 0xCBAC1FED
//    mul1   x = x * 0x83DCD12D; s = 1024 + the sum of the four bytes of x; fp16(s * fp16(0x1EEE) + fp16(0xC931)), one
//           rounding
#pragma once

#include "lq/types.h"

namespace lq {

// scaled: inputs are divided by a number each, which is stored, and columns multiplied with it (AWQ, arXiv 2306.00978);
// integer grids without a low-rank part alone. two_sided: scales and blocks of 128 on inputs and outputs; exl3 alone.
enum class Transform : int32_t { none = 0, hadamard, scaled, two_sided };
constexpr int32_t kTransformCount = 4;
// zero: no codes at all, the low-rank part is everything; with ScaleKind::block.
enum class GridKind : int32_t { nf = 0, fitted, integer, fp4, trellis, gguf, zero, exl3 };
enum class Exl3Code : int32_t { inst3 = 0, mcg, mul1 };
// block: inside the codes of a gguf grid, or the transform's of an exl3 grid. searched: a scale a group as other
// programs store it, of least error and not of the absmax; symmetric integers, nf and fp4.
enum class ScaleKind : int32_t { two_level = 0, group, row, block, searched };
// descent: feedback, then coordinate descent.
enum class Rounding : int32_t { nearest = 0, feedback, descent };

struct EncodeOption {
  Transform transform;
  GridKind grid;
  int32_t bits;      // of a code; 4 for fp4; trellis: K, bits every `step` weights
  bool symmetric;    // integer
  int32_t step;      // trellis: V; exl3: 1
  int32_t states;    // trellis: L, 2^L states; exl3: 16
  bool tail_biting;  // trellis; exl3: true
  ScaleKind scales;
  QuantConfig config;     // two_level: b1, b2, block, group; b0 is `bits`
  int32_t group;          // ScaleKind::group and searched: columns a group
  ScaleDtype scale_type;  // ScaleKind::searched
  Rounding rounding;
  int32_t rank;
  const CodeBook* book;  // nf
  // gguf: the type's number in cpu/gguf/blocks.h, and the weights and bytes of its blocks.
  int32_t block_type, block_weights, block_bytes;
  Exl3Code exl3_code;
};

// The parts of an encoded matrix. Their names in files and in JavaScript are those of kPartNames.
enum class EncodedPart : int32_t {
  codes = 0,
  scales,        // two-level: fields of b1 bits
  groups,        // two-level: group maxima of type b2
  offset,        // two-level: fp32
  group_scales,  // fp16; searched: of scale_type
  group_zeros,   // integer, not symmetric: fields of `bits` bits, one a group (one a row with row scales)
  row_scales,    // fp16, one a row
  multiplier,    // group and row scales: fp32
  book,          // fitted: 2^bits bf16, ascending
  starts,        // trellis, not tail-biting: fields of L - floor(K / V) bits, one a tile
  input_scales,  // scaled and two_sided: fp16, one a column
};
constexpr int32_t kPartCount = 11;
constexpr const char* kPartNames[kPartCount] = {"codes",        "scales",      "groups",      "offset",
                                                "group_scales", "group_zeros", "row_scales",  "multiplier",
                                                "book",         "starts",      "input_scales"};

constexpr int64_t kTileSide = 16;
// Columns and rows of a block of the two-sided transform.
constexpr int64_t kTwoSidedBlock = 128;

constexpr int64_t tiles_along(int64_t n) { return (n + kTileSide - 1) / kTileSide; }
// Rows or columns of tile `index` along a side of n.
constexpr int64_t tile_extent(int64_t n, int64_t index) {
  return n - index * kTileSide < kTileSide ? n - index * kTileSide : kTileSide;
}
// e(t) of the text above: bits of the stream that weights 0 .. t have taken.
constexpr int64_t trellis_end(const EncodeOption& o, int64_t t) { return (t + 1) * o.bits / o.step; }
// Bits of a tile of m weights, and of all of them.
constexpr int64_t tile_bits(const EncodeOption& o, int64_t m) { return m * o.bits / o.step; }
// Where the stream of tile (i, j) starts, in bits of part `codes`.
constexpr int64_t tile_offset(const EncodeOption& o, int64_t rows, int64_t cols, int64_t i, int64_t j) {
  const int64_t full = cols / kTileSide, rest = cols % kTileSide;
  const int64_t row = full * tile_bits(o, kTileSide * kTileSide) + tile_bits(o, kTileSide * rest);
  return i * row + j * tile_bits(o, tile_extent(rows, i) * kTileSide);
}
constexpr int64_t trellis_bits(const EncodeOption& o, int64_t rows, int64_t cols) {
  const int64_t i = tiles_along(rows) - 1, j = tiles_along(cols) - 1;
  return tile_offset(o, rows, cols, i, j) + tile_bits(o, tile_extent(rows, i) * tile_extent(cols, j));
}
constexpr int64_t start_bits(const EncodeOption& o) { return o.states - o.bits / o.step; }

constexpr bool has_groups(const EncodeOption& o) {
  return o.scales == ScaleKind::group || o.scales == ScaleKind::searched;
}

// Groups of a row: one with row scales.
constexpr int64_t groups_a_row(const EncodeOption& o, int64_t cols) {
  return has_groups(o) ? (cols + o.group - 1) / o.group : 1;
}

// Exact bytes of a part, 0 when the option does not have it. Fields are packed little-endian, lowest bits first, and
// padded with zeros to a byte at the end of the part. cols >= 1, rows >= 1.
constexpr int64_t part_bytes(const EncodeOption& o, int64_t rows, int64_t cols, EncodedPart part) {
  const int64_t n = rows * cols;
  const bool two_level = o.scales == ScaleKind::two_level, trellis = o.grid == GridKind::trellis;
  const bool two_sided = o.transform == Transform::two_sided;
  switch (part) {
    case EncodedPart::codes:
      if (o.grid == GridKind::gguf) return n / o.block_weights * o.block_bytes;
      return ((trellis ? trellis_bits(o, rows, cols) : n * o.bits) + 7) / 8;
    case EncodedPart::scales:
      return two_level ? scale_bytes(o.config, n) : 0;
    case EncodedPart::groups:
      return two_level ? group_bytes(o.config, n) : 0;
    case EncodedPart::offset:
      return two_level ? 4 : 0;
    case EncodedPart::group_scales:
      if (o.scales == ScaleKind::searched) return rows * groups_a_row(o, cols) * scale_bits(o.scale_type) / 8;
      return o.scales == ScaleKind::group ? rows * groups_a_row(o, cols) * 2 : 0;
    case EncodedPart::group_zeros:
      return o.grid == GridKind::integer && !o.symmetric && !two_level ? (rows * groups_a_row(o, cols) * o.bits + 7) / 8
                                                                       : 0;
    case EncodedPart::row_scales:
      return o.scales == ScaleKind::row || two_sided ? rows * 2 : 0;
    case EncodedPart::multiplier:
      return two_level || o.scales == ScaleKind::block || o.scales == ScaleKind::searched ? 0 : 4;
    case EncodedPart::book:
      return o.grid == GridKind::fitted ? int64_t{2} << o.bits : 0;
    case EncodedPart::starts:
      return trellis && !o.tail_biting ? (tiles_along(rows) * tiles_along(cols) * start_bits(o) + 7) / 8 : 0;
    case EncodedPart::input_scales:
      return o.transform == Transform::scaled || two_sided ? cols * 2 : 0;
  }
  return 0;
}

// An encoded matrix in buffers of exactly part_bytes; null where the option has no such part. The caller owns them.
struct EncodedView {
  EncodeOption option;
  int64_t rows, cols;
  uint64_t seed;  // of the signs
  uint8_t* parts[kPartCount];
};

// A two-level tensor as an encoded matrix [rows, cols] beside a low-rank part; the view points into q.
inline EncodedView encoded_view(QuantizedView& q, int64_t rows, int64_t cols, int32_t rank) {
  EncodedView e{};
  e.option.bits = q.config.b0;
  e.option.step = 1;
  e.option.config = q.config;
  e.option.rank = rank;
  e.option.book = q.book;
  e.rows = rows;
  e.cols = cols;
  e.parts[static_cast<size_t>(EncodedPart::codes)] = q.codes;
  e.parts[static_cast<size_t>(EncodedPart::scales)] = q.scales;
  e.parts[static_cast<size_t>(EncodedPart::groups)] = q.groups;
  e.parts[static_cast<size_t>(EncodedPart::offset)] = reinterpret_cast<uint8_t*>(&q.offset);
  return e;
}

// What an error E [rows, cols] costs.
//   plain   sum of e^2
//   fisher  sum of F e^2, F elementwise
//   kfac    sum over rows of g_i e_i H e_i', H = A + damping * mean(diag A) * I
enum class MetricKind : int32_t { plain = 0, fisher, kfac };

struct Metric {
  MetricKind kind;
  const float* fisher;         // F [rows, cols]
  const float* row_weight;     // g [rows]
  const float* second_moment;  // A [cols, cols], symmetric: E[x x'] of the matrix's input
  double damping;
};

// What is encoded: `weight`, or, with `cross` C [cols, cols] = E[(x_f - x_q) x_q'], the corrected target
// W + alpha W C H^-1 (kfac only). All costs are against that target.
struct EncodeProblem {
  MatrixView weight;
  Metric metric;
  uint64_t seed;
  const float* cross;  // or null
  double alpha;
};

struct EncodeCost {
  double cost;           // in the metric
  double squared_error;  // plain; 0 when predicted
  bool measured;         // false: predicted
};

}  // namespace lq
