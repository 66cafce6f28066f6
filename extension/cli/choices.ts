/** Options with a closed set of values. */
import { LqError } from '../core/errors';
import type { FactorStorage } from '../core/options/types';
import { text, type OptionSpec, type Values } from './command';

export const FACTORS: Readonly<Record<string, OptionSpec>> = {
  factors: { value: 'nf8|bf16|fp32', description: 'how low-rank factors are stored (default: nf8)' },
};
export const SCALES: Readonly<Record<string, OptionSpec>> = {
  scales: {
    value: 'sqrt-of-means|means-of-sqrt',
    description: 'row and column scales from Fisher information (default: sqrt-of-means, the reference code’s)',
  },
};

export const factorStorage = (values: Values): FactorStorage | undefined =>
  oneOf(values, 'factors', ['nf8', 'bf16', 'fp32']);
export const scaleKind = (values: Values): 'sqrt-of-means' | 'means-of-sqrt' | undefined =>
  oneOf(values, 'scales', ['sqrt-of-means', 'means-of-sqrt']);

export function oneOf<T extends string>(values: Values, name: string, allowed: readonly T[]): T | undefined {
  const value = text(values, name);
  if (value === undefined) return undefined;
  const found = allowed.find(candidate => candidate === value);
  if (found === undefined)
    throw new LqError('usage', `--${name} must be one of ${allowed.join(', ')}, not "${value}".`);
  return found;
}
