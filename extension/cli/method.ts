/** The options that say what a matrix may become and what its errors are weighed with. */
import { LqError } from '../core/errors';
import { findMethod, METHOD_IDS } from '../core/options/methods/registry';
import type { MethodRequest } from '../core/requests/types';
import { oneOf } from './choices';
import { integer, present, text, type OptionSpec, type Values } from './command';

export const METHOD: Readonly<Record<string, OptionSpec>> = {
  method: { value: 'NAME', description: `set of options: ${METHOD_IDS.join(', ')} (default: lq-lora)` },
  metric: { value: 'NAME', description: 'what errors are weighed with: plain, fisher or kfac (default: the method’s)' },
  rank: {
    value: 'R,…',
    description: 'ranks of the low-rank part to choose from (lq-lora: 16; 0 for quantisation alone)',
  },
  states: { value: 'L', description: 'bits of a trellis state: 12, 14 or 16 (default: 12)' },
  'tail-biting': { description: 'trellis sequences end where they start, and the start is not stored' },
};

export function parseMethod(values: Values): MethodRequest {
  const method = text(values, 'method');
  return present({
    method: method === undefined ? undefined : findMethod(method),
    metric: oneOf(values, 'metric', ['plain', 'fisher', 'kfac']),
    ranks: parseRanks(text(values, 'rank')),
    states: integer(values, 'states'),
    tailBiting: values['tail-biting'] === true ? true : undefined,
  });
}

function parseRanks(given: string | undefined): number[] | undefined {
  if (given === undefined) return undefined;
  return given.split(',').map(word => {
    if (/^\d+$/.test(word.trim())) return Number(word);
    throw new LqError('usage', `--rank must be whole numbers such as 16 or 0,16,32, not "${given}".`);
  });
}
