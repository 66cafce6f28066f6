import { describe, expect, it } from 'vitest';
import {
  formatBits,
  formatBytes,
  formatCertificate,
  formatCount,
  formatDuration,
  formatNumber,
  formatPercent,
  formatShape,
} from '../../../extension/core/format';

describe('numbers for people', () => {
  it.each([
    [{ optimal: true, gap: 0 }, 'optimal'],
    [{ optimal: true, gap: 4.7e-3 }, 'optimal'],
    [{ optimal: false, gap: 1e-4 }, 'within 0.01 % of optimal'],
    // A gap that is not finite comes over the wire as null.
    [{ optimal: true, gap: null as unknown as number }, 'optimal'],
  ])('certifies %j as %s', (plan, text) => expect(formatCertificate(plan)).toBe(text));

  it.each([
    [0, '0'],
    [1234, '1234'],
    [12345.678, '12346'],
    [0.123456, '0.1235'],
    [-2.5, '−2.5'],
    [0.00001234, '1.23e−5'],
    [6.02e23, '6.02e23'],
    [NaN, '–'],
    [null, '–'],
    [-Infinity, '−∞'],
  ])('%d as %s', (value, text) => expect(formatNumber(value)).toBe(text));

  it.each([
    [812, '812'],
    [3_948_000, '3.95 M'],
    [7_241_732_096, '7.24 B'],
    [999_999, '1 M'],
  ])('counts %d as %s', (value, text) => expect(formatCount(value)).toBe(text));

  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1 kB'],
    [7_900_000, '7.9 MB'],
    [13_476_831_232, '13.5 GB'],
  ])('%d bytes as %s', (value, text) => expect(formatBytes(value)).toBe(text));

  it.each([
    [0.04, 'under 1 s'],
    [42.4, '42 s'],
    [200, '3 min'],
    [7500, '2 h 5 min'],
  ])('%d seconds as %s', (value, text) => expect(formatDuration(value)).toBe(text));

  it('shapes, bits and shares', () => {
    expect(formatShape([4096, 11008])).toBe('4096 × 11008');
    expect(formatShape([])).toBe('scalar');
    expect(formatBits(2.75)).toBe('2.75');
    expect(formatBits(16)).toBe('16.00');
    expect(formatPercent(0.004)).toBe('0.4 %');
  });
});
