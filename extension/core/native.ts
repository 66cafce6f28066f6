/**
 * The addon's whole surface. Only this folder loads the addon (`load.ts`), only through these types.
 *
 * Weights never cross into JavaScript: a tensor is named by where its bytes are. Every method that works longer than a
 * millisecond runs on native threads, takes a `NativeControl` and resolves on the event loop. Rejections are Errors with
 * `code` (a StatusCode name of native/include/lq/types.h, for example 'not_finite'), `index` and `message`; the caller adds
 * file and tensor.
 */
import type { NativeControl } from './native/control';
import type {
  EncodeDestination,
  EncodeParameters,
  LqDestination,
  LqParameters,
  NativeDecomposition,
  NativeEncodeCosts,
  NativeEncoding,
  NativeSweepOption,
  NativeSweepResult,
} from './native/encoding';
import type {
  ModelWeight,
  NativeLanguageModel,
  NativeLanguageModelConfig,
  NativeLayerPass,
} from './native/language-model';
import type {
  ByteRange,
  DenseSource,
  EncodedSource,
  LqSource,
  NativeBook,
  NativeOption,
  QuantConfig,
  WeightSource,
} from './native/sources';

export type * from './native/control';
export type * from './native/encoding';
export type * from './native/language-model';
export type * from './native/sources';

export interface NativeDevice {
  id: string; // 'cpu', 'cuda:0'
  name: string;
  detail: string;
  memoryTotal: number;
  memoryFree: number;
  /** Calls that may run at once. */
  lanes: number;
  /** Of the CPU: its instructions for products in bf16. */
  bf16?: 'none' | 'avx512-bf16' | 'amx';
}

export interface NativeStatistics {
  count: number;
  zeros: number;
  nans: number;
  infs: number;
  firstNan: number;
  firstInf: number;
  min: number;
  max: number;
  mean: number;
  stddev: number;
  absmax: number;
  kurtosis: number;
  histogram: { low: number; high: number; counts: Float64Array; sampled: number };
  rowNorms: Float64Array;
  colNorms: Float64Array;
}

export interface NativeModule {
  /** Number of the surface described here; `load.ts` refuses another. */
  readonly version: number;
  /**
   * Devices that can be used now: 'cpu' first. `libraries` are those of an accelerator that are there, `problems` says what
   * kept it from being used.
   */
  devices(): { devices: NativeDevice[]; libraries: { name: string; path: string }[]; problems: string[] };
  /** Threads of calls that do not say; 0: all cores. */
  setThreads(threads: number): void;

  /** Hash of bytes (XXH64, 16 hex digits), streamed. */
  hash(range: ByteRange, control: NativeControl): Promise<string>;
  /** Copies bytes between files without passing through JavaScript. */
  copy(from: ByteRange, to: ByteRange, control: NativeControl): Promise<void>;
  /**
   * Exchanges the names of two files or folders in one step, so that both are there at every moment. Resolves with whether the
   * file system can do that; where it cannot, nothing is changed.
   */
  exchange(one: string, other: string, control: NativeControl): Promise<boolean>;
  /** Writes the sum of fp32 ranges of one size, each times its weight, added in fp64. */
  weightedSum(terms: { range: ByteRange; weight: number }[], to: ByteRange, control: NativeControl): Promise<void>;

  statistics(device: string, source: WeightSource, bins: number, control: NativeControl): Promise<NativeStatistics>;
  preview(
    device: string,
    source: WeightSource,
    rows: number,
    cols: number,
    control: NativeControl,
  ): Promise<{ minimum: Float32Array; maximum: Float32Array; mean: Float32Array }>;
  /** |a - b|: squared error, squared norm of a, and the down-sampled mean absolute difference. */
  difference(
    device: string,
    a: WeightSource,
    b: WeightSource,
    rows: number,
    cols: number,
    control: NativeControl,
  ): Promise<{ squaredError: number; squaredNorm: number; maxAbsolute: number; mean: Float32Array }>;
  singularValues(
    device: string,
    source: WeightSource,
    count: number,
    seed: number,
    control: NativeControl,
  ): Promise<Float64Array>;

  sweep(
    device: string,
    weight: DenseSource,
    options: NativeSweepOption[],
    parameters: LqParameters,
    control: NativeControl,
  ): Promise<NativeSweepResult>;
  decompose(
    device: string,
    weight: DenseSource,
    option: NativeSweepOption,
    parameters: LqParameters,
    destination: LqDestination,
    control: NativeControl,
  ): Promise<NativeDecomposition>;
  /**
   * Costs of many options of one matrix, which share its transform, the factors of its metric and its low-rank parts. With
   * `predict` a cost that can be predicted within a few percent (a trellis without low rank) is not measured. `unsupported`,
   * with a sentence, for an option that cannot be done, before anything is encoded.
   */
  encodeCosts(
    device: string,
    weight: DenseSource,
    options: NativeOption[],
    parameters: EncodeParameters & { predict?: boolean },
    control: NativeControl,
  ): Promise<NativeEncodeCosts>;
  /**
   * Encodes a matrix under one option and writes its parts. With `correction` (kfac only) the target is
   * W + alpha W C H^-1 with C = E[(x_f - x_q) x_q^T], F32 [cols, cols]; costs are against that target.
   */
  encode(
    device: string,
    weight: DenseSource,
    option: NativeOption,
    parameters: EncodeParameters & { correction?: { cross: DenseSource; alpha: number } },
    destination: EncodeDestination,
    control: NativeControl,
  ): Promise<NativeEncoding>;
  /** Writes the weight, put together and rounded to the destination's dtype, at the destination. */
  reconstruct(
    device: string,
    source: LqSource | EncodedSource,
    destination: DenseSource,
    control: NativeControl,
  ): Promise<void>;

  /** Writes a weight's values, rounded to the destination's dtype, at the destination. */
  convert(device: string, source: WeightSource, destination: DenseSource, control: NativeControl): Promise<void>;
  /** Reorders rows in place, whatever they hold: the new row i is the row order[i]. */
  orderRows(range: ByteRange, order: Int32Array, control: NativeControl): Promise<void>;

  openLanguageModel(
    device: string,
    config: NativeLanguageModelConfig,
    weights: ModelWeight[],
  ): Promise<NativeLanguageModel>;

  /**
   * A tokenizer from the text of its tokenizer.json, by the Rust library that transformers uses.
   * Rejects with what that library says of a definition it cannot use, also where it breaks off.
   */
  openTokenizer(definition: string): Promise<NativeTokenizer>;

  /**
   * Starts a pass in layer order over tokens [sequences, context]. `weights` are the dense model's. Memory: the hidden states
   * of all tokens twice and one layer's weights.
   */
  openLayerPass(
    device: string,
    config: NativeLanguageModelConfig,
    weights: ModelWeight[],
    tokens: Int32Array,
    context: number,
  ): Promise<NativeLayerPass>;

  /** Operations on arrays, for conformance tests against recorded vectors. */
  readonly arrays: NativeArrayOps;
}

export interface NativeTokenizer {
  /** Ids of a text, computed by another process; no special tokens are put around it, nothing is cut or padded. */
  encode(text: string, signal?: AbortSignal): Promise<number[]>;
  /** Id of a token, undefined where the vocabulary has none of that text. */
  idOf(token: string): Promise<number | undefined>;
}

interface NativeArrayOps {
  quantize(
    device: string,
    weights: Float32Array,
    config: QuantConfig,
    book: NativeBook,
  ): { offset: number; groups: Float32Array; scales: Uint8Array; codes: Uint8Array; dequantized: Float32Array };
  /** Fields of `bits` bits, lowest bits first. */
  pack(values: Uint8Array, bits: number): Uint8Array;
  unpack(packed: Uint8Array, bits: number, count: number): Uint8Array;
  factorize(
    device: string,
    matrix: Float32Array,
    rows: number,
    cols: number,
    rank: number,
    parameters: {
      rowScale?: Float32Array;
      colScale?: Float32Array;
      oversampling: number;
      powerIterations: number;
      seed: number;
    },
  ): { l1: Float32Array; l2: Float32Array };
  decompose(
    device: string,
    matrix: Float32Array,
    rows: number,
    cols: number,
    option: NativeSweepOption,
    parameters: Omit<LqParameters, 'fisher'> & { fisher?: Float32Array },
  ): { trace: Float64Array; cost: number; squaredError: number; bestIteration: number };
}
