/** How costs are measured. */

/**
 * What an error is weighed with: nothing; the diagonal of the Fisher information, element by element; or rows by the
 * Fisher information of outputs and columns by the second moment of inputs (K-FAC; Martens and Grosse, arXiv 1503.05671).
 */
export type MetricKind = 'plain' | 'fisher' | 'kfac';

/** A metric as a table names it; `statistics` is the hash of what it was computed from. */
export type MetricRecipe =
  | { readonly kind: 'plain' }
  | { readonly kind: 'fisher'; readonly statistics: string }
  /** cost(E) = sum_i g_i e_i H e_i^T, H = A + damping mean(diag A) I. */
  | { readonly kind: 'kfac'; readonly statistics: string; readonly damping: number };

/** Settings of the LQ iteration, which the paper's options go through. */
export interface LqLoop {
  /** How D_row and D_col come from F: reference code or paper eq. 5. */
  readonly scales: 'sqrt-of-means' | 'means-of-sqrt';
  readonly iterations: number;
  readonly patience: number;
  readonly oversampling: number;
  readonly powerIterations: number;
}

/** Everything costs depend on beside the options; two tables with equal recipes and hashes are interchangeable. */
export interface SweepRecipe {
  /** Name of the method the options were chosen by, see methods/registry.ts. */
  readonly method: string;
  readonly metric: MetricRecipe;
  readonly loop: LqLoop;
  readonly seed: number;
}
