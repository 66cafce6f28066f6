/** What the pipeline's requests that span several stages report. */
import type { EvaluateReport } from './evaluation/types';
import type { ErrorCode } from './errors';
import type { Plan } from './allocation/types';
import type { Budget } from './options/budget';
import type { Coverage } from './logical/targets';
import type { SweepRecipe } from './options/recipe';
import type { ErrorData } from './errors';
import type { Delivered } from './export/delivered';
import type { Verdict } from './export/loads/loads';
import type { Option } from './options/types';

/** One matrix of a finished compression. Errors are relative: ||W - W'|| / ||W|| under the metric. */
export interface CompressedMatrix {
  name: string;
  option: Option;
  /** The option for people: `Trellis 2.5 bits`. */
  label: string;
  bits: number;
  effectiveBits: number;
  bytes: number;
  cost: number;
  /** Without the low-rank part, of an option that went through the LQ iteration. */
  errorQuantized?: number;
  errorLq: number;
  errorStored: number;
}

export interface Measure {
  /** With the tokens predicted and the windows they lay in. */
  perplexity?: number;
  tokens?: number;
  windows?: number;
  /** What products were computed in. */
  precision?: EvaluateReport['precision'];
  /** Of what was made: how far its predictions are from the original's (core/evaluation/types.ts). */
  kl?: { mean: number; p99: number };
  sameTop?: number;
  /** Bytes of its files of weights. */
  bytes: number;
}

export interface CompressReport extends Omit<Plan, 'matrices' | 'seconds'> {
  model: string;
  output: string;
  recipe: SweepRecipe;
  /** How many costs the plan was chosen from were measured, and how many predicted; its own are measured. */
  costs: { measured: number; predicted: number };
  /** The Fisher file that weighted the errors; one in the cache when it was computed here. */
  fisher?: string;
  matrices: CompressedMatrix[];
  before: Measure;
  after: Measure;
  /** What was written, read back. */
  delivered: Delivered;
  seconds: Record<string, number>;
  warnings: string[];
}

/** One method of a comparison: what it gives, or why it cannot. */
export interface MethodsRow {
  method: string;
  label: string;
  source: string;
  effectiveBits?: number;
  bytes?: number;
  perplexity?: number;
  seconds?: number;
  refused?: ErrorData;
}

export interface MethodsReport {
  model: string;
  effectiveBits: number;
  /** Perplexity of the original. */
  dense: number;
  /** The best first; those that cannot meet the size last. */
  rows: MethodsRow[];
}

export interface EstimateReport {
  matrices: number;
  parameters: number;
  /** What is in the cache already takes none. */
  seconds: { baseline: number; fisher: number; sweep: number; decompose: number; evaluate: number };
  peakMemory: number;
  outputBytes: number;
  /** That size in every unit a budget can be given in. */
  amounts: Record<Budget['kind'], number>;
  /** Range of the chosen budget kind that can be met. */
  feasible: { minimum: number; maximum: number };
  /** What share of the network will be compressed. */
  coverage: Coverage;
  /** What a user should know before, one sentence each: what the format does not hold, what is not weighed. */
  notes: string[];
  /** Which programs will load what is written, whatever the plan. */
  loads: Verdict[];
  /** What would make the request fail, found before any work. */
  problems: RequestProblem[];
}

/** Something wrong with a request, and the field of it that has to change. */
export interface RequestProblem {
  field: 'budget' | 'ranks' | 'include' | 'calibration' | 'fisher' | 'evalText' | 'out';
  code: ErrorCode;
  message: string;
  /** A value that would do, where one is known. */
  suggestion?: string;
}

export interface ExportReport {
  out: string;
  files: string[];
  bytes: number;
  /** What was written, read back. */
  delivered: Delivered;
  seconds: number;
}
