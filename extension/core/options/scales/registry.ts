/** Scales by name. A new kind is a file beside this one, a member of `Scales` in types.ts, and a line here. */
import type { Scales, ScalesOf } from '../types';
import { block } from './block';
import { group } from './group';
import type { ScaleKind } from './kind';
import { row } from './row';
import { searched } from './searched';
import { twoLevel } from './two-level';

const kinds: { readonly [K in Scales['kind']]: ScaleKind<ScalesOf<K>> } = {
  'two-level': twoLevel,
  group,
  row,
  block,
  searched,
};

export const isScaleKind = (kind: unknown): kind is Scales['kind'] => Object.hasOwn(kinds, kind as string);

/** The kind of scales, to be asked about those scales. */
export const scaleKind = <S extends Scales>(scales: S): ScaleKind<S> => kinds[scales.kind] as unknown as ScaleKind<S>;
