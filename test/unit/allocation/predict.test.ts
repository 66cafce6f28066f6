/** Perplexity predicted from cost. */
import { describe, expect, it } from 'vitest';
import { perplexityPredictor } from '../../../extension/core/allocation/predict';

/** A made-up checkpoint whose added loss is 120 times the cost, to some power. */
const perplexity = (objective: number, power = 1): number => 20 * Math.exp(120 * objective ** power);
const measured = (objectives: readonly number[], power = 1) => ({
  dense: 20,
  plans: objectives.map(objective => ({ objective, perplexity: perplexity(objective, power) })),
});

describe('a prediction', () => {
  it('is exact where added loss is proportional to cost, from one run', () => {
    const predict = perplexityPredictor(measured([1e-3]));
    for (const objective of [2e-4, 1e-3, 3e-3])
      expect(predict(objective).perplexity).toBeCloseTo(perplexity(objective), 9);
  });

  it('learns a power from several runs', () => {
    const predict = perplexityPredictor(measured([5e-4, 3e-3], 0.9));
    expect(predict(1e-3).perplexity).toBeCloseTo(perplexity(1e-3, 0.9), 6);
  });

  it('has a band that holds a factor drifting from 150 to 90 over a fifteenfold cost', () => {
    // Method, section 9: growth of the loss per unit of cost from 4 down to 2 bits.
    const predict = perplexityPredictor({ dense: 20, plans: [{ objective: 1e-3, perplexity: 20 * Math.exp(0.15) }] });
    const { low, high } = predict(15e-3);
    expect(low).toBeLessThan(20 * Math.exp(90 * 15e-3));
    expect(high).toBeGreaterThan(20 * Math.exp(150 * 15e-3));
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
