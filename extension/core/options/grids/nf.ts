import { fieldPart } from '../parts';
import type { GridOf } from '../types';
import type { GridKind } from './kind';

/** NormalFloat, see books/normal-float.ts: its levels follow from the bits, so that nothing but codes is stored. */
export const nf: GridKind<GridOf<'nf'>> = {
  label: ({ bits }) => `NF${bits}`,
  rate: ({ bits }) => bits,
  scales: ['two-level', 'group', 'row', 'searched'],
  transforms: ['none', 'hadamard'],
  roundings: ['nearest', 'feedback', 'descent'],
  usual: { transform: 'none', rounding: 'nearest' },
  fault: ({ bits }) => ([2, 3, 4, 8].includes(bits) ? undefined : `NormalFloat has 2, 3, 4 or 8 bits, not ${bits}`),
  parts: ({ bits }, rows, cols) => [fieldPart('codes', rows * cols, bits)],
};
