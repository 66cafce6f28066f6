import { describe, expect, it } from 'vitest';
import { planBudget } from '../../../extension/core/allocation/plan';
import { pricesOf } from '../../../extension/core/allocation/prices';
import { packedBytes } from '../../../extension/core/options/option';
import { syntheticTable, TINY } from './tables';

describe('prices', () => {
  const table = syntheticTable(TINY, 3, 0);
  const plan = planBudget(table, { bytes: 0 }, { budget: { kind: 'effective-bits', value: 2.75 }, factors: 'nf8' });
  const prices = pricesOf(table, plan.matrices, 'nf8');

  it('are of steps that exist: sizes and costs of another option of the matrix', () => {
    expect(prices.map(({ name }) => name)).toEqual(plan.matrices.map(({ name }) => name));
    for (const [i, { up, down }] of prices.entries()) {
      const { choice } = plan.matrices[i]!;
      const row = table.matrices.find(({ name }) => name === plan.matrices[i]!.name)!;
      const size = (option: number) => packedBytes(table.options[option]!, row.rows, row.cols, 'nf8');
      for (const step of [up, down])
        if (step)
          expect(
            table.options.some(
              (_option, k) =>
                size(k) - size(choice) === step.bytes &&
                Math.abs(row.costs[k]! - row.costs[choice]! - step.cost) < 1e-12,
            ),
          ).toBe(true);
      if (up) expect([up.bytes > 0, up.cost < 0]).toEqual([true, true]);
      if (down) expect([down.bytes < 0, down.cost > 0]).toEqual([true, true]);
    }
  });

  it('say why the plan is the best: no step down frees bytes that a step up of as many or fewer turns into more', () => {
    for (const { name, down } of prices)
      for (const other of prices)
        if (down && other.up && other.name !== name && other.up.bytes <= -down.bytes)
          expect(-other.up.cost).toBeLessThanOrEqual(down.cost * (1 + 1e-9) + 1e-12);
  });
});
