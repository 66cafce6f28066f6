import type { GridOf, Option } from '../types';
import type { Method, MethodSettings } from './method';

/** K and V of the rates 1, 1.5, 2, 2.5, 3, 3.5 and 4. */
const RATES = [
  { bits: 1, step: 1 },
  { bits: 3, step: 2 },
  { bits: 2, step: 1 },
  { bits: 5, step: 2 },
  { bits: 3, step: 1 },
  { bits: 7, step: 2 },
  { bits: 4, step: 1 },
] as const;

/** A low-rank part beside a trellis wins from this rate on; below it another half bit of trellis is worth more. */
const RANKS_FROM = 3.5;

export const trellisOption = (grid: Omit<GridOf<'trellis'>, 'kind'>, rank = 0): Option => ({
  transform: 'hadamard',
  grid: { kind: 'trellis', ...grid },
  scales: { kind: 'row', type: 'fp16' },
  rounding: 'feedback',
  rank,
});

/** Beyond four bits: integers are within a hair of anything else there. */
const WIDE: readonly Option[] = [5, 6, 8].map(bits => ({
  transform: 'none',
  grid: { kind: 'int', bits, symmetric: false },
  scales: { kind: 'group', size: 128, type: 'fp16' },
  rounding: 'feedback',
  rank: 0,
}));

/** Rows of embeddings are looked up one by one: options with a scale a row. */
const TOKEN_OPTIONS: readonly Option[] = [
  ...[4, 5, 6, 8].map((bits): GridOf<'int'> => ({ kind: 'int', bits, symmetric: false })),
  ...[3, 4].map((bits): GridOf<'fitted'> => ({ kind: 'fitted', bits })),
].map(grid => ({ transform: 'none', grid, scales: { kind: 'row', type: 'fp16' }, rounding: 'nearest', rank: 0 }));

function options({ ranks = [], states = 12, tailBiting = false }: MethodSettings): Option[] {
  const positive = ranks.filter(rank => rank > 0);
  const trellises = RATES.flatMap(({ bits, step }) => {
    const own = bits / step < RANKS_FROM ? [0] : [0, ...positive];
    return own.map(rank => trellisOption({ bits, step, states, tailBiting }, rank));
  });
  return [...trellises, ...WIDE];
}

export const frontier: Method = {
  label: 'Frontier',
  source: 'trellis: Tseng et al., 2024, arXiv 2406.11235; feedback: Frantar et al., 2022, arXiv 2210.17323',
  description:
    'A trellis code on rotated inputs with feedback, rates from 1 to 4 bits chosen by the program under a K-FAC cost, and a ' +
    'second pass in layer order.',
  metrics: ['kfac', 'fisher', 'plain'],
  secondPass: true,
  settings: ['ranks', 'states', 'tailBiting'],
  options,
  tokenOptions: TOKEN_OPTIONS,
};
