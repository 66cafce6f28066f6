/** Options and their costs: what the allocation program chooses from. */
import type { DenseSource } from '../../engine/native';
import type { Role } from '../checkpoint/types';
import type { BookId } from './books/registry';

export type ScaleType = 'bf16' | 'fp16' | 'fp32';

/** c = (b0, b1, b2, B0, B1), see native/include/lq/types.h. */
export interface QuantConfig {
  readonly b0: number;
  readonly b1: number;
  readonly b2: ScaleType;
  readonly B0: number;
  readonly B1: number;
}

/**
 * One way to store one matrix. The paper's set is 243 configurations at one rank; other books, ranks and roundings join by
 * adding options, nothing downstream knows how many kinds there are.
 */
export interface Option {
  /** Code book of config.b0 bits, by its name in books/registry.ts; `nf` is NormalFloat. */
  readonly book: BookId;
  readonly config: QuantConfig;
  readonly rank: number;
  readonly rounding: 'nearest';
}

/** How low-rank factors are stored. nf8 is (8, 8, fp32, 64, 256). */
export type FactorStorage = 'nf8' | 'bf16' | 'fp32';

/** Everything costs depend on; two tables with equal recipes and hashes are interchangeable. */
export interface SweepRecipe {
  readonly method: 'lq';
  readonly weighting: 'plain' | 'fisher';
  /** How D_row and D_col come from F: reference code or paper eq. 5. */
  readonly scales: 'sqrt-of-means' | 'means-of-sqrt';
  /** Content hash of the Fisher file, when weighted. */
  readonly fisher?: string;
  readonly rank: number;
  readonly iterations: number;
  readonly patience: number;
  readonly oversampling: number;
  readonly powerIterations: number;
  readonly seed: number;
}

/** Costs of one matrix, in the order of SweepTable.options. */
export interface SweepRow {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly role: Role;
  readonly layer: number;
  /** Hash of the stored bytes. */
  readonly hash: string;
  /** Squared (weighted) errors after the LQ iteration. */
  readonly costs: readonly number[];
  /** Squared unweighted errors of the same iterates. */
  readonly squaredErrors: readonly number[];
  /** Squared (weighted) errors of quantisation alone. */
  readonly quantizedCosts: readonly number[];
  readonly iterations: readonly number[];
  /** Squared Frobenius norm of W, and weighted by F. */
  readonly norm: number;
  readonly weightedNorm: number;
}

/** The result of a sweep: the whole input of planning. */
export interface SweepTable {
  readonly version: 1;
  readonly model: {
    readonly path: string;
    readonly label: string;
    readonly parameters: number;
    readonly bytes: number;
    /** Tensor bytes that are not targets and stay as they are. */
    readonly keptBytes: number;
  };
  readonly recipe: SweepRecipe;
  readonly options: readonly Option[];
  readonly matrices: readonly SweepRow[];
  readonly seconds: number;
  readonly device: string;
}

/** A Fisher file opened for use: where each matrix's elementwise weights are, fp32, and the hash of them all. */
export interface FisherSource {
  readonly file: string;
  readonly hash: string;
  readonly matrices: ReadonlyMap<string, DenseSource>;
}
