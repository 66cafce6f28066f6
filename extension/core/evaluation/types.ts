/** What an evaluation reports. */
import type { Precision } from '../context';

/** How predictions differ from another model's, whose tokens are predicted in the same pass. */
export interface ReferenceReport {
  /** The other model: what this one was made from. */
  model: string;
  perplexity: number;
  /** KL(reference || model) of a token's prediction in nats: mean, and what 99 % of predictions do not exceed. */
  kl: { mean: number; p99: number };
  /** Share of predictions where both find the same token likeliest. */
  sameTop: number;
}

export interface EvaluateReport {
  model: string;
  text: string;
  perplexity: number;
  /** Tokens predicted. */
  tokens: number;
  windows: number;
  context: number;
  bos: boolean;
  seconds: number;
  device: string;
  /** What products were computed in. */
  precision: Precision['used'];
  /** What the figure rests on that a reader may not expect, one sentence each. */
  warnings: string[];
  /** When a reference was given. */
  reference?: ReferenceReport;
}
