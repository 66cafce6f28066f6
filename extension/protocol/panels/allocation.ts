/** Allocation. */
import type { Budget, PlanOverride } from '../../core/options/budget';
import type { MeasuredPlan, PredictedPerplexity } from '../../core/allocation/predict';
import type { Price } from '../../core/allocation/prices';
import type { Plan } from '../../core/allocation/types';
import type { FactorStorage } from '../../core/options/types';
import type { SweepRecipe } from '../../core/options/recipe';
import type { CompressRequest, SweepRequest } from '../../core/requests/requests';
import type { CommonEvents, CommonRequests, ModelHeader, TargetMatrix } from '../panelCommon';

export interface PlanSummary {
  budget: Budget;
  bits: number;
  effectiveBits: number;
  bytes: number;
  objective: number;
  /** sqrt(objective / (weighted) squared norm of all matrices). */
  relativeError: number;
  /** The perplexity it would have, where runs of the checkpoint tell. */
  predicted?: PredictedPerplexity;
}

/** What perplexities are predicted from. */
export interface PlanPrediction {
  /** Perplexity of the original. */
  dense: number;
  /** The compressions that were evaluated, by the names of what they made. */
  plans: (MeasuredPlan & { bytes: number; label: string })[];
  /** The text they were measured on. */
  text: string;
}

export interface AllocationView {
  header: ModelHeader;
  canCompute: boolean;
  /** Absent: nothing has been swept yet, the panel offers to. */
  sweep?: {
    recipe: SweepRecipe;
    options: number;
    /** The method they are of, for people. */
    method: string;
    /** Bits a weight of the smallest and of the largest of them, factors aside. */
    bits: { least: number; most: number };
    /** The largest rank among them. */
    rank: number;
    /** The table of costs. */
    file: string;
    /** The Fisher information it is weighted by, for another sweep under the same. */
    fisher?: string;
    device: string;
    seconds: number;
    /** Milliseconds since 1970. */
    date?: number;
    targets: (TargetMatrix & { norm: number; weightedNorm: number })[];
  };
  /** The text that the form takes statistics from, for costs that are weighted by them. */
  text: Pick<CompressRequest, 'calibration' | 'samples' | 'context'>;
  factors: FactorStorage;
  budget: Budget;
  overrides: PlanOverride[];
  /** Costs were measured before the files changed: they are of no use now. */
  older?: boolean;
  /** The plans of the compressions made, newest first: one is marked on the slider by the name of what it made. */
  currents: (PlanSummary & { name: string })[];
  /** Perplexities measured with plans of this table's ranks, drawn on the curve of the rules they were made under. */
  measured: { effectiveBits: number; bytes: number; perplexity: number; label: string; overrides: PlanOverride[] }[];
  /** Absent: no run of this table's options was evaluated, and plans predict no perplexity. */
  prediction?: PlanPrediction;
}

export interface PlanQuery {
  budget: Budget;
  factors: FactorStorage;
  overrides: PlanOverride[];
}
export interface PlanAnswer {
  plan: Plan;
  relativeError: number;
  /** What a step up or down would bring each matrix; of plans that were solved to the end. */
  prices?: Price[];
}

/** What other methods, ranks and budgets would give, from every table of costs that can be held against the one shown. */
export interface WhatIf {
  /** Everything stored, over the weights. */
  effectiveBits: number[];
  /** By method and ascending rank; a plan a budget, null where it cannot be met. */
  rows: { label: string; rank: number; file: string; plans: (PlanSummary | null)[] }[];
}

export interface AllocationRequests extends CommonRequests {
  load: [null, AllocationView];
  /** `quick` while the slider moves: answered in milliseconds; without it the plan is solved to the end. */
  plan: [PlanQuery & { quick: boolean }, PlanAnswer];
  /** Points along the whole range in ascending size; the first and the last are the least and the most that can be met. */
  curve: [Omit<PlanQuery, 'budget'>, { points: PlanSummary[] }];
  /** Takes the plan into the compress form. */
  use: [PlanQuery, null];
  whatIf: [Omit<PlanQuery, 'budget'>, WhatIf];
  /** Plans from another table of this checkpoint, beginning with a budget and the rules at hand. */
  choose: [{ file: string; budget: Budget; overrides: PlanOverride[] }, AllocationView];
  /** Measures all costs: a job, which `jobs` tells of; `changed` brings what it found. */
  sweep: [SweepRequest, { job: string }];
}
export interface AllocationEvents extends CommonEvents {
  changed: AllocationView;
}
