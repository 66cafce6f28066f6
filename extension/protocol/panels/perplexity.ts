/** Perplexity. */
import type { MetricKind } from '../../core/options/recipe';
import type { CompressRequest, EvaluateRequest } from '../../core/requests/requests';
import type { EvaluateReport } from '../../core/evaluation/types';
import type { CommonEvents, CommonRequests, ModelHeader } from '../panelCommon';

interface RecipeEntry {
  key: string;
  value: string;
  /** What to open when it is clicked. */
  path?: string;
}

export interface PerplexityRun extends EvaluateReport {
  id: string;
  /** The job it comes of. */
  job: string;
  /** The files it was measured on have changed since. */
  older?: boolean;
  label: string;
  /** True for the uncompressed model. */
  dense: boolean;
  /** Over the target weights; the dtype's own bits for the dense model. */
  bits: number;
  effectiveBits: number;
  bytes: number;
  /** Milliseconds since 1970. */
  date: number;
  /** Everything needed to make it again, in the order worth reading. */
  recipe: RecipeEntry[];
  /** How errors were weighted; absent for the dense model. */
  weighting?: MetricKind;
  /** The request that made it, when it was compressed here. */
  request?: CompressRequest;
}

export interface PerplexityView {
  header: ModelHeader;
  canCompute: boolean;
  runs: PerplexityRun[];
  /** Checkpoints that can be evaluated: the original and what was made from it. */
  models: { path: string; label: string }[];
  /** Last used or suggested. */
  text?: string;
  context: number;
}

export interface PerplexityRequests extends CommonRequests {
  load: [null, PerplexityView];
  /** Evaluates: a job, which `jobs` tells of; its run has the job's id and comes with `changed`. */
  evaluate: [EvaluateRequest, { job: string }];
  /** Forgets a run; no file is touched. */
  forget: [{ id: string }, null];
}
export interface PerplexityEvents extends CommonEvents {
  changed: PerplexityView;
}
