/** Perplexity predicted from cost. */
import { describe, expect, it } from 'vitest';
import { perplexityPredictor } from '../../../extension/core/allocation/predict';

/** A made-up checkpoint whose added loss is 120 times the cost, to some power. */
const perplexity = (objective: number, power = 1): number => 20 * Math.exp(120 * objective ** power);
const measured = (objectives: readonly number[], power = 1) => ({
  dense: 20,
  plans: objectives.map(objective => ({ objective, perplexity: perplexity(objective, power) })),
});

/** tiny-books-4m with the second pass at 2, 2.25 and 3 bits: what `npm run bench:frontier` prints. */
const TINY = [
  { objective: 1.397e-3, perplexity: 26.817 },
  { objective: 9.823e-4, perplexity: 24.521 },
  { objective: 3.532e-4, perplexity: 21.589 },
];

describe('a prediction', () => {
  it.each([0, 1, 2])('from run %i of a real checkpoint holds the others in its band and is within 1.5 %%', known => {
    const predict = perplexityPredictor({ dense: 20.578, plans: [TINY[known]!] });
    for (const { objective, perplexity: found } of TINY) {
      const { perplexity: predicted, low, high } = predict(objective);
      expect(Math.abs(predicted / found - 1)).toBeLessThan(0.015);
      expect(low).toBeLessThan(found);
      expect(high).toBeGreaterThan(found);
    }
  });

  it('learns a power from several runs', () => {
    const predict = perplexityPredictor(measured([5e-4, 3e-3], 1.1));
    expect(predict(1e-3).perplexity).toBeCloseTo(perplexity(1e-3, 1.1), 6);
  });

  it('widens away from what was measured and never falls below the original', () => {
    const predict = perplexityPredictor(measured([1e-3]));
    const width = (objective: number): number => {
      const { low, high } = predict(objective);
      expect(low).toBeGreaterThan(20);
      return Math.log(Math.log(high / 20) / Math.log(low / 20));
    };
    expect(width(1e-3)).toBeLessThan(width(2e-3));
    expect(width(1e-3)).toBeLessThan(width(5e-4));
    expect(predict(0)).toEqual({ perplexity: 20, low: 20, high: 20 });
  });

  it('is refused without a run that is worse than the original', () => {
    expect(() => perplexityPredictor({ dense: 20, plans: [{ objective: 1, perplexity: 19 }] })).toThrow(
      /measured plan/,
    );
  });
});
