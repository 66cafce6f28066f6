/** Masked tokens: as many in each window, the same every time, and nowhere else. */
import { describe, expect, it } from 'vitest';
import { maskTokens } from '../../../extension/core/evaluation/masks';

const rows = (count: number, context: number): Int32Array =>
  Int32Array.from({ length: count * context }, (_, i) => i % 1000);
const maskedPlaces = (tokens: Int32Array, context: number): number[][] =>
  Array.from({ length: tokens.length / context }, (_, row) =>
    [...tokens.subarray(row * context, (row + 1) * context)].flatMap((token, at) => (token < 0 ? [at] : [])),
  );

describe('masked tokens', () => {
  it('are 15 % of the places that may be masked, in every window', () => {
    const tokens = rows(50, 102);
    expect(maskTokens(tokens, 102, 1, 101)).toBe(15);
    for (const places of maskedPlaces(tokens, 102)) {
      expect(places).toHaveLength(15);
      expect(Math.min(...places)).toBeGreaterThanOrEqual(1);
      expect(Math.max(...places)).toBeLessThan(101);
    }
  });

  it('keep what they were, and leave the others', () => {
    const tokens = rows(3, 40);
    maskTokens(tokens, 40, 0, 40);
    expect(tokens.map(token => (token < 0 ? ~token : token))).toEqual(rows(3, 40));
  });

  it('are the same in every run, and others in every window; every place has its turn', () => {
    const [first, second] = [rows(200, 20), rows(200, 20)];
    maskTokens(first, 20, 0, 20);
    maskTokens(second, 20, 0, 20);
    expect(first).toEqual(second);
    const places = maskedPlaces(first, 20);
    expect(new Set(places.map(String)).size).toBeGreaterThan(150);
    expect(new Set(places.flat()).size).toBe(20);
  });

  it('are one at least', () => {
    expect(maskTokens(rows(1, 4), 4, 1, 3)).toBe(1);
  });
});
