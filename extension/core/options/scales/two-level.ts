import type { Dtype } from '../../dtypes';
import type { ScaleType } from '../../native';
import { fieldPart } from '../parts';
import type { ScalesOf } from '../types';
import type { ScaleKind } from './kind';

export const SCALE_DTYPES: Readonly<Record<ScaleType, Dtype>> = { bf16: 'BF16', fp16: 'F16', fp32: 'F32' };

/**
 * The paper's (section 2.1): the largest weight of every B0 consecutive ones, in b1 bits of the largest of B1 such blocks,
 * which is a b2. Blocks run over the flattened matrix; the last block and the last group may be short.
 */
export const twoLevel: ScaleKind<ScalesOf<'two-level'>> = {
  label: ({ b1, b2, B0, B1 }) => `b1=${b1} ${b2} ${B0}x${B1}`,
  fault({ b1, b2, B0, B1 }) {
    if (![2, 3, 4, 8].includes(b1)) return `block scales have 2, 3, 4 or 8 bits, not ${b1}`;
    if (!Object.hasOwn(SCALE_DTYPES, b2)) return `group scales are bf16, fp16 or fp32, not ${b2}`;
    if (![B0, B1].every(size => Number.isSafeInteger(size) && size > 0)) return 'block sizes are positive integers';
    return undefined;
  },
  parts({ b1, b2, B0, B1 }, _, rows, cols) {
    const blocks = Math.ceil((rows * cols) / B0);
    return [
      fieldPart('scales', blocks, b1),
      { name: 'groups', dtype: SCALE_DTYPES[b2], shape: [Math.ceil(blocks / B1)] },
      { name: 'offset', dtype: 'F32', shape: [1] },
    ];
  },
};
