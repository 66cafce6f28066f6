import type { Option } from '../types';
import type { Method } from './method';

/** The code of the first exllamav3, which every reader since knows. */
const exl3Option = (bits: number): Option => ({
  transform: 'two-sided',
  grid: { kind: 'exl3', bits, code: '3inst' },
  scales: { kind: 'block' },
  rounding: 'feedback',
  rank: 0,
});

export const exl3: Method = {
  label: 'EXL3',
  source:
    'format: exllamav3; trellis: Tseng et al., 2024, arXiv 2406.11235; feedback: Frantar et al., 2022, arXiv 2210.17323',
  description:
    'The trellis codes of exllamav3 in 1 to 8 bits, weights mixed on both sides, with feedback; the bits of every matrix are the ' +
    'program’s choice, and they are encoded in layer order.',
  metrics: ['kfac', 'plain'],
  secondPass: true,
  settings: [],
  options: () => [1, 2, 3, 4, 5, 6, 7, 8].map(exl3Option),
};
