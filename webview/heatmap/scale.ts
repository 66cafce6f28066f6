/** From a value to a place on the colour scale: linear or logarithmic, one for all sides that are shown. */
import type { HeatValue } from '../../extension/protocol/panels';

export interface HeatScale {
  kind: 'sequential' | 'diverging';
  log: boolean;
  low: number;
  high: number;
  /** [0, 1] for a sequential scale, [-1, 1] for a diverging one. */
  share(value: number): number;
}

/** @param wantLog ignored where a value is not positive, since it has no logarithm. */
export function makeScale(
  sides: readonly (readonly HeatValue[] | undefined)[],
  kind: 'sequential' | 'diverging',
  wantLog: boolean,
): HeatScale {
  const numbers = sides.flatMap(side => side ?? []).filter(value => typeof value === 'number');
  let low = Infinity;
  let high = -Infinity;
  for (const value of numbers) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (numbers.length === 0) [low, high] = [0, 1];
  if (kind === 'diverging') {
    const reach = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return { kind, log: false, low: -reach, high: reach, share: value => value / reach };
  }
  const log = wantLog && low > 0;
  const at = (value: number) => (log ? Math.log(value) : value);
  const span = at(high) - at(low);
  // All equal: the middle of the scale says neither little nor much.
  return { kind, log, low, high, share: value => (span > 0 ? (at(value) - at(low)) / span : 0.5) };
}

/** Where every value stands among all known ones of its side. */
export interface HeatOrder {
  /** 1 for the largest, equals alike; undefined where the value is not known. */
  ranks: readonly (number | undefined)[];
  /** How many values are known. */
  known: number;
}

export function orderOf(values: readonly HeatValue[]): HeatOrder {
  const sorted = values.filter(value => typeof value === 'number').sort((a, b) => b - a);
  const first = new Map<number, number>();
  sorted.forEach((value, index) => {
    if (!first.has(value)) first.set(value, index + 1);
  });
  return {
    ranks: values.map(value => (typeof value === 'number' ? first.get(value) : undefined)),
    known: sorted.length,
  };
}

/** `6th highest of 26`; undefined where there is no rank. A rank is also what a low-rank part has, so the word is not used. */
export function describeRank({ ranks, known }: HeatOrder, index: number): string | undefined {
  const rank = ranks[index];
  return rank === undefined ? undefined : `${rank === 1 ? '' : `${ordinal(rank)} `}highest of ${known}`;
}

function ordinal(value: number): string {
  const teens = value % 100 >= 11 && value % 100 <= 13;
  const ending = teens ? 'th' : (['th', 'st', 'nd', 'rd'][value % 10] ?? 'th');
  return `${value}${ending}`;
}
