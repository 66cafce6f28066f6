import { ggufTypeNamed } from '../../checkpoint/gguf/types';
import type { GridOf } from '../types';
import type { GridKind } from './kind';

/**
 * The block types of GGUF (core/checkpoint/gguf/types.ts), which llama.cpp and those built on it compute with. Scales and
 * minima are inside the blocks; a row is a whole number of them.
 */
export const gguf: GridKind<GridOf<'gguf'>> = {
  label: ({ type }) => type,
  rate: ({ type }) => {
    const { weights, bytes } = ggufTypeNamed(type)!.type;
    return (8 * bytes) / weights;
  },
  scales: ['block'],
  transforms: ['none'],
  roundings: ['nearest', 'feedback', 'descent'],
  usual: { transform: 'none', rounding: 'descent' },
  fault: ({ type }) => (ggufTypeNamed(type) ? undefined : `GGUF has no type ${type}`),
  fits: ({ type }, _, cols) => cols % ggufTypeNamed(type)!.type.weights === 0,
  parts: ({ type }, rows, cols) => {
    const { weights, bytes } = ggufTypeNamed(type)!.type;
    return [{ name: 'codes', dtype: 'U8', shape: [Math.ceil((rows * cols) / weights) * bytes] }];
  },
};
