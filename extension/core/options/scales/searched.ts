import type { Dtype } from '../../dtypes';
import type { ScaleType } from '../../native';
import type { ScalesOf } from '../types';
import type { ScaleKind } from './kind';

const DTYPES: Readonly<Record<ScaleType, Dtype>> = { bf16: 'BF16', fp16: 'F16', fp32: 'F32' };

/**
 * One scale for every `size` consecutive weights of a row, in the type other programs store it: of least weighted error, and
 * of either sign on an integer grid, which has one more level on one side.
 */
export const searched: ScaleKind<ScalesOf<'searched'>> = {
  label: ({ size }) => `g${size}`,
  fault({ size, type }) {
    if (!Number.isSafeInteger(size) || size <= 0) return `a group has a positive number of weights, not ${size}`;
    // Options also come from files.
    return Object.hasOwn(DTYPES, type) ? undefined : `searched scales are bf16, fp16 or fp32, not ${type}`;
  },
  parts: ({ size, type }, _, rows, cols) => [
    { name: 'group_scales', dtype: DTYPES[type], shape: [rows, Math.ceil(cols / size)] },
  ],
};
