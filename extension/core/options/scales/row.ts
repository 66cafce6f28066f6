import { MULTIPLIER } from '../parts';
import type { ScalesOf } from '../types';
import type { ScaleKind } from './kind';
import { zeroPoints } from './zero-points';

/** One fp16 scale a row. */
export const row: ScaleKind<ScalesOf<'row'>> = {
  label: () => '',
  // Options also come from files.
  fault: ({ type }) => ((type as string) === 'fp16' ? undefined : `row scales are fp16, not ${type}`),
  parts: (_, grid, rows) => [
    { name: 'row_scales', dtype: 'F16', shape: [rows] },
    ...zeroPoints(grid, rows),
    MULTIPLIER,
  ],
};
