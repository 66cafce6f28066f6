/** Planning from predicted costs that are measured where a plan could use them. */
import { describe, expect, it } from 'vitest';
import { countCosts, expectedMeasures, planLazily, PREDICTION_ERROR } from '../../../extension/core/allocation/lazy';
import { planBudget } from '../../../extension/core/allocation/plan';
import type { Plan } from '../../../extension/core/allocation/types';
import { methodOptions } from '../../../extension/core/options/methods/registry';
import { rateOf } from '../../../extension/core/options/option';
import type { SweepTable } from '../../../extension/core/sensitivity/types';
import { LLAMA_2_7B, randomSource, syntheticTable } from './tables';

const options = methodOptions('frontier', {});

/** Costs that fall fourfold a bit, as measured ones do; `truth` is what measuring gives. */
function tables(seed: number): { truth: SweepTable; predicted: SweepTable } {
  const random = randomSource(seed);
  const base = syntheticTable(LLAMA_2_7B, seed, 0);
  const table = (of: (cost: number) => number): SweepTable['matrices'] =>
    base.matrices.map(row => ({ ...row, costs: options.map(option => of(row.norm * 4 ** -rateOf(option))) }));
  const predictions = table(cost => cost);
  const off = (): number => 1 + 0.9 * PREDICTION_ERROR * (2 * random() - 1);
  const truth = predictions.map(row => ({ ...row, costs: row.costs.map(cost => cost! * off()) }));
  const all = options.map((_, i) => i);
  return {
    truth: { ...base, options, matrices: truth },
    predicted: { ...base, options, matrices: predictions.map(row => ({ ...row, predicted: all })) },
  };
}

async function lazily(
  seed: number,
  value: number,
): Promise<{ plan: Plan; full: Plan; table: SweepTable; sweeps: number }> {
  const { truth, predicted } = tables(seed);
  const request = { budget: { kind: 'effective-bits', value }, factors: 'nf8' } as const;
  const solve = (table: SweepTable): Plan => planBudget(table, { bytes: table.model.keptBytes }, request);
  let sweeps = 0;
  const { plan, table } = await planLazily({
    first: predicted,
    sweep(isMeasured) {
      sweeps++;
      const matrices = predicted.matrices.map((row, i) => ({
        ...row,
        costs: row.costs.map((cost, option) =>
          isMeasured(row.name, option) ? truth.matrices[i]!.costs[option]! : cost,
        ),
        predicted: row.predicted.filter(option => !isMeasured(row.name, option)),
      }));
      return Promise.resolve({ ...predicted, matrices });
    },
    solve: each => Promise.resolve(solve(each)),
    request,
  });
  return { plan, full: solve(truth), table, sweeps };
}

describe('planning from predicted costs', () => {
  it.each([2.06, 2.25, 3.1])('gives the plan of measured costs at %s bits, of which few are measured', async value => {
    for (const seed of [1, 2]) {
      const { plan, full, table, sweeps } = await lazily(seed, value);
      expect(plan.matrices.some(({ predicted }) => predicted)).toBe(false);
      // Its bound holds for the measured table too, so each plan is within the other's gap.
      expect(plan.bound).toBeLessThanOrEqual(full.objective * (1 + 1e-9));
      expect(plan.objective).toBeLessThanOrEqual(full.objective * (1 + plan.gap + 1e-9));
      expect(plan.gap).toBeLessThan(1e-3);
      const { measured, predicted } = countCosts(table);
      expect(measured + predicted).toBe(224 * options.length);
      expect(measured).toBeLessThan(0.5 * 224 * options.length);
      expect(sweeps).toBeLessThan(8);
    }
  });

  it('has nothing to do where everything was measured', async () => {
    const { truth } = tables(3);
    const request = { budget: { kind: 'effective-bits', value: 2.5 }, factors: 'nf8' } as const;
    const { table } = await planLazily({
      first: truth,
      sweep: () => Promise.reject(new Error('nothing to measure')),
      solve: each => Promise.resolve(planBudget(each, { bytes: 0 }, request)),
      request,
    });
    expect(countCosts(table).predicted).toBe(0);
  });
});

it('expects to measure little of what can be predicted, and all else', () => {
  expect(expectedMeasures(options, 'kfac')).toBe(3);
  expect(expectedMeasures(options, 'fisher')).toBe(options.length);
  const { length } = methodOptions('frontier', { ranks: [16] });
  expect(expectedMeasures(methodOptions('frontier', { ranks: [16] }), 'kfac')).toBe(3 + length - options.length);
  const paper = methodOptions('lq-lora', {});
  expect(expectedMeasures(paper, 'plain')).toBe(paper.length);
});
