/** The recorded vectors of the method, through the addon. */
import { describe, expect, it } from 'vitest';
import vectors from '../fixtures/vectors.json';
import { config, native, option, PARAMETERS as RECIPE, type Recorded } from './native';

const PARAMETERS: Omit<typeof RECIPE, 'fisher'> = RECIPE;

interface Quantised {
  offset: number;
  vc: number[];
  k: number[];
  codes: number[];
  Q: number[];
}

const recorded = vectors as unknown as Record<string, unknown>;

/** Entries named `prefix(b0, b1, 'b2', B0, B1)`. */
function entries<T>(prefix: string): { name: string; key: Recorded; value: T }[] {
  return Object.entries(recorded)
    .filter(([name]) => name.startsWith(`${prefix}(`))
    .map(([name, value]) => ({
      name,
      key: JSON.parse(`[${name.slice(prefix.length + 1, -1).replaceAll("'", '"')}]`) as Recorded,
      value: value as T,
    }));
}

describe('quantisation', () => {
  const cases = [
    ...entries<Quantised>('quant_').map(entry => ({ ...entry, weights: vectors.W16x32 })),
    ...entries<Quantised>('quantW2_').map(entry => ({ ...entry, weights: vectors.W2_16x32 })),
  ];
  it('has recorded cases', () => expect(cases).toHaveLength(8));

  it.each(cases)('$name', ({ key, value, weights }) => {
    const result = native.arrays.quantize('cpu', Float32Array.from(weights.flat()), config(key), option(key, 0).book);
    expect(result.offset).toBe(value.offset);
    expect([...result.groups]).toEqual(value.vc.map(Math.fround));
    expect([...result.scales]).toEqual(value.k.flat());
    expect([...result.codes]).toEqual(value.codes.flat());
    value.Q.flat().forEach((q, i) => expect(Math.abs(result.dequantized[i]! - q)).toBeLessThan(2e-7));
  });
});

describe('packing', () => {
  it.each([2, 4, 8])('fields of %i bits', bits => {
    const { codes, words } = recorded[`pack${bits}`] as { codes: number[]; words: number[] };
    const packed = native.arrays.pack(Uint8Array.from(codes), bits);
    expect(packed).toEqual(new Uint8Array(Uint32Array.from(words).buffer));
    expect([...native.arrays.unpack(packed, bits, codes.length)]).toEqual(codes);
  });

  // The reference splits three bits into planes; here fields of every width are contiguous.
  it('fields of 3 bits', () => {
    const { codes } = vectors.pack3;
    const all = codes.reduce((sum, code, i) => sum | (BigInt(code) << BigInt(3 * i)), 0n);
    const packed = native.arrays.pack(Uint8Array.from(codes), 3);
    expect([...packed]).toEqual(Array.from({ length: 12 }, (_, i) => Number((all >> BigInt(8 * i)) & 255n)));
    expect([...native.arrays.unpack(packed, 3, codes.length)]).toEqual(codes);
  });

  it('refuses a value that does not fit its field', () => {
    expect(() => native.arrays.pack(Uint8Array.of(1, 8), 3)).toThrow('does not fit');
  });
});

describe('LQ iteration', () => {
  const matrix = Float32Array.from(vectors.A64.flat());
  const fisher = Float32Array.from(vectors.F64.flat());
  const cases = [
    ...entries<number[]>('lq_').map(entry => ({ ...entry, parameters: PARAMETERS })),
    ...entries<number[]>('lqF_code_').map(entry => ({ ...entry, parameters: { ...PARAMETERS, fisher } })),
    ...entries<number[]>('lqF_paper_').map(entry => ({
      ...entry,
      parameters: { ...PARAMETERS, fisher, scales: 'means-of-sqrt' as const },
    })),
  ];
  it('has recorded cases', () => expect(cases).toHaveLength(6));

  it.each(cases)('$name', ({ key, value, parameters }) => {
    const run = { ...parameters, iterations: 100, patience: 1 };
    const result = native.arrays.decompose('cpu', matrix, 64, 64, option(key, 4), run);
    const best = Math.min(...value);
    value.slice(0, 8).forEach((error, i) => expect(Math.abs(result.trace[i]! - error) / error).toBeLessThan(1e-4));
    expect(Math.abs(Math.sqrt(result.cost) - best) / best).toBeLessThan(1e-3);
    expect(result.trace[result.bestIteration - 1]).toBe(Math.min(...result.trace));
  });
});
