/** How costs are measured. */

/** Everything costs depend on; two tables with equal recipes and hashes are interchangeable. */
export interface SweepRecipe {
  readonly method: 'lq';
  readonly weighting: 'plain' | 'fisher';
  /** How D_row and D_col come from F: reference code or paper eq. 5. */
  readonly scales: 'sqrt-of-means' | 'means-of-sqrt';
  /** Content hash of the Fisher file, when weighted. */
  readonly fisher?: string;
  readonly rank: number;
  readonly iterations: number;
  readonly patience: number;
  readonly oversampling: number;
  readonly powerIterations: number;
  readonly seed: number;
}
