/** How a long request tells where it is. */

export type Stage =
  'open' | 'fisher' | 'sweep' | 'plan' | 'decompose' | 'write' | 'evaluate' | 'statistics' | 'compare' | 'export';

/** Progress of a request. `partial` carries a finished piece (one tensor's statistics, one finding) as soon as it is known. */
export interface Progress {
  stage: Stage;
  /** The matrix or file at work. */
  item?: string;
  done: number;
  total: number;
  /** Estimated from the rate so far. */
  secondsLeft?: number;
  device?: string;
  partial?: unknown;
}
