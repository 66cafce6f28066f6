import { fieldPart } from '../parts';
import type { GridOf } from '../types';
import type { GridKind } from './kind';

/** Evenly spaced levels: around zero when symmetric, between a group's least and largest weight otherwise. */
export const int: GridKind<GridOf<'int'>> = {
  label: ({ bits, symmetric }) => `INT${bits}${symmetric ? '' : ' asym'}`,
  rate: ({ bits }) => bits,
  scales: ['group', 'row', 'searched'],
  transforms: ['none', 'hadamard', 'scaled'],
  roundings: ['nearest', 'feedback', 'descent'],
  usual: { transform: 'none', rounding: 'nearest' },
  fault: ({ bits }) => (bits >= 2 && bits <= 8 ? undefined : `integer grids have 2 to 8 bits, not ${bits}`),
  parts: ({ bits }, rows, cols) => [fieldPart('codes', rows * cols, bits)],
};
