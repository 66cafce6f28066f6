import type { GridOf } from '../types';
import type { GridKind } from './kind';

/** No codes at all: the low-rank part is everything that is stored. */
export const zero: GridKind<GridOf<'zero'>> = {
  label: () => 'Low rank',
  rate: () => 0,
  scales: ['block'],
  transforms: ['none'],
  roundings: ['nearest'],
  empty: true,
  usual: { transform: 'none', rounding: 'nearest' },
  fault: () => undefined,
  parts: () => [],
};
