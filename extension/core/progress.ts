/** How a long request tells where it is. */

/** `baseline` is the evaluation of the model as it was, before it is compressed. */
export type Stage =
  | 'open'
  | 'baseline'
  | 'fisher'
  | 'calibrate'
  | 'sweep'
  | 'plan'
  | 'decompose'
  | 'write'
  | 'evaluate'
  | 'statistics'
  | 'compare'
  | 'export';

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
  /** Another process that does the work, as `host (process 17)`: this one waits for its result. */
  waitingFor?: string;
  partial?: unknown;
  /** Finished pieces of the stage (matrices, windows, tensors) where `done` counts something else, such as weights. */
  count?: { done: number; total: number };
  /** How far a request of several stages is. */
  whole?: WholeProgress;
}

/** A request of several stages as one bar. */
interface WholeProgress {
  /** What it goes through, in order; `at` is the index of the one at work. */
  stages: Stage[];
  at: number;
  /** Of the time it takes, from 0 to 1; never falls. */
  share: number;
  /** Seconds since it began. */
  elapsed: number;
  /** Seconds until all stages are done. */
  secondsLeft: number;
}
