/** Options and their costs: what the allocation program chooses from. */
import type { DenseSource } from '../native';
import type { Role } from '../checkpoint/types';
import type { SweepRecipe } from '../options/recipe';
import type { Option } from '../options/types';

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

export interface FisherReport {
  out: string;
  hash: string;
  samples: number;
  context: number;
  losses: number[];
  matrices: { name: string; sum: number; max: number }[];
  seconds: number;
}
