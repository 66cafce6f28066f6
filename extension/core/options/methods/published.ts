/**
 * Published methods as points of the product of options. Each is its publication's quantiser; bits and group sizes of every
 * matrix are the program's choice, so that all of them can be compared at equal exported bytes.
 */
import type { Option, Transform } from '../types';
import type { Method } from './method';

const BITS = [2, 3, 4, 8] as const;
const GROUPS = [32, 64, 128] as const;

/** INT with a zero point for every group, as GPTQ's and AWQ's formats have it. */
const integers = (rounding: Option['rounding'], ranks: readonly number[], transform: Transform = 'none'): Option[] =>
  BITS.flatMap(bits =>
    GROUPS.flatMap(size =>
      ranks.map((rank): Option => ({
        transform,
        grid: { kind: 'int', bits, symmetric: false },
        scales: { kind: 'group', size, type: 'fp16' },
        rounding,
        rank,
      })),
    ),
  );

const books = (transform: Transform, rounding: Option['rounding']): Option[] =>
  [2, 3, 4].flatMap(bits =>
    GROUPS.map((size): Option => ({
      transform,
      grid: { kind: 'fitted', bits },
      scales: { kind: 'group', size, type: 'fp16' },
      rounding,
      rank: 0,
    })),
  );

export const rtn: Method = {
  label: 'RTN',
  source: 'round to nearest, the baseline of every publication',
  description: 'Integers with a scale and a zero point a group, each weight rounded to its nearest level.',
  metrics: ['plain', 'fisher', 'kfac'],
  secondPass: false,
  settings: [],
  options: () => integers('nearest', [0]),
};

export const gptq: Method = {
  label: 'GPTQ',
  source: 'Frantar et al., 2022, arXiv 2210.17323',
  description: 'Integers with a scale and a zero point a group, each column taking up the error of those before it.',
  metrics: ['kfac'],
  secondPass: false,
  settings: [],
  options: () => integers('feedback', [0]),
};

export const awq: Method = {
  label: 'AWQ',
  source: 'Lin et al., 2023, arXiv 2306.00978',
  description: 'Integers rounded to nearest, inputs scaled by a power of their size that is searched for each matrix.',
  metrics: ['kfac'],
  secondPass: false,
  settings: [],
  options: () => integers('nearest', [0], 'scaled'),
};

export const quip: Method = {
  label: 'QuIP',
  source: 'Chee et al., 2023, arXiv 2307.13304; the Hadamard rotation of QuIP#, arXiv 2402.04396',
  description: 'Integers on rotated inputs with one scale a row and feedback.',
  metrics: ['kfac'],
  secondPass: false,
  settings: [],
  options: () =>
    BITS.map(bits => ({
      transform: 'hadamard',
      grid: { kind: 'int', bits, symmetric: false },
      scales: { kind: 'row', type: 'fp16' },
      rounding: 'feedback',
      rank: 0,
    })),
};

export const higgs: Method = {
  label: 'HIGGS',
  source: 'Malinovskii et al., 2024, arXiv 2411.17525',
  description: 'Books of least squared error on rotated inputs, one dimension, data-free; fitted to each matrix here.',
  metrics: ['plain', 'fisher', 'kfac'],
  secondPass: false,
  settings: [],
  options: () => books('hadamard', 'nearest'),
};

export const leanquant: Method = {
  label: 'LeanQuant',
  source: 'Zhang and Shrivastava, 2024, arXiv 2407.10032',
  description: 'Books fitted to the weighted error, with feedback; one book a matrix here where theirs is one a row.',
  metrics: ['kfac'],
  secondPass: false,
  settings: [],
  options: () => books('none', 'feedback'),
};

const RANKS: readonly number[] = [0, 8, 16, 32];

export const lqer: Method = {
  label: 'LQER',
  source: 'Zhang et al., 2024, arXiv 2402.02446',
  description: 'Integers rounded to nearest and a low-rank part for their error, weighted by the activations.',
  metrics: ['kfac'],
  secondPass: false,
  settings: ['ranks'],
  options: ({ ranks = RANKS }) => integers('nearest', ranks),
};

export const eora: Method = {
  label: 'EoRA',
  source: 'Liu et al., 2024, arXiv 2410.21271',
  description: 'GPTQ and a low-rank part for its error in the eigenspace of the activations.',
  metrics: ['kfac'],
  secondPass: false,
  settings: ['ranks'],
  options: ({ ranks = RANKS }) => integers('feedback', ranks),
};

export const zeroquantV2: Method = {
  label: 'ZeroQuant-V2',
  source: 'Yao et al., 2023, arXiv 2303.08302',
  description: 'Integers rounded to nearest and an unweighted low-rank part for their error (LoRC).',
  metrics: ['plain'],
  secondPass: false,
  settings: ['ranks'],
  options: ({ ranks = RANKS }) => integers('nearest', ranks),
};

/** From 1 bit a weight of a narrow matrix to 8 of a wide one, with factors at NF8. */
const WHOLE_RANKS: readonly number[] = [8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048];

export const fwsvd: Method = {
  label: 'FWSVD',
  source: 'Hsu et al., 2022, arXiv 2207.00112',
  description:
    'Two low-rank factors in place of each matrix, weighted by the Fisher information; ranks chosen by the program.',
  metrics: ['fisher', 'kfac', 'plain'],
  secondPass: false,
  settings: ['ranks'],
  options: ({ ranks = WHOLE_RANKS }) =>
    ranks
      .filter(rank => rank > 0)
      .map(rank => ({
        transform: 'none',
        grid: { kind: 'zero' },
        scales: { kind: 'block' },
        rounding: 'nearest',
        rank,
      })),
};
