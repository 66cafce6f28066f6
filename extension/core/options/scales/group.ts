import { MULTIPLIER } from '../parts';
import type { ScalesOf } from '../types';
import type { ScaleKind } from './kind';
import { zeroPoints } from './zero-points';

/**
 * One fp16 scale for every `size` consecutive weights of a row, the last group of a row may be short.
 */
export const group: ScaleKind<ScalesOf<'group'>> = {
  label: ({ size }) => `g${size}`,
  fault({ size, type }) {
    if (!Number.isSafeInteger(size) || size <= 0) return `a group has a positive number of weights, not ${size}`;
    // Options also come from files.
    return (type as string) === 'fp16' ? undefined : `group scales are fp16, not ${type}`;
  },
  parts({ size }, grid, rows, cols) {
    const groups = Math.ceil(cols / size);
    return [
      { name: 'group_scales', dtype: 'F16', shape: [rows, groups] },
      ...zeroPoints(grid, rows * groups),
      MULTIPLIER,
    ];
  },
};
