/**
 * The addon's whole surface. Only this folder loads the addon (`load.ts`), only through these types.
 *
 * Weights never cross into JavaScript: a tensor is named by where its bytes are. Every method that works longer than a
 * millisecond runs on native threads, takes a `NativeControl` and resolves on the event loop. Rejections are Errors with
 * `code` (a StatusCode name of native/include/lq/types.h, for example 'not_finite'), `index` and `message`; the caller adds
 * file and tensor.
 */
import type { BlockType, Dtype } from './dtypes';

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
export type NativeTransform = 'none' | 'hadamard' | 'scaled';

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
  l1?: FactorSource;
  l2?: FactorSource;
}

/**
 * A tensor of a GGUF file: rows of whole blocks, or of elements of a floating-point type. `heads` is given when rows are
 * stored in the order of rotary pairs within so many heads; they are read in the order of halves.
 */
export interface GgufSource {
  kind: 'gguf';
  type: BlockType | Dtype;
  rows: number;
  cols: number;
  range: ByteRange;
  heads?: number;
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

/** How an encoding is judged and found. */
interface EncodeParameters {
  metric: NativeMetric;
  seed: number;
}

interface NativeEncodeCosts {
  /** In the metric, one an option. */
  costs: Float64Array;
  /** Plain squared errors; NaN where the cost was predicted. */
  squaredErrors: Float64Array;
  /** 1 where the option was encoded and measured, 0 where its cost was predicted. */
  measured: Uint8Array;
  /** Squared norm of W, plain and in the metric. */
  norm: number;
  weightedNorm: number;
}

/** Where an encoding is written. Files exist with their final size; ranges have the exact part sizes. */
export interface EncodeDestination {
  parts: Partial<Record<EncodedPart, ByteRange>>;
  /** Of codes of 4 bits: the first of a byte is in its high half, not in the low one. */
  highFirst?: true;
  l1?: FactorSource;
  l2?: FactorSource;
}

interface NativeEncoding {
  /** Cost in the metric and plain squared error, factors in fp32. */
  cost: number;
  squaredError: number;
  /** The same of what was stored, factors in their storage type. */
  storedCost: number;
  storedSquaredError: number;
}

/** Cancellation and progress of one call. The buffer is shared with native code: element 0 non-zero means stop. */
export interface NativeControl {
  cancel?: Int32Array<SharedArrayBuffer>;
  /** Threads that the call's loops on the CPU take; 0 or absent: as `setThreads` said. Calls beside it keep theirs. */
  threads?: number;
  progress?: (done: number, total: number) => void;
}

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

export interface LqParameters {
  /** File range of the elementwise Fisher weight, fp32 [rows, cols]; absent for the plain error. */
  fisher?: DenseSource;
  scales: 'sqrt-of-means' | 'means-of-sqrt';
  iterations: number;
  patience: number;
  oversampling: number;
  powerIterations: number;
  seed: number;
}

export interface NativeSweepOption {
  config: QuantConfig;
  book: NativeBook;
  rank: number;
}

interface NativeSweepResult {
  costs: Float64Array;
  squaredErrors: Float64Array;
  quantizedCosts: Float64Array;
  iterations: Int32Array;
  /** Squared norms of W, plain and weighted. */
  norm: number;
  weightedNorm: number;
}

/** Where the parts of a decomposition are written. Files exist with their final size; ranges have the exact part sizes. */
export interface LqDestination {
  codes: ByteRange;
  scales: ByteRange;
  groups: ByteRange;
  offset: ByteRange;
  /** Factors: dense in fp32 or bf16, or packed. Absent at rank 0. */
  l1?: FactorSource;
  l2?: FactorSource;
}

export interface NativeDecomposition {
  cost: number;
  squaredError: number;
  quantizedCost: number;
  iterations: number;
  /** 0 when quantisation alone, or with one step of factors, is stored because it is better. */
  bestIteration: number;
  /** Weighted error norm of each iteration. */
  trace: Float64Array;
  /** Squared errors of what was stored, factors in their storage type. */
  storedCost: number;
  storedSquaredError: number;
}

export interface NativeLanguageModelConfig {
  layers: number;
  hidden: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  intermediate: number;
  vocab: number;
  maxPositions: number;
  rmsEps: number;
  ropeTheta: number;
  rope: {
    type: 'default' | 'linear' | 'llama3' | 'dynamic' | 'yarn' | 'longrope';
    factor?: number;
    lowFreqFactor?: number;
    highFreqFactor?: number;
    originalMaxPositions?: number;
    attentionFactor?: number;
    betaFast?: number;
    betaSlow?: number;
    /** yarn: the range of pairs that is interpolated is not rounded to whole pairs. */
    exact?: boolean;
    /** longrope: what divides each frequency up to the original length, and beyond it. */
    shortFactors?: number[];
    longFactors?: number[];
  };
  slidingWindow: number;
  attentionBias: boolean;
  outputBias: boolean;
  qkNorm: boolean;
  tiedEmbeddings: boolean;
  mlpBias: boolean;

  // Parts beyond Llama's; absent is Llama.
  /** `layer`: the mean is subtracted, and there is a bias. Default `rms`. */
  norm?: 'rms' | 'layer';
  /** Added to the weights of RMS norms. */
  normOffset?: number;
  /** Layer norms have no bias; nor a weight. */
  normUnbiased?: boolean;
  normBare?: boolean;
  /**
   * Where norms stand: before each half of a block, after it (before its result is added), both, or after it was added, on
   * the stream itself. Default `before`.
   */
  normPlaces?: 'before' | 'after' | 'both' | 'sum';
  /** The first block's attention reads the stream as it is; the head does. */
  noFirstNorm?: boolean;
  noLastNorm?: boolean;
  /**
   * With qkNorm: RMS of each head (the default), of all together, LayerNorm of each head, that with weights of its own, or RMS
   * of each head without weights where it is rotated.
   */
  headNorm?: 'each' | 'together' | 'layer' | 'layer_own' | 'bare';
  /** Attention and MLP read the same, through the same norm or each through its own. */
  parallel?: boolean;
  sharedNorm?: boolean;
  /** Tokens attend to those after them too; a window is as wide to either side. */
  bothDirections?: boolean;
  /** Windows are chunks of the sequence, which tokens attend within. */
  chunked?: boolean;
  /** Queries are multiplied with 1 + rate log(1 + floor((position + offset) / length)), in all layers or those not rotated. */
  queryGrowth?: { rate: number; length: number; offset: number; unrotated: boolean };
  /** q, k and v are one tensor: one after another, or by key-value head with the queries of its group. */
  fusedQkv?: 'stacked' | 'grouped';
  /** gate and up are one tensor. */
  fusedGateUp?: 'stacked';
  /** Default `silu`. */
  activation?: NativeActivation;
  /** down(f(up(x))) instead of down(f(gate(x)) up(x)). */
  plainMlp?: boolean;
  /** Of scores; default 1 / sqrt(headDim). */
  attentionScale?: number;
  /** Scores, logits x become c tanh(x / c). */
  attentionSoftcap?: number;
  logitSoftcap?: number;
  /** q, k and v are cut to [-c, c]. */
  attentionClamp?: number;
  /** By head: slope * (position of the key - own one) is added to scores. */
  alibi?: number[];
  /** With alibi: slope * position of the key is rounded to bf16 and multiplied by this (Falcon). */
  alibiRounded?: boolean;
  alibiScale?: number;
  /** Each head has a further logit in its softmax, which attends to nothing. */
  sinks?: boolean;
  /** Multipliers of embeddings, of what each half adds, of logits. */
  embeddingScale?: number;
  residualScale?: number;
  logitScale?: number;
  /** Leading dimensions of a head that are rotated; default all. */
  rotaryDim?: number;
  /** Pairs are neighbours, not half a head apart. */
  rotaryInterleaved?: boolean;
  /** Base of the second rotary embedding, which is never scaled. */
  ropeLocalTheta?: number;
  /** By layer; default slidingWindow and `standard` everywhere. */
  layerTraits?: NativeLayerTraits[];
  /** Experts of the layers that are routed. */
  experts?: NativeExperts;
  /** What the embedding is beyond rows of a table as wide as the stream. */
  embedding?: {
    /** Of a row, which is projected to `hidden`: before positions are added, or after everything. */
    width?: number;
    projectFirst?: boolean;
    projectionBias?: boolean;
    /** Rows of a table of learned positions, and that of the first position. */
    positions?: number;
    positionOffset?: number;
    /** A token that has the row before the first position and is not counted. */
    padding?: number;
    /** Rows of a table of token types, of which the first is added. */
    types?: number;
    /** Whether the sum is normalised. */
    norm?: boolean;
  };
  /** Logits are made of norm(f(dense x)), as wide as the embedding. */
  headTransform?: { bias?: boolean; norm?: boolean; activation: NativeActivation };
  /** Logits have a bias. */
  headBias?: boolean;
  /**
   * Masked tokens are predicted, not the next ones: a token t < 0 is this one at a place where ~t is to be predicted. Every
   * sequence has as many, one at least.
   */
  maskToken?: number;
  /**
   * Of products on the CPU, default fp32: bf16 are operands as sums of two bf16 terms, with sums in fp32. CUDA has its own.
   */
  precision?: 'fp32' | 'bf16';
}

export type NativeActivation = 'silu' | 'gelu_tanh' | 'gelu' | 'relu' | 'relu_squared' | 'gelu_quick' | 'identity';

interface NativeLayerTraits {
  /** Tokens attended to; 0: all before. */
  window: number;
  rotary: 'standard' | 'local' | 'none';
  /** Of the MLP that every token goes through, 0: none; default `intermediate`, which is the widest. */
  width?: number;
  /** Whether there are experts besides. */
  routed?: boolean;
}

/** Each token goes through topK of `count` experts, chosen and weighed by scores that are made of a router's logits. */
export interface NativeExperts {
  count: number;
  topK: number;
  /** Width of one. */
  intermediate: number;
  /** `softmax_of_chosen`: the largest logits are chosen, and weighed by their softmax alone. */
  score: 'softmax' | 'sigmoid' | 'softmax_of_chosen';
  /** Logits have a bias. */
  routerBias?: boolean;
  /** There is a bias of scores where experts are chosen, not where they are weighed. */
  correctionBias?: boolean;
  /** Experts are chosen within the topGroups of so many groups whose two best scores add up highest. */
  groups?: number;
  topGroups?: number;
  /** Weights are divided by their sum. */
  renormalise?: boolean;
  /** Multiplies weights. */
  scale?: number;
  /** Weights multiply what experts read, not what they give. */
  scaleInput?: boolean;
  /** What the shared expert gives is multiplied with the sigmoid of a gate. */
  sharedGate?: boolean;
  /** gate, up and down have biases. */
  bias?: boolean;
  /** gate and up of an expert, and their biases, are one tensor: one after the other, or row by row in turn. */
  fusedGateUp?: 'stacked' | 'interleaved';
  /** Experts compute (up + 1) gate sigmoid(clampAlpha gate), gate at most clampLimit and up within it. */
  clampLimit?: number;
  clampAlpha?: number;
}

/** Where a weight is in the network: kinds as in native/include/lq/language_model.h, layer -1 for what is in none. */
export interface WeightPlace {
  layer: number;
  kind: string;
  /** For matrices and biases of an expert. */
  expert?: number;
}

/** An input of a layer; an expert's mlp and down are its own. */
export interface InputPlace {
  layer: number;
  input: BlockInput;
  expert?: number;
}

export interface ModelWeight extends WeightPlace {
  /** The tensor's name, for errors: a rejection carries it as `tensor`, with `file`. */
  name: string;
  source: WeightSource;
  /** The source is [cols, rows] of a matrix [rows, cols]. */
  transposed?: true;
}

/** The inputs of a block's matrices: of q, k, v; of o; of gate, up; of down. */
export type BlockInput = 'attention' | 'output' | 'mlp' | 'down';

/** Squared gradients of a matrix [rows, cols], one sequence a sample. */
export interface WantedGradient extends WeightPlace {
  /** [rows, cols]: mean over sequences, F. */
  fisher?: ByteRange;
  /** [rows]: mean over F's columns. */
  rowMean?: ByteRange;
}

/** Second moment of an input of `n` features. */
export interface WantedInput extends InputPlace {
  /** [n, n]: mean over tokens of x x^T; of an expert over all tokens too, those that are not routed to it being 0. */
  secondMoment: ByteRange;
  /** [n]: its diagonal. */
  meanSquare: ByteRange;
}

/** How a model's predictions differ from another's, token by token. */
export interface NativeDivergence {
  /** Mean cross entropy of each sequence, of this model and of the other. */
  losses: Float64Array;
  otherLosses: Float64Array;
  /** KL(this || other) in nats: mean over predictions, and what 99 % of them do not exceed. */
  kl: { mean: number; p99: number };
  /** Share of predictions where both find the same token likeliest. */
  sameTop: number;
}

/** An opened model. Weights stay in their stored type; `close` frees them. */
export interface NativeLanguageModel {
  /** Mean cross entropy of the predictions of each row of tokens [sequences, context]. */
  losses(tokens: Int32Array, context: number, control: NativeControl): Promise<Float64Array>;
  /** Logits [context, vocab] of one sequence; for tests. */
  logits(tokens: Int32Array, control: NativeControl): Promise<Float32Array>;
  /**
   * Calibration statistics in one pass: what is wanted is written as fp32 at its place. Files exist with their final size.
   * Without gradients nothing runs backwards. Returns the losses.
   */
  calibrate(
    tokens: Int32Array,
    context: number,
    wanted: { gradients: WantedGradient[]; inputs: WantedInput[] },
    control: NativeControl,
  ): Promise<Float64Array>;
  /** Runs both models over tokens [sequences, context] once. The other one is open on the same device and has its vocabulary. */
  divergence(
    other: NativeLanguageModel,
    tokens: Int32Array,
    context: number,
    control: NativeControl,
  ): Promise<NativeDivergence>;
  close(): void;
}

/**
 * Two streams of hidden states through one model in layer order: dense, x_f, and encoded, x_q, in which matrices are
 * replaced as they become known. Layers go from 0 on; within one q, k, v come before o, o before gate and up, those before
 * down. A call out of order rejects with 'invalid_argument'.
 */
export interface NativeLayerPass {
  /**
   * Moments of an input as the weights replaced so far make it: E[x_q x_q^T] and E[(x_f - x_q) x_q^T], means over
   * tokens, fp32 [n, n]. An expert's are of the tokens that the encoded stream routes to it, the others being 0. Files exist
   * with their final size. Progress counts sequences.
   */
  moments(
    place: InputPlace,
    destination: { secondMoment: ByteRange; cross?: ByteRange },
    control: NativeControl,
  ): Promise<void>;
  /** The encoded stream multiplies with this from now on. */
  replace(place: WeightPlace, source: WeightSource, control: NativeControl): Promise<void>;
  /** Takes both streams through the layer. Progress counts sequences. */
  advance(layer: number, control: NativeControl): Promise<void>;
  close(): void;
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
  /** Reorders rows in place, whatever they hold: of each of `heads` heads from halves to pairs (half, pair) -> (pair, half). */
  pairRows(range: ByteRange, rows: number, heads: number, control: NativeControl): Promise<void>;

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
