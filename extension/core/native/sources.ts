/** Where weights are, in every form in which native code reads them, and what a matrix can be encoded as. */
import type { BlockType, Dtype } from '../dtypes';

export type ScaleType = 'bf16' | 'fp16' | 'fp32';

/** c = (b0, b1, b2, B0, B1), see native/include/lq/types.h. */
export interface QuantConfig {
  readonly b0: number;
  readonly b1: number;
  readonly b2: ScaleType;
  readonly B0: number;
  readonly B1: number;
}

/** Bytes of a dense tensor on disk. Rank other than 2 is passed as [1, n]. */
export interface DenseSource {
  kind: 'dense';
  path: string;
  offset: number;
  dtype: Dtype;
  rows: number;
  cols: number;
  /** The bytes are those of [cols, rows]. */
  transposed?: true;
}

/** A stretch of bytes in a file. */
export interface ByteRange {
  path: string;
  offset: number;
  bytes: number;
}

/** A code book: 2^bits levels, ascending. */
export interface NativeBook {
  bits: number;
  levels: Float32Array;
}

/** One packed tensor on disk: codes, scales and group maxima at byte ranges, the offset inline. */
export interface PackedTensor {
  config: QuantConfig;
  book: NativeBook;
  count: number;
  codes: ByteRange;
  scales: ByteRange;
  groups: ByteRange;
  /** fp32, the minimum block absmax. */
  offset: ByteRange;
}

/** A low-rank factor on disk. */
export type FactorSource = DenseSource | { kind: 'packed'; rows: number; cols: number; packed: PackedTensor };

/** W = Q + L1 L2 on disk. `l1`, `l2` are absent at rank 0. */
export interface LqSource {
  kind: 'lq';
  rows: number;
  cols: number;
  /** The tensor it stands for is the transpose, [cols, rows]; of no interest to native code, which has the matrix. */
  transposed?: true;
  quantized: PackedTensor;
  l1?: FactorSource;
  l2?: FactorSource;
}

/** A step of an option that turns the inputs' coordinates before anything is rounded. */
export type NativeTransform = 'none' | 'hadamard' | 'scaled' | 'two-sided';

/** What a weight, divided by its scale, is rounded to (native/include/lq/encode.h has every formula). */
export type NativeGrid =
  | { kind: 'nf'; bits: number }
  /** A book of 2^bits bf16 levels, fitted to the matrix. */
  | { kind: 'fitted'; bits: number }
  | { kind: 'int'; bits: number; symmetric: boolean }
  /** No codes: the low-rank part alone. */
  | { kind: 'zero' }
  | { kind: 'fp4' }
  /** `bits` every `step` weights, from 2^states states. */
  | { kind: 'trellis'; bits: number; step: number; states: number; tailBiting: boolean }
  /** EXL3: `bits` a weight from 2^16 states, whose values are those of a code. */
  | { kind: 'exl3'; bits: number; code: '3inst' | 'mcg' | 'mul1' }
  /** A block type of GGUF, its scales inside its blocks; or a float type of it. */
  | { kind: 'gguf'; type: BlockType | 'F16' | 'BF16' };

export type NativeScales =
  | { kind: 'two-level'; b1: number; b2: QuantConfig['b2']; B0: number; B1: number }
  | { kind: 'group'; size: number; type: 'fp16' }
  | { kind: 'row'; type: 'fp16' }
  | { kind: 'block' }
  | { kind: 'searched'; size: number; type: ScaleType };

/** `descent` is feedback followed by coordinate descent. */
export type NativeRounding = 'nearest' | 'feedback' | 'descent';

/** What a matrix can be encoded as. */
export interface NativeOption {
  transform: NativeTransform;
  grid: NativeGrid;
  scales: NativeScales;
  rounding: NativeRounding;
  /** 0: no low-rank part. */
  rank: number;
  /** The levels of an `nf` grid. */
  book?: NativeBook;
}

/**
 * What an error E costs. plain: sum of e^2. fisher: sum of F e^2, elementwise. kfac: sum over rows of g_i e_i H e_i^T with
 * H = A + damping mean(diag A) I.
 */
export type NativeMetric =
  | { kind: 'plain' }
  | { kind: 'fisher'; /** F32 [rows, cols]. */ fisher: DenseSource }
  | {
      kind: 'kfac';
      /** g, F32 [1, rows]. */
      rowWeight: DenseSource;
      /** A = E[x x^T] of the matrix's input, F32 [cols, cols], or its diagonal, F32 [1, cols]. */
      secondMoment: DenseSource;
      damping: number;
    };

/**
 * The parts of an encoded matrix: `codes` always; `scales`, `groups`, `offset` with two-level scales; `group_scales` with
 * group scales; `row_scales` with row scales; `multiplier` with either of the two; `group_zeros` for an asymmetric integer
 * grid; `book` for a fitted one; `starts` for a trellis that is not tail-biting. Exactly the parts the option has, in exactly
 * the bytes that part_bytes of native/include/lq/encode.h gives.
 */
export type EncodedPart =
  | 'codes'
  | 'scales'
  | 'groups'
  | 'offset'
  | 'group_scales'
  | 'group_zeros'
  | 'row_scales'
  | 'multiplier'
  | 'book'
  | 'starts'
  | 'input_scales';

/** An encoded matrix on disk. `l1`, `l2` are absent at rank 0. */
export interface EncodedSource {
  kind: 'encoded';
  rows: number;
  cols: number;
  /** As of `LqSource`. */
  transposed?: true;
  option: NativeOption;
  /** Seed of the transform's signs. */
  seed: number;
  parts: Partial<Record<EncodedPart, ByteRange>>;
  /** As of `EncodeDestination`. */
  highFirst?: true;
  /** In place of `group_scales`, of fp32: scale i is map[codes[i]] absmax[floor(i / block)] + offset; U8, F32 [256], F32. */
  nested?: { codes: ByteRange; map: ByteRange; absmax: ByteRange; block: number; offset: number };
  l1?: FactorSource;
  l2?: FactorSource;
}

/**
 * A tensor of a GGUF file: rows of whole blocks, or of elements of a floating-point type. `order` is given where rows, or
 * the elements of a vector, are stored in another order: it says which one each stored one is. `plus` is added to what is stored.
 */
export interface GgufSource {
  kind: 'gguf';
  type: BlockType | Dtype;
  rows: number;
  cols: number;
  range: ByteRange;
  order?: Int32Array;
  plus?: number;
}

/** A matrix in MXFP4: two codes a byte, the first in the low half, and for 32 weights of a row the exponent plus 127. */
export interface Mxfp4Source {
  kind: 'mxfp4';
  rows: number;
  cols: number;
  blocks: ByteRange;
  scales: ByteRange;
}

export type WeightSource = DenseSource | LqSource | EncodedSource | GgufSource | Mxfp4Source;
