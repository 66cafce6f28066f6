/** Options as a product: names, exact sizes, and what does not exist. */
import { describe, expect, it } from 'vitest';
import { requireOneRank } from '../../../extension/core/allocation/plan';
import { paperOption } from '../../../extension/core/options/config';
import { trellisOption } from '../../../extension/core/options/methods/frontier';
import { findMethod, METHOD_IDS, methodOptions, methods } from '../../../extension/core/options/methods/registry';
import {
  describeOption,
  optionFault,
  optionKey,
  optionParts,
  packedBytes,
  rateOf,
} from '../../../extension/core/options/option';
import type { Option } from '../../../extension/core/options/types';

const trellis = (bits: number, step: number, tailBiting = false) =>
  trellisOption({ bits, step, states: 12, tailBiting });
const int4: Option = {
  transform: 'none',
  grid: { kind: 'int', bits: 4, symmetric: false },
  scales: { kind: 'group', size: 128, type: 'fp16' },
  rounding: 'feedback',
  rank: 0,
};

describe('sizes', () => {
  it('of a trellis are K/V + (L - floor(K/V))/256 + 16/n bits, and a multiplier', () => {
    // Method, section 9, for a square matrix that tiles divide: 2 bits and L = 12 give 2 + 10/256 + 16/512.
    const [n, bits] = [512, 8 * packedBytes(trellis(2, 1), 512, 512, 'nf8')];
    expect(bits - 32).toBe(n * n * (2 + 10 / 256 + 16 / n));
    expect(8 * packedBytes(trellis(5, 2, true), n, n, 'nf8') - 32).toBe(n * n * (2.5 + 16 / n));
    expect(rateOf(trellis(7, 2))).toBe(3.5);
  });

  it('of a trellis count short tiles as what they are', () => {
    // 20 x 18: tiles of 16x16, 16x2, 4x16 and 4x2; at 3/2 bits 384 + 48 + 96 + 12 bits; starts of 11 bits.
    const parts = new Map(optionParts(trellis(3, 2), 20, 18).map(({ name, shape }) => [name, shape]));
    expect(parts.get('codes')).toEqual([Math.ceil((384 + 48 + 96 + 12) / 8)]);
    expect(parts.get('starts')).toEqual([Math.ceil((4 * 11) / 8)]);
    expect(parts.get('row_scales')).toEqual([20]);
  });

  it('of integers with a zero point a group are those of GPTQ’s format', () => {
    // Field, GPTQ: 4 + (16 + 4)/128 bits a weight; the multiplier is 4 bytes more.
    expect(packedBytes(int4, 256, 1024, 'nf8') - 4).toBe((256 * 1024 * (4 + 20 / 128)) / 8);
    // 130 columns: two groups, the second of 2.
    const parts = new Map(optionParts(int4, 3, 130).map(({ name, shape }) => [name, shape]));
    expect([parts.get('group_scales'), parts.get('group_zeros')]).toEqual([[3, 2], [3]]);
  });

  it('of a fitted book count the book', () => {
    const fitted: Option = { ...int4, grid: { kind: 'fitted', bits: 3 } };
    const nf: Option = { ...int4, grid: { kind: 'nf', bits: 3 } };
    expect(packedBytes(fitted, 64, 64, 'nf8') - packedBytes(nf, 64, 64, 'nf8')).toBe(16);
  });
});

describe('an option', () => {
  it('has a name for people', () => {
    expect(describeOption(paperOption({ b0: 3, b1: 4, b2: 'bf16', B0: 64, B1: 256 }, 16))).toBe(
      'NF3 b1=4 bf16 64x256 r16',
    );
    expect(describeOption(trellis(5, 2))).toBe('Trellis 2.5 bits');
    expect(describeOption({ ...trellis(3, 1), transform: 'none', rounding: 'nearest', rank: 8 })).toBe(
      'Trellis 3 bits not rotated nearest r8',
    );
    expect(describeOption(int4)).toBe('INT4 asym g128 feedback');
  });

  it('has a key that the order of fields does not change', () => {
    const { rank, rounding, scales, grid, transform } = int4;
    const { kind, ...rest } = grid as { kind: 'int'; bits: number; symmetric: boolean };
    expect(optionKey({ rank, rounding, scales, grid: { ...rest, kind }, transform })).toBe(optionKey(int4));
    expect(optionKey({ ...int4, rank: 8 })).not.toBe(optionKey(int4));
  });

  it.each<[Partial<Option> | null, RegExp]>([
    [null, /not an option/],
    [
      { grid: { kind: 'trellis', bits: 2, step: 1, states: 12, tailBiting: false } },
      /Trellis 2 bits has no group scales/,
    ],
    [{ grid: { kind: 'trellis', bits: 2, step: 3, states: 12, tailBiting: false } }, /1 or 2 weights, not 3/],
    [{ grid: { kind: 'int', bits: 9, symmetric: true } }, /2 to 8 bits, not 9/],
    [{ scales: { kind: 'two-level', b1: 4, b2: 'bf16', B0: 64, B1: 64 } }, /INT4 asym has no two-level scales/],
    [{ transform: 'fourier' as never }, /no transform "fourier"/],
    [{ rounding: 'up' as never }, /no rounding "up"/],
    [{ rank: -1 }, /whole number, not -1/],
    [{ transform: 'scaled', rank: 8 }, /without a low-rank part/],
    [{ grid: { kind: 'zero' }, scales: { kind: 'block' }, rounding: 'nearest' }, /without codes has a low-rank part/],
  ])('%j does not exist, and says why', (change, reason) => {
    expect(optionFault(change && { ...int4, ...change })).toMatch(reason);
    expect(optionFault(int4)).toBeUndefined();
  });
});

describe('methods', () => {
  it.each(METHOD_IDS)('%s has options, all different, all of which exist', id => {
    const options = methodOptions(id, {});
    expect(options.length).toBeGreaterThan(3);
    expect(new Set(options.map(optionKey)).size).toBe(options.length);
    for (const option of options) expect(optionFault(option)).toBeUndefined();
  });

  it('has every published method that can be asked for by name', () => {
    const names = 'lq-lora frontier gptq rtn awq quip higgs leanquant lqer eora zeroquant-v2 fwsvd'.split(' ');
    expect(names.map(findMethod)).toEqual(names);
    for (const id of names.map(findMethod)) expect(methods[id].source).not.toBe('');
    // A low-rank part is stored where it earns its bytes.
    for (const id of ['lqer', 'eora', 'zeroquant-v2'] as const)
      expect(new Set(methodOptions(id, {}).map(({ rank }) => rank))).toContain(0);
  });

  it('lq-lora is the paper’s 243 at a rank', () => {
    const options = methodOptions('lq-lora', { ranks: [32] });
    expect(options).toHaveLength(243);
    expect(options.every(({ rank, grid }) => rank === 32 && grid.kind === 'nf')).toBe(true);
  });

  it('frontier has trellises at seven rates, with a low-rank part from 3.5 bits on', () => {
    const rates = methodOptions('frontier', { ranks: [0, 16] }).filter(({ grid }) => grid.kind === 'trellis');
    expect(rates.map(option => [rateOf(option), option.rank])).toEqual([
      ...[1, 1.5, 2, 2.5, 3].map(rate => [rate, 0]),
      ...[3.5, 4].flatMap(rate => [
        [rate, 0],
        [rate, 16],
      ]),
    ]);
  });

  it('refuses by name what it cannot do, and settings a method does not have', () => {
    expect(() => findMethod('magic')).toThrow(/no method "magic".*lq-lora, frontier/);
    expect(() => methodOptions('gptq', { ranks: [4] })).toThrow(/GPTQ has no setting "ranks"/);
  });

  it('refuses a budget in bits when ranks differ', () => {
    expect(() => requireOneRank(methodOptions('lqer', { ranks: [8, 16] }))).toThrow(/ranks 8, 16/);
    expect(() => requireOneRank(methodOptions('lqer', { ranks: [8] }))).not.toThrow();
  });
});
