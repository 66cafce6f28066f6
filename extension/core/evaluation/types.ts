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
}
