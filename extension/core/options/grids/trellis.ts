import { fieldPart } from '../parts';
import type { GridOf } from '../types';
import type { GridKind } from './kind';

/** A sequence of the trellis is a tile of so many rows and columns. */
const TILE = 16;

/**
 * The bitshift trellis (QTIP, arXiv 2406.11235; our own variant): a sequence of 256 weights walks through 2^L states, K new
 * bits every V weights, and each state's value is a fixed quantile of the normal distribution. Nothing but the walk is
 * stored: the bits of every step and, unless the walk bites its tail, the bits of the state it starts from.
 */
export const trellis: GridKind<GridOf<'trellis'>> = {
  label: grid => `Trellis ${rate(grid)} bits${details(grid)}`,
  rate,
  scales: ['row'],
  transforms: ['none', 'hadamard'],
  roundings: ['nearest', 'feedback'],
  usual: { transform: 'hadamard', rounding: 'feedback' },
  fault({ bits, step, states }) {
    if (![1, 2].includes(step)) return `a trellis step has 1 or 2 weights, not ${step}`;
    if (!Number.isInteger(bits) || bits < 1 || bits > 8) return `a trellis step has 1 to 8 bits, not ${bits}`;
    if (![12, 14, 16].includes(states)) return `a trellis has states of 12, 14 or 16 bits, not ${states}`;
    return undefined;
  },
  parts(grid, rows, cols) {
    const { bits, step, states, tailBiting } = grid;
    const tiles = Math.ceil(rows / TILE) * Math.ceil(cols / TILE);
    const codes = fieldPart('codes', codeBits(grid, rows, cols), 1);
    return tailBiting ? [codes] : [codes, fieldPart('starts', tiles, states - Math.floor(bits / step))];
  },
};

/** Bits of all tiles; those of the last row and column of tiles may be short, and a tile takes whole bits. */
function codeBits({ bits, step }: GridOf<'trellis'>, rows: number, cols: number): number {
  const sides = (length: number): [count: number, side: number][] => [
    [Math.floor(length / TILE), TILE],
    [length % TILE === 0 ? 0 : 1, length % TILE],
  ];
  let sum = 0;
  for (const [down, height] of sides(rows))
    for (const [across, width] of sides(cols)) sum += down * across * Math.floor((height * width * bits) / step);
  return sum;
}

function rate({ bits, step }: GridOf<'trellis'>): number {
  return bits / step;
}

/** What sets it apart from the usual trellis of 12 bits of state. */
function details({ states, tailBiting }: GridOf<'trellis'>): string {
  return `${states === 12 ? '' : ` L${states}`}${tailBiting ? ' tail-biting' : ''}`;
}
