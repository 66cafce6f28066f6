/** Budgets as people write them: --bits 2.75, --effective-bits 3, --size 1.5GB. */
import type { PlanOverride } from '../core/allocation/types';
import type { Budget } from '../core/options/budget';
import { LqError } from '../core/errors';
import { list, number, text, type Values } from './command';

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** A size with an optional decimal (GB) or binary (GiB) unit, in bytes. */
export function parseSize(value: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B)?\s*$/i.exec(value);
  const unit = UNITS[(match?.[2] ?? 'B').toUpperCase()];
  if (match === null || unit === undefined)
    throw new LqError('usage', `--size must look like 1.5GB or 800MiB, not "${value}".`);
  return Math.floor(Number(match[1]) * unit);
}

/** `GLOB=MIN:MAX`, either bound empty: the matrices a glob selects get codes of at least and at most so many bits. */
export function parseOverrides(values: Values): PlanOverride[] | undefined {
  return list(values, 'override')?.map(given => {
    const match = /^(.+)=(\d*):(\d*)$/.exec(given);
    if (match === null || (match[2] === '' && match[3] === ''))
      throw new LqError('usage', `--override must look like '*.down_proj.weight=4:' or '*=2:3', not "${given}".`);
    const [, glob, least, most] = match as unknown as [string, string, string, string];
    return { match: glob, ...(least && { minBits: Number(least) }), ...(most && { maxBits: Number(most) }) };
  });
}

/** Exactly one budget option. */
export function parseBudget(values: Values): Budget {
  const bits = number(values, 'bits');
  const effective = number(values, 'effective-bits');
  const size = text(values, 'size');
  const given: Budget[] = [];
  if (bits !== undefined) given.push({ kind: 'bits', value: bits });
  if (effective !== undefined) given.push({ kind: 'effective-bits', value: effective });
  if (size !== undefined) given.push({ kind: 'bytes', value: parseSize(size) });
  const [budget] = given;
  if (budget === undefined || given.length > 1)
    throw new LqError('usage', 'Give exactly one of --bits, --effective-bits and --size.');
  return budget;
}
