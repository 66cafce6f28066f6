/** What a kind of grid answers about itself. */
import type { Part } from '../parts';
import type { Grid, Rounding, Scales, Transform } from '../types';

export interface GridKind<G extends Grid> {
  /** For people: `NF3`, `Trellis 2.5 bits`. */
  label(grid: G): string;
  /** Bits of codes a weight takes. */
  rate(grid: G): number;
  /** What it may be combined with. */
  readonly scales: readonly Scales['kind'][];
  readonly transforms: readonly Transform[];
  readonly roundings: readonly Rounding[];
  /** What a label leaves out, because it is what this grid is for. */
  readonly usual: { readonly transform: Transform; readonly rounding: Rounding };
  /** Why its own numbers are refused, as the end of a sentence, or undefined. */
  fault(grid: G): string | undefined;
  /** Whether it stores nothing and a low-rank part has to be everything. */
  readonly empty?: true;
  /** Whether a [rows, cols] matrix can have it; default yes. */
  fits?(grid: G, rows: number, cols: number): boolean;
  /** Everything stored for the codes of a [rows, cols] matrix, scales apart. */
  parts(grid: G, rows: number, cols: number): Part[];
}
