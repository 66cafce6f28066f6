import { expect, it } from 'vitest';
import {
  consumers,
  CONSUMER_IDS,
  GENERAL_METHODS,
  methodFor,
  type Consumer,
} from '../../../extension/core/options/consumers';
import { METHOD_IDS } from '../../../extension/core/options/methods/registry';

it('compares the methods that no format keeps to itself, each of which packed files hold', () => {
  const owned = new Set<string>(CONSUMER_IDS.flatMap(id => (consumers[id] as Consumer).methods ?? []));
  expect([...GENERAL_METHODS, ...owned].sort()).toEqual([...METHOD_IDS].sort());
  expect(GENERAL_METHODS).toContain('frontier');
  expect(GENERAL_METHODS).not.toContain('gguf');
  for (const id of GENERAL_METHODS) expect(methodFor('packed', id, 'frontier')).toBe(id);
});
