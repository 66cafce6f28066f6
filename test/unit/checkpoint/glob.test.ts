import { expect, it } from 'vitest';
import { anyGlob, globMatcher } from '../../../extension/core/checkpoint/glob';

const Q = 'model.layers.10.self_attn.q_proj.weight';

it.each([
  ['*', Q, true],
  ['*q_proj*', Q, true],
  ['*.q_proj', Q, true],
  ['model.layers.10.*', Q, true],
  ['model.layers.1.*', Q, false],
  ['*.{q,k}_proj.weight', Q, true],
  ['*.{v,k}_proj.weight', Q, false],
  ['model.layers.[0-3].*', Q, false],
  ['model.layers.?0.*', Q, true],
  ['q_proj', Q, false],
  ['.hidden*', '.hidden.weight', true],
  ['MODEL*', Q, false],
])('%s on %s: %s', (pattern, name, expected) => {
  expect(globMatcher(pattern)(name)).toBe(expected);
});

it('refuses what cannot be a pattern', () => {
  for (const pattern of ['', 'a'.repeat(70_000), 'a[b']) {
    expect(() => globMatcher(pattern)).toThrow(expect.objectContaining({ code: 'usage' }));
  }
});

it('anyGlob of nothing matches nothing', () => {
  expect(anyGlob([])(Q)).toBe(false);
  expect(anyGlob(['x', '*q_proj'])(Q)).toBe(true);
});
