/** What an evaluation reports. */

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
  /** What the figure rests on that a reader may not expect, one sentence each. */
  warnings: string[];
}
