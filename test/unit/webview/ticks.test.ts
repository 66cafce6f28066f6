import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { logTicks } from '../../../webview/shared/ticks';

describe('logTicks', () => {
  it('labels decades, and rounder numbers between them the shorter the axis', () => {
    expect(logTicks(1e-3, 1)).toEqual([0.001, 0.01, 0.1, 1]);
    expect(logTicks(1, 50)).toEqual([1, 3, 10, 30]);
    expect(logTicks(0.022, 0.108)).toEqual([0.03, 0.05, 0.07, 0.1]);
  });

  it('has none for what is no range', () => {
    expect(logTicks(0, 10)).toEqual([]);
    expect(logTicks(NaN, 10)).toEqual([]);
    expect(logTicks(3, 3)).toEqual([]);
  });

  it('stays in the range, ascends, and is never more than can be read', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-9, max: 1e9 }), fc.double({ min: 1.01, max: 1e6 }), (low, ratio) => {
        const ticks = logTicks(low, low * ratio);
        expect(ticks.every((tick, index) => tick >= low && tick <= low * ratio && tick > (ticks[index - 1] ?? 0))).toBe(
          true,
        );
        expect(ticks.length).toBeLessThan(12);
      }),
    );
  });
});
