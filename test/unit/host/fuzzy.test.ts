import { describe, expect, it } from 'vitest';
import { fuzzyMatch, parseQuery } from '../../../extension/host/model/fuzzy';

const best = (query: string, names: string[]): string | undefined =>
  names
    .map(name => ({ name, match: fuzzyMatch(parseQuery(query), name) }))
    .filter(({ match }) => match)
    .sort((a, b) => b.match!.score - a.match!.score)[0]?.name;

describe('fuzzy matching', () => {
  const q = (layer: number) => `model.layers.${layer}.self_attn.q_proj.weight`;
  const down = (layer: number) => `model.layers.${layer}.mlp.down_proj.weight`;

  it('matches letters in order, whatever the case', () => {
    expect(fuzzyMatch(parseQuery('QPROJ'), q(0))).toBeDefined();
    expect(fuzzyMatch(parseQuery('jorpq'), q(0))).toBeUndefined();
  });

  it('needs every word, in any order', () => {
    expect(fuzzyMatch(parseQuery('proj l3'), q(3))).toBeDefined();
    expect(fuzzyMatch(parseQuery('proj l3'), q(4))).toBeUndefined();
  });

  it('prefers runs and starts of segments', () => {
    expect(best('down', ['model.d.o.w.n', down(3)])).toBe(down(3));
    expect(best('3 q', [down(13), q(3), q(13)])).toBe(q(3));
  });

  it('says which characters matched', () => {
    const { positions } = fuzzyMatch(parseQuery('q_proj'), q(0))!;
    expect(positions.map(at => q(0)[at]).join('')).toBe('q_proj');
  });

  it('matches everything when nothing is asked', () => {
    expect(fuzzyMatch(parseQuery('  '), 'a')).toEqual({ score: 0, positions: [] });
  });

  it('follows typing in 10,000 names', () => {
    const names = Array.from({ length: 10_000 }, (_, i) => q(i));
    const query = parseQuery('l99 qprj wei');
    const times = Array.from({ length: 3 }, () => {
      const start = performance.now();
      for (const name of names) fuzzyMatch(query, name);
      return performance.now() - start;
    });
    expect(Math.min(...times)).toBeLessThan(250);
  });

  it('takes a hostile name without blowing up', () => {
    const hostile = 'a'.repeat(10_000);
    const start = performance.now();
    expect(fuzzyMatch(parseQuery('aaaaaaaaab'), hostile)).toBeUndefined();
    expect(performance.now() - start).toBeLessThan(200);
  });
});
