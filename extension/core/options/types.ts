/** What a matrix can become: a value that sweep, cache, plan, native code and packed format pass on whole. */
import type { NativeGrid, NativeRounding, NativeScales, NativeTransform } from '../native';

export type Transform = NativeTransform;
export type Grid = NativeGrid;
export type Scales = NativeScales;
export type Rounding = NativeRounding;

/** One way to store one matrix: transform x grid x scales x rounding x rank. */
export interface Option {
  readonly transform: Transform;
  readonly grid: Grid;
  readonly scales: Scales;
  readonly rounding: Rounding;
  /** Of the low-rank part; 0 for none. */
  readonly rank: number;
}

/** How low-rank factors are stored. nf8 is (8, 8, fp32, 64, 256). */
export type FactorStorage = 'nf8' | 'bf16' | 'fp32';

export type GridOf<K extends Grid['kind']> = Extract<Grid, { kind: K }>;
export type ScalesOf<K extends Scales['kind']> = Extract<Scales, { kind: K }>;
