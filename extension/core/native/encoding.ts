/** What encodings and the LQ iteration are given, and what they give back. */
import type {
  ByteRange,
  DenseSource,
  EncodedPart,
  FactorSource,
  NativeBook,
  NativeMetric,
  QuantConfig,
} from './sources';

/** How an encoding is judged and found. */
export interface EncodeParameters {
  metric: NativeMetric;
  seed: number;
}

export interface NativeEncodeCosts {
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

export interface NativeEncoding {
  /** Cost in the metric and plain squared error, factors in fp32. */
  cost: number;
  squaredError: number;
  /** The same of what was stored, factors in their storage type. */
  storedCost: number;
  storedSquaredError: number;
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

export interface NativeSweepResult {
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
