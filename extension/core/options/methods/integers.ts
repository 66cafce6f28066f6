import type { Option } from '../types';
import type { Method } from './method';

/** Bits and group sizes; beyond four bits a finer scale buys little, and rows that 128 does not divide need one. */
const GRIDS: readonly (readonly [bits: number, ...sizes: number[]])[] = [
  [2, 16, 32, 64, 128],
  [3, 32, 64, 128],
  [4, 16, 32, 64, 128],
  [5, 128],
  [6, 128],
  [7, 128],
  [8, 16, 32, 128],
];

/** Symmetric integers with a bf16 scale a group, as several programs store them. */
const integerOption = (bits: number, size: number): Option => ({
  transform: 'none',
  grid: { kind: 'int', bits, symmetric: true },
  scales: { kind: 'searched', size, type: 'bf16' },
  rounding: 'descent',
  rank: 0,
});

export const integers: Method = {
  label: 'Integers',
  source: 'feedback: Frantar et al., 2022, arXiv 2210.17323; descent: Kim et al., 2025, arXiv 2505.07004',
  description:
    'Symmetric integers of 2 to 8 bits in groups, scales searched for least error, rounded with feedback and coordinate descent.',
  metrics: ['kfac', 'plain'],
  secondPass: false,
  settings: [],
  options: () => GRIDS.flatMap(([bits, ...sizes]) => sizes.map(size => integerOption(bits, size))),
};
