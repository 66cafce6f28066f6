/** What a plan holds fixed. */

/**
 * What is held fixed. `bits`: storage of codes and scales over target weights, as in the paper. `effective-bits`: all of a
 * target's bytes (codes, scales, offsets, factors) over target weights. `bytes`: all bytes of the exported files of
 * weights.
 */
export interface Budget {
  readonly kind: 'bits' | 'effective-bits' | 'bytes';
  readonly value: number;
}

/** A user's rule for the matrices a glob selects: only options whose codes take bits per weight within these. */
export interface PlanOverride {
  readonly match: string;
  readonly minBits?: number;
  readonly maxBits?: number;
}
