/** What the analysis stages report. */
import type { LogicalTensor } from '../checkpoint/types';

/** A logical weight in a report. */
export interface WeightRow extends Pick<
  LogicalTensor,
  'name' | 'dtype' | 'format' | 'role' | 'layer' | 'parameters' | 'bytes' | 'bitsPerWeight'
> {
  readonly shape: number[];
}

export interface DifferenceReport {
  name: string;
  relativeError: number;
  maxAbsolute: number;
  rows: number;
  cols: number;
  mean: number[];
}

export interface TensorStatistics {
  name: string;
  dtype: string;
  shape: number[];
  count: number;
  zeros: number;
  nans: number;
  infs: number;
  /** Flat index of the first NaN or Inf, -1 when there is none. */
  firstNan: number;
  firstInf: number;
  min: number;
  max: number;
  mean: number;
  stddev: number;
  absmax: number;
  kurtosis: number;
  /** Equal bins over [low, high]; `sampled` elements were counted (all of them unless the tensor is huge). */
  histogram: { low: number; high: number; counts: number[]; sampled: number };
  rowNorms: { min: number; max: number; mean: number; zero: number };
  colNorms: { min: number; max: number; mean: number; zero: number };
}

export interface SpectrumReport {
  name: string;
  /** Largest first; min(count, rows, cols) of them. */
  values: number[];
  /** Squared Frobenius norm: the energy of all of them. */
  energy: number;
  /** Smallest rank that keeps the given share of the energy, within `values`; -1 when none does. */
  rankFor: { share: number; rank: number }[];
  /** The knee of the spectrum as a power of two: worth trying as the low-rank part. 0 when there is no knee. */
  suggestedRank: number;
}

export interface PreviewReport {
  name: string;
  rows: number;
  cols: number;
  /** Row-major [rows, cols] cells. */
  minimum: number[];
  maximum: number[];
  mean: number[];
}

export interface CompareReport {
  a: string;
  b: string;
  onlyA: string[];
  onlyB: string[];
  reshaped: { name: string; a: string; b: string }[];
  /** Relative error ||A - B|| / ||A|| of tensors both have, when values were asked for. */
  tensors: {
    name: string;
    shape: number[];
    formatA: string;
    formatB: string;
    relativeError?: number;
    maxAbsolute?: number;
    /** Why the values could not be compared, when they were to be. */
    reason?: string;
  }[];
}

export interface HealthFinding {
  severity: 'error' | 'warning' | 'information';
  code: string;
  message: string;
  file?: string;
  tensor?: string;
}
