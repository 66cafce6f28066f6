import type { GridOf } from '../types';
import type { GridKind } from './kind';

const BLOCK = 128;
const CODES: readonly GridOf<'exl3'>['code'][] = ['3inst', 'mcg', 'mul1'];

/**
 * EXL3 (exllamav3, doc/exl3.md): a tail-biting trellis of 16 bits of state over tiles of 16 x 16, on weights that Hadamard blocks
 * of 128 mix on both sides. Scales and signs, one an input and one an output, are its own.
 */
export const exl3: GridKind<GridOf<'exl3'>> = {
  label: ({ bits, code }) => `EXL3 ${bits} ${bits === 1 ? 'bit' : 'bits'}${code === '3inst' ? '' : ` ${code}`}`,
  rate: ({ bits }) => bits,
  scales: ['block'],
  transforms: ['two-sided'],
  roundings: ['nearest', 'feedback'],
  usual: { transform: 'two-sided', rounding: 'feedback' },
  fault({ bits, code }) {
    if (!Number.isInteger(bits) || bits < 1 || bits > 8) return `EXL3 has 1 to 8 bits a weight, not ${bits}`;
    return CODES.includes(code) ? undefined : `EXL3 has no code ${code as string}`;
  },
  fits: (_, rows, cols) => rows % BLOCK === 0 && cols % BLOCK === 0,
  parts: ({ bits }, rows, cols) => [
    { name: 'codes', dtype: 'U8', shape: [Math.ceil((rows * cols * bits) / 8)] },
    { name: 'row_scales', dtype: 'F16', shape: [rows] },
    { name: 'input_scales', dtype: 'F16', shape: [cols] },
  ],
};
