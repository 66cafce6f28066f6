import { describe, expect, it } from 'vitest';
import { inverseNormal } from '../../../extension/core/options/books/inverse-normal';
import { codeBooks, nativeBook } from '../../../extension/core/options/books/registry';
import {
  gridOptions,
  NF8_FACTORS,
  nominalBits,
  paperGrid,
  quantizedBytes,
  storageBits,
} from '../../../extension/core/options/config';
import { packedBytes } from '../../../extension/core/options/option';
import type { QuantConfig } from '../../../extension/core/native';
import golden from '../../fixtures/code-books.json';

describe('inverse normal', () => {
  // Reference: Python 3.11 statistics.NormalDist().inv_cdf.
  it.each([
    [0.5, 0],
    [0.975, 1.959963984540054],
    [0.25, -0.6744897501960817],
    [0.001, -3.090232306167813],
    [1e-10, -6.361340902404056],
    [1e-20, -9.262340089798409],
  ])('of %d', (p, x) => expect(Math.abs(inverseNormal(p) - x)).toBeLessThan(1e-14 * Math.max(1, Math.abs(x)) * 2));

  it('refuses what is not a probability', () => {
    for (const p of [0, 1, -1, NaN]) expect(() => inverseNormal(p)).toThrow(RangeError);
  });
});

describe('NormalFloat', () => {
  it.each([2, 3, 4, 8] as const)('%d bits reproduces the oracle', bits => {
    const levels = codeBooks.nf.levels(bits);
    const oracle = golden[`nf${bits}_f64`];
    expect(levels).toHaveLength(2 ** bits);
    for (const [i, level] of levels.entries()) expect(Math.abs(level - oracle[i]!)).toBeLessThan(1e-12);
    for (const [i, level] of nativeBook('nf', bits).levels.entries())
      expect(Math.abs(level - golden[`nf${bits}_f32_torch`][i]!)).toBeLessThan(2.4e-7);
  });

  it('is ascending, ends at -1 and 1 and holds an exact zero', () => {
    for (const bits of [2, 3, 4, 8]) {
      const levels = [...codeBooks.nf.levels(bits)];
      expect(levels).toEqual([...levels].sort((a, b) => a - b));
      expect([levels[0], levels[2 ** (bits - 1) - 1], levels.at(-1)]).toEqual([-1, 0, 1]);
    }
  });
});

const config = (b0: number, b1: number, b2: QuantConfig['b2'], B0: number, B1: number) => ({ b0, b1, b2, B0, B1 });

describe('sizes', () => {
  it('match the published formula', () => {
    expect(nominalBits(config(4, 8, 'fp32', 64, 256))).toBe(4.126953125);
    expect(nominalBits(config(3, 8, 'fp32', 64, 256))).toBe(3.126953125);
  });

  it('of the paper: 243 configurations, 114 distinct sizes, 2.0322265625 to 4.375 bits', () => {
    const sizes = paperGrid().map(nominalBits);
    expect(sizes).toHaveLength(243);
    expect(new Set(sizes).size).toBe(114);
    expect([Math.min(...sizes), Math.max(...sizes)]).toEqual([2.0322265625, 4.375]);
    expect(new Set(paperGrid().map(c => JSON.stringify(c))).size).toBe(243);
  });

  it('equal the formula where block sizes divide, and count ragged tails exactly', () => {
    for (const c of paperGrid()) expect(storageBits(c, 1 << 18)).toBe(nominalBits(c) * (1 << 18));
    // 100 weights in blocks of 16: 7 blocks, one group of 16 blocks.
    expect(storageBits(config(3, 4, 'bf16', 16, 16), 100)).toBe(300 + 28 + 16);
    // The same padded: 38 + 4 + 2 bytes, and 4 of the offset.
    expect(quantizedBytes(config(3, 4, 'bf16', 16, 16), 100)).toBe(48);
    expect(quantizedBytes(config(2, 2, 'fp32', 64, 256), 1)).toBe(1 + 1 + 4 + 4);
  });

  it('of factors follow their storage', () => {
    const [option] = gridOptions([config(3, 4, 'bf16', 16, 16)], 8);
    const q = quantizedBytes(config(3, 4, 'bf16', 16, 16), 30 * 50);
    expect(packedBytes(option!, 30, 50, 'fp32')).toBe(q + 8 * 80 * 4);
    expect(packedBytes(option!, 30, 50, 'bf16')).toBe(q + 8 * 80 * 2);
    // 240 elements: 4 blocks, 1 group; 400: 7 blocks, 1 group.
    expect(packedBytes(option!, 30, 50, 'nf8')).toBe(q + (240 + 4 + 4 + 4) + (400 + 7 + 4 + 4));
    expect(packedBytes({ ...option!, rank: 0 }, 30, 50, 'nf8')).toBe(q);
  });

  it('reproduce the paper: 2.75 bits, rank 64 and NF8 factors are 2.95 effective bits on 7B and 2.85 on 70B', () => {
    const effective = (hidden: number, kv: number, intermediate: number) => {
      const shapes = [
        [hidden, hidden, 2],
        [kv, hidden, 2],
        [intermediate, hidden, 3],
      ] as const;
      const weights = shapes.reduce((sum, [rows, cols, times]) => sum + rows * cols * times, 0);
      const bytes = shapes.reduce(
        (sum, [rows, cols, times]) =>
          sum + times * (quantizedBytes(NF8_FACTORS, rows * 64) + quantizedBytes(NF8_FACTORS, cols * 64)),
        0,
      );
      return 2.75 + (8 * bytes) / weights;
    };
    expect(effective(4096, 4096, 11008)).toBeCloseTo(2.95067, 4);
    expect(effective(8192, 1024, 28672)).toBeCloseTo(2.84835, 4);
  });
});
