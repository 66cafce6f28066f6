import { fieldPart } from '../parts';
import type { GridOf } from '../types';
import type { GridKind } from './kind';

/** E2M1, the element type of MXFP4 and NVFP4: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives. */
export const fp4: GridKind<GridOf<'fp4'>> = {
  label: () => 'FP4',
  rate: () => 4,
  scales: ['group', 'row'],
  transforms: ['none', 'hadamard'],
  roundings: ['nearest', 'feedback', 'descent'],
  usual: { transform: 'none', rounding: 'nearest' },
  fault: () => undefined,
  parts: (_, rows, cols) => [fieldPart('codes', rows * cols, 4)],
};
