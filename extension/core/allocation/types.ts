/** The plan: one option for every matrix under a budget. */
import type { Coverage } from '../logical/targets';
import type { Budget, PlanOverride } from '../options/budget';
import type { PredictedPerplexity } from './predict';
import type { FactorStorage, Option } from '../options/types';

export interface PlanRow {
  readonly name: string;
  readonly option: Option;
  /** The option for people: `Trellis 2.5 bits`. */
  readonly label: string;
  /** Bits of codes a weight. */
  readonly rate: number;
  /** Storage bits per weight, without factors. */
  readonly bits: number;
  readonly effectiveBits: number;
  /** Bytes of everything stored for this matrix. */
  readonly bytes: number;
  /** Squared error under the table's metric. */
  readonly cost: number;
  /** Whether that was predicted and not measured. */
  readonly predicted: boolean;
  /** Index of the option in SweepTable.options. */
  readonly choice: number;
}

export interface Plan {
  readonly budget: Budget;
  readonly factors: FactorStorage;
  readonly bits: number;
  readonly effectiveBits: number;
  /** Bytes of the exported files of weights: targets, kept tensors, headers. */
  readonly bytes: number;
  readonly objective: number;
  /** Lower bound on any plan's objective: Lagrangian, or the objective itself of a plan that is proven optimal. */
  readonly bound: number;
  /** (objective - bound) / bound. */
  readonly gap: number;
  /** True when the search was exhaustive: no plan within the budget has a smaller objective, whatever the gap. */
  readonly optimal: boolean;
  readonly seconds: number;
  /** Present when the request told what was measured. */
  readonly predicted?: PredictedPerplexity;
  readonly matrices: readonly PlanRow[];
  /** What share of the network the matrices are, where the sweep says. */
  readonly coverage?: Coverage;
}

/** What to plan for. */
export interface AllocationRequest {
  readonly budget: Budget;
  readonly factors: FactorStorage;
  readonly overrides?: readonly PlanOverride[];
  /** Answer in milliseconds, for a moving slider: a rounded plan and its bound. */
  readonly quick?: boolean;
}

/** Bytes of the exported files that no option decides: embeddings, norms, head, the files' headers. */
export interface KeptTensors {
  readonly bytes: number;
}

/** One optimal trade-off between size and error. */
export interface FrontierPoint {
  readonly bits: number;
  readonly effectiveBits: number;
  readonly bytes: number;
  readonly objective: number;
  /** Present when the request told what was measured. */
  readonly predicted?: PredictedPerplexity;
}

/** The curve of error against size, and the range a budget kind can take. */
export interface FrontierReport {
  points: FrontierPoint[];
  range: { minimum: number; maximum: number };
}
