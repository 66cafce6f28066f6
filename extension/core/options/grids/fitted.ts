import { fieldPart } from '../parts';
import type { GridOf } from '../types';
import type { GridKind } from './kind';

/** A book of the matrix's own: 2^bits ascending bf16 levels that minimise its weighted error (Lloyd-Max). */
export const fitted: GridKind<GridOf<'fitted'>> = {
  label: ({ bits }) => `Fitted ${bits} bits`,
  rate: ({ bits }) => bits,
  scales: ['two-level', 'group', 'row'],
  transforms: ['none', 'hadamard'],
  roundings: ['nearest', 'feedback', 'descent'],
  usual: { transform: 'none', rounding: 'feedback' },
  fault: ({ bits }) => ([2, 3, 4].includes(bits) ? undefined : `fitted books have 2, 3 or 4 bits, not ${bits}`),
  parts: ({ bits }, rows, cols) => [
    fieldPart('codes', rows * cols, bits),
    { name: 'book', dtype: 'BF16', shape: [2 ** bits] },
  ],
};
