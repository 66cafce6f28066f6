/** The plan: one option for every matrix under a budget. */
import type { FactorStorage, QuantConfig } from '../sensitivity/types';

/**
 * What is held fixed. `bits`: storage of codes and scales over target weights, as in the paper. `effective-bits`: all of a
 * target's bytes (codes, scales, offsets, factors) over target weights. `bytes`: tensor bytes of the exported checkpoint.
 */
export interface Budget {
  readonly kind: 'bits' | 'effective-bits' | 'bytes';
  readonly value: number;
}

/** A user's rule for the matrices a glob selects: only options whose code width b0 lies within these bits per weight. */
export interface PlanOverride {
  readonly match: string;
  readonly minBits?: number;
  readonly maxBits?: number;
}

export interface PlanRow {
  readonly name: string;
  readonly config: QuantConfig;
  readonly rank: number;
  /** Storage bits per weight, without factors. */
  readonly bits: number;
  readonly effectiveBits: number;
  /** Bytes of everything stored for this matrix. */
  readonly bytes: number;
  /** Squared (weighted) error. */
  readonly cost: number;
  /** Index into SweepTable.options. */
  readonly option: number;
}

export interface Plan {
  readonly budget: Budget;
  readonly factors: FactorStorage;
  readonly bits: number;
  readonly effectiveBits: number;
  /** Tensor bytes of the exported checkpoint, targets and kept tensors. */
  readonly bytes: number;
  readonly objective: number;
  /** Lower bound on any plan's objective (Lagrangian). */
  readonly bound: number;
  /** (objective - bound) / bound. */
  readonly gap: number;
  /** True when the search was exhaustive: no plan within the budget has a smaller objective, whatever the gap. */
  readonly optimal: boolean;
  readonly seconds: number;
  readonly matrices: readonly PlanRow[];
}

/** What to plan for. */
export interface AllocationRequest {
  readonly budget: Budget;
  readonly factors: FactorStorage;
  readonly overrides?: readonly PlanOverride[];
  /** Answer in milliseconds, for a moving slider: a rounded plan and its bound. */
  readonly quick?: boolean;
}

/** Tensor bytes of the exported checkpoint that are not targets: embeddings, norms, head. */
export interface KeptTensors {
  readonly bytes: number;
}

/** One optimal trade-off between size and error. */
export interface FrontierPoint {
  readonly bits: number;
  readonly effectiveBits: number;
  readonly bytes: number;
  readonly objective: number;
}
