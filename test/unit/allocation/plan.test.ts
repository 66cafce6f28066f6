import { describe, expect, it } from 'vitest';
import { planBudget, prepare } from '../../../extension/core/allocation/plan';
import type { Budget } from '../../../extension/core/options/budget';
import { LqError } from '../../../extension/core/errors';
import { paperConfig, storageBits } from '../../../extension/core/options/config';
import { describeOption, packedBytes } from '../../../extension/core/options/option';
import { LLAMA_2_70B, LLAMA_2_7B, syntheticTable, TINY } from './tables';

const tiny = syntheticTable(TINY, 1, 16);
const kept = { bytes: tiny.model.keptBytes };
const weights = tiny.matrices.reduce((sum, row) => sum + row.rows * row.cols, 0);

function failure(run: () => unknown): LqError {
  try {
    run();
  } catch (error) {
    if (error instanceof LqError) return error;
  }
  throw new Error('expected an LqError');
}

describe('planBudget', () => {
  it.each([
    { kind: 'bits', value: 2.75 },
    { kind: 'effective-bits', value: 3.4 },
    { kind: 'bytes', value: 3_400_000 },
  ] satisfies Budget[])('holds $kind and reports exact totals', budget => {
    const plan = planBudget(tiny, kept, { budget, factors: 'nf8' });
    const rows = plan.matrices.map((row, i) => {
      const matrix = tiny.matrices[i]!;
      const option = tiny.options[row.choice]!;
      expect([row.name, row.option, row.label]).toEqual([matrix.name, option, describeOption(option)]);
      expect(row.cost).toBe(matrix.costs[row.choice]);
      const bits = storageBits(paperConfig(option)!, matrix.rows * matrix.cols);
      expect(row.bits).toBe(bits / (matrix.rows * matrix.cols));
      expect(row.bytes).toBe(packedBytes(option, matrix.rows, matrix.cols, 'nf8'));
      return { bits, bytes: row.bytes };
    });
    const bits = rows.reduce((sum, row) => sum + row.bits, 0);
    const bytes = rows.reduce((sum, row) => sum + row.bytes, 0);
    expect(plan.bits).toBe(bits / weights);
    expect(plan.effectiveBits).toBe((8 * bytes) / weights);
    expect(plan.bytes).toBe(bytes + kept.bytes);
    expect(plan.objective).toBeCloseTo(
      plan.matrices.reduce((sum, row) => sum + row.cost, 0),
      6,
    );
    const used = { bits: plan.bits, 'effective-bits': plan.effectiveBits, bytes: plan.bytes }[budget.kind];
    expect(used).toBeLessThanOrEqual(budget.value);
    expect(used).toBeGreaterThan(0.99 * budget.value);
    expect(plan.bound).toBeLessThanOrEqual(plan.objective);
    expect(plan.gap).toBeCloseTo((plan.objective - plan.bound) / plan.bound, 12);
  });

  it('certifies small models: the gap of a proven optimum is none, though it lies above the linear bound', () => {
    for (let value = 2.1; value < 4.3; value += 0.1) {
      const plan = planBudget(tiny, kept, { budget: { kind: 'bits', value }, factors: 'nf8' });
      expect(plan, `${value} bits`).toMatchObject({ optimal: true, gap: 0, bound: plan.objective });
    }
  });

  it('never loses when the budget grows, and stops gaining at the maximum', () => {
    const allocation = prepare(tiny, kept, 'bf16');
    const { minimum, maximum } = allocation.range('bits');
    let last = Infinity;
    for (let i = 0; i <= 8; i++) {
      const plan = allocation.solve({ kind: 'bits', value: minimum + ((maximum - minimum) * i) / 8 });
      if (plan.optimal) expect(plan.objective).toBeLessThanOrEqual(last);
      expect(plan.bound).toBeLessThanOrEqual(last);
      last = plan.objective;
    }
    expect(allocation.solve({ kind: 'bits', value: 32 })).toMatchObject({ objective: last, gap: 0, optimal: true });
  });

  it.each(['bits', 'effective-bits', 'bytes'] as const)('says what the minimum of %s is, in its own units', kind => {
    const allocation = prepare(tiny, kept, 'nf8');
    const { minimum, maximum } = allocation.range(kind);
    const error = failure(() => allocation.solve({ kind, value: minimum * 0.99 }));
    expect(error.code).toBe('budget-infeasible');
    expect(error.details).toEqual({ minimum, maximum });
    const least = allocation.solve({ kind, value: minimum });
    expect({ bits: least.bits, 'effective-bits': least.effectiveBits, bytes: least.bytes }[kind]).toBe(minimum);
    expect(failure(() => allocation.solve({ kind, value: NaN })).code).toBe('budget-infeasible');
  });

  it('keeps overrides', () => {
    const overrides = [
      { match: '*.down_proj.*', minBits: 4 },
      { match: 'model.layers.0.*', minBits: 3 },
      { match: '*.q_proj.*', maxBits: 3 },
    ];
    const plan = planBudget(tiny, kept, { budget: { kind: 'bits', value: 3.2 }, factors: 'nf8', overrides });
    for (const { name, rate } of plan.matrices) {
      if (name.includes('down_proj')) expect(rate).toBe(4);
      if (name.includes('layers.0')) expect(rate).toBeGreaterThanOrEqual(3);
      if (name.includes('q_proj')) expect(rate).toBeLessThanOrEqual(3);
    }
    const free = planBudget(tiny, kept, { budget: { kind: 'bits', value: 3.2 }, factors: 'nf8' });
    expect(free.objective).toBeLessThan(plan.objective);
  });

  it('refuses overrides that cannot be kept and tables that are not whole', () => {
    const plan = (overrides: { match: string; minBits?: number; maxBits?: number }[]) => () =>
      planBudget(tiny, kept, { budget: { kind: 'bits', value: 3 }, factors: 'nf8', overrides });
    expect(failure(plan([{ match: '*.qproj.*', minBits: 3 }]))).toMatchObject({ code: 'usage' });
    expect(failure(plan([{ match: '*.v_proj.*', minBits: 5 }]))).toMatchObject({
      code: 'usage',
      tensor: 'model.layers.0.v_proj.weight',
    });
    const broken = (costs: (number | null)[]) => ({ ...tiny, matrices: [{ ...tiny.matrices[0]!, costs }] });
    const costs = [...tiny.matrices[0]!.costs];
    expect(failure(() => prepare(broken(costs.slice(1)), kept, 'nf8')).code).toBe('sweep-mismatch');
    expect(failure(() => prepare(broken(costs.fill(NaN, 5, 6)), kept, 'nf8')).code).toBe('sweep-mismatch');
    expect(failure(() => prepare({ ...tiny, matrices: [] }, kept, 'nf8')).code).toBe('no-targets');
  });
});

describe('frontier', () => {
  it('runs from the smallest plan to the cheapest, each point as good as a plan of its size', () => {
    const allocation = prepare(tiny, kept, 'nf8');
    const points = allocation.frontier('bytes', 30);
    const { minimum, maximum } = allocation.range('bytes');
    expect([points[0]!.bytes, points.at(-1)!.bytes]).toEqual([minimum, maximum]);
    expect(points.length).toBeGreaterThan(20);
    expect(points.length).toBeLessThanOrEqual(31);
    for (const [i, point] of points.entries()) {
      if (i > 0) expect(point.objective).toBeLessThan(points[i - 1]!.objective);
      const plan = allocation.solve({ kind: 'bytes', value: point.bytes });
      expect(plan.objective).toBeCloseTo(point.objective, 6);
      expect(plan.optimal).toBe(true);
    }
  });
});

describe('at full size', () => {
  it.each([
    ['224 matrices', LLAMA_2_7B, 2.75],
    ['560 matrices', LLAMA_2_70B, 2.6],
  ] as const)('%s: gap of 1e-4 or less, dragging included', (_, shape, bits) => {
    const table = syntheticTable(shape, 5);
    for (const quick of [true, false]) {
      const plan = planBudget(table, kept, { budget: { kind: 'bits', value: bits }, factors: 'nf8', quick });
      expect(plan.bits).toBeLessThanOrEqual(bits);
      expect(plan.gap).toBeLessThanOrEqual(1e-4);
    }
  });
});

describe('ties', () => {
  const tied = {
    ...tiny,
    matrices: tiny.matrices.map(row =>
      row.role === 'q' || row.role === 'k' || row.role === 'v' ? { ...row, tie: `${row.layer} qkv` } : row,
    ),
  };
  const budget: Budget = { kind: 'effective-bits', value: 3.2 };

  it('matrices of one tie take one option, others their own', () => {
    const plan = planBudget(tied, kept, { budget, factors: 'nf8' });
    const free = planBudget(tiny, kept, { budget, factors: 'nf8' });
    const chosen = (found: typeof plan): Set<number>[] =>
      [0, 1, 2, 3].map(
        layer =>
          new Set(
            found.matrices.filter((_, i) => tied.matrices[i]!.tie === `${layer} qkv`).map(({ choice }) => choice),
          ),
      );
    expect(chosen(plan).map(({ size }) => size)).toEqual([1, 1, 1, 1]);
    expect(Math.max(...chosen(free).map(({ size }) => size))).toBeGreaterThan(1);
    expect(plan.matrices.map(({ name }) => name)).toEqual(tiny.matrices.map(({ name }) => name));
    expect(plan.effectiveBits).toBeLessThanOrEqual(budget.value);
    expect(plan.objective).toBeGreaterThanOrEqual(free.bound);
    // Exact for a handful of ties: no worse than what all of them sharing every option could give.
    expect(plan.gap).toBeLessThan(0.01);
  });

  it('a tie whose members have no option in common is refused by their names', () => {
    const half = tied.options.length / 2;
    const matrices = tied.matrices.map(row =>
      row.tie === '0 qkv'
        ? { ...row, costs: row.costs.map((cost, i) => (i < half === (row.role === 'q') ? cost : null)) }
        : row,
    );
    const found = failure(() => planBudget({ ...tied, matrices }, kept, { budget, factors: 'nf8' }));
    expect([found.code, found.message]).toEqual(['usage', expect.stringContaining('model.layers.0.q_proj.weight')]);
  });

  it('sizes of another format are those of its table', () => {
    const matrices = tiny.matrices.map(row => ({ ...row, bytes: tiny.options.map((_, i) => 1000 + i) }));
    const plan = planBudget(
      { ...tiny, matrices },
      { bytes: 77 },
      { budget: { kind: 'bytes', value: 1e9 }, factors: 'nf8' },
    );
    expect(plan.bytes).toBe(77 + plan.matrices.reduce((sum, { choice }) => sum + 1000 + choice, 0));
  });
});
