import type { Option } from '../types';
import type { Method } from './method';

/** Weights a scale, as bitsandbytes counts them. */
const NF4_BLOCKS = [32, 64, 128, 256, 512, 1024, 2048, 4096] as const;

/** NF4 with a scale a block of a row, in fp32. */
const nf4Option = (size: number): Option => ({
  transform: 'none',
  grid: { kind: 'nf', bits: 4 },
  scales: { kind: 'searched', size, type: 'fp32' },
  rounding: 'descent',
  rank: 0,
});

export const nf4: Method = {
  label: 'NF4',
  source: 'Dettmers et al., 2023, arXiv 2305.14314; feedback: Frantar et al., 2022, arXiv 2210.17323',
  description:
    'NF4 of bitsandbytes in blocks of 32 to 4096 weights, scales searched for least error, rounded with feedback and coordinate descent.',
  metrics: ['kfac', 'plain'],
  secondPass: false,
  settings: [],
  options: () => NF4_BLOCKS.map(nf4Option),
};
