/** What a kind of scale answers about itself. */
import type { Part } from '../parts';
import type { Grid, Scales } from '../types';

export interface ScaleKind<S extends Scales> {
  /** For people, after the grid's: `b1=4 bf16 64x256`, `g128`. */
  label(scales: S): string;
  /** Why its own numbers are refused, as the end of a sentence, or undefined. */
  fault(scales: S): string | undefined;
  /** Everything stored for the scales of a [rows, cols] matrix on a grid. */
  parts(scales: S, grid: Grid, rows: number, cols: number): Part[];
}
