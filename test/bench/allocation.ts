/**
 * Allocation at full size: time, certified gap, and distance to the true optimum, which an exact dynamic program finds for
 * every instance and HiGHS (WebAssembly) for one of each shape.
 *   npm run bench:allocation [-- --seeds N]
 */
import loadHighs from 'highs';
import { prepare } from '../../extension/core/allocation/plan';
import { buildProblem, type Problem } from '../../extension/core/allocation/problem';
import { solve } from '../../extension/core/allocation/solve';
import { optionBits } from '../../extension/core/options/option';
import type { SweepTable } from '../../extension/core/sensitivity/types';
import { dynamicProgram } from '../unit/allocation/reference';
import { LLAMA_2_70B, LLAMA_2_7B, manyOptions, syntheticTable, TINY } from '../unit/allocation/tables';

const SHAPES = [
  { name: 'Llama-2-7B', shape: LLAMA_2_7B, gap: 1e-4 },
  { name: 'Llama-2-70B', shape: LLAMA_2_70B, gap: 1e-4 },
  // With 28 matrices the optimum itself lies further above the linear bound.
  { name: 'tiny', shape: TINY, gap: Infinity },
];
const BUDGETS = [2.25, 2.5, 2.75, 3, 3.5, 4];
const SOLVE_SECONDS = 2;
const RESOLVE_SECONDS = 0.2;
/** Relative difference that floating point and the peers' tolerances explain. */
const SAME = 1e-6;

const failures: string[] = [];
const seedsAt = process.argv.indexOf('--seeds');
const seeds = seedsAt > 0 ? Number(process.argv[seedsAt + 1]) : 3;
const highs = await loadHighs();
const print = (cells: (string | number)[]): void => {
  process.stdout.write(
    cells.map((cell, i) => (i === 0 ? String(cell).padEnd(12) : String(cell).padStart(11))).join('') + '\n',
  );
};
const timed = <T>(work: () => T): [T, number] => {
  const start = performance.now();
  const result = work();
  return [result, (performance.now() - start) / 1000];
};
const exponent = (value: number): string => (value < 1e-12 ? '0' : value.toExponential(1));

/** The bits problem of a table as the plan builds it. */
function problemOf(table: SweepTable): Problem {
  const choices = table.options.map((_, i) => i);
  return buildProblem(
    table.matrices.map(({ rows, cols, costs }) => ({
      choices,
      costs: costs.map(cost => cost!),
      sizes: table.options.map(option => optionBits(option, rows, cols)),
    })),
  );
}

/** The Pareto fronts as a CPLEX LP text, coefficients scaled to about 1. */
function solveWithHighs({ items }: Problem, capacity: number, cost: number): number {
  const sizeScale = items.length / capacity;
  const costScale = items.length / cost;
  const terms = (of: (item: Problem['items'][number], c: number) => number): string =>
    items
      .map((item, i) => Array.from(item.sizes, (_, c) => `${of(item, c).toPrecision(17)} x${i}_${c}`).join(' + '))
      .join('\n + ');
  const rows = items.map((item, i) => ` i${i}: ${Array.from(item.sizes, (_, c) => `x${i}_${c}`).join(' + ')} = 1`);
  const names = items.flatMap((item, i) => Array.from(item.sizes, (_, c) => `x${i}_${c}`));
  const text = [
    `Minimize\n cost: ${terms((item, c) => item.costs[c]! * costScale)}`,
    `Subject To\n size: ${terms((item, c) => item.sizes[c]! * sizeScale)} <= ${items.length}`,
    ...rows,
    `Binary\n ${names.join('\n ')}`,
    'End',
  ].join('\n');
  const solution = highs.solve(text, { mip_rel_gap: 0, output_flag: false });
  if (solution.Status !== 'Optimal') failures.push(`HiGHS ended with ${solution.Status}`);
  return solution.ObjectiveValue / costScale;
}

print(['instance', 'budget', 'solve s', 'gap', 'above opt', 'proven', 're-solve s', 'gap', 'above opt']);
for (const { name, shape, gap } of SHAPES) {
  for (let seed = 1; seed <= seeds; seed++) {
    const table = syntheticTable(shape, seed);
    const problem = problemOf(table);
    const instance = {
      sizes: problem.items.map(item => [...item.sizes]),
      costs: problem.items.map(item => [...item.costs]),
    };
    const weights = table.matrices.reduce((sum, row) => sum + row.rows * row.cols, 0);
    for (const value of BUDGETS) {
      const budget = { kind: 'bits', value } as const;
      const capacity = Math.floor(value * weights);
      // Solving includes preparing the table, as a first plan does; dragging re-solves from the prepared one.
      const [plan, seconds] = timed(() => prepare(table, { bytes: 0 }, 'nf8').solve(budget));
      const prepared = prepare(table, { bytes: 0 }, 'nf8');
      prepared.range('bits');
      const [quick, quickSeconds] = timed(() => prepared.solve(budget, true));
      const optimum = dynamicProgram(instance, capacity, plan.objective);
      const above = (plan.objective - optimum) / optimum;
      const quickAbove = (quick.objective - optimum) / optimum;
      print([
        `${name}/${seed}`,
        value,
        seconds.toFixed(2),
        exponent(plan.gap),
        exponent(above),
        plan.optimal ? 'yes' : 'no',
        quickSeconds.toFixed(3),
        exponent(quick.gap),
        exponent(quickAbove),
      ]);
      const check = (ok: boolean, what: string): void => {
        if (!ok) failures.push(`${name}, seed ${seed}, ${value} bits: ${what}`);
      };
      check(plan.bits <= value && quick.bits <= value, 'over the budget');
      check(plan.bound <= optimum * (1 + SAME), 'the bound is above the optimum');
      check(above >= -SAME && quickAbove >= -SAME, 'better than the optimum');
      check(!plan.optimal || above <= SAME, 'said to be optimal and is not');
      check(plan.gap <= gap, `gap ${plan.gap}`);
      check(quick.gap <= 2 * gap, `gap ${quick.gap} while dragging`);
      check(shape === TINY || seconds <= SOLVE_SECONDS, `solved in ${seconds} s`);
      check(quickSeconds <= RESOLVE_SECONDS, `re-solved in ${quickSeconds} s`);
      if (seed === 1 && value === 2.75) {
        const [found, highsSeconds] = timed(() => solveWithHighs(problem, capacity, plan.objective));
        const difference = Math.abs(found - optimum) / optimum;
        print([`  HiGHS`, value, highsSeconds.toFixed(2), '', exponent(difference)]);
        check(difference <= SAME, `HiGHS and the dynamic program differ by ${difference}`);
        check(solve(problem, capacity, false).cost >= found * (1 - SAME), 'better than HiGHS');
      }
    }
  }
}
// 224 matrices x 400 options of several ranks, a budget in bytes: the certificate alone, since no peer solves it in time.
print(['400 options', 'bits', 'seconds', 'gap', '', 'optimal', 'quick', 'gap']);
for (let seed = 1; seed <= seeds; seed++) {
  const table = manyOptions(syntheticTable(LLAMA_2_7B, seed, 0), 400);
  for (const value of BUDGETS) {
    const budget = { kind: 'effective-bits', value } as const;
    const [plan, seconds] = timed(() => prepare(table, { bytes: 0 }, 'nf8').solve(budget));
    const prepared = prepare(table, { bytes: 0 }, 'nf8');
    prepared.range('effective-bits');
    const [quick, quickSeconds] = timed(() => prepared.solve(budget, true));
    const times = [seconds.toFixed(2), exponent(plan.gap), '', plan.optimal ? 'yes' : 'no', quickSeconds.toFixed(3)];
    print([`400/${seed}`, value, ...times, exponent(quick.gap)]);
    const check = (ok: boolean, what: string): void => {
      if (!ok) failures.push(`400 options, seed ${seed}, ${value} effective bits: ${what}`);
    };
    check(plan.effectiveBits <= value && quick.effectiveBits <= value, 'over the budget');
    check(plan.gap <= 1e-4, `gap ${plan.gap}`);
    check(seconds <= SOLVE_SECONDS, `solved in ${seconds} s`);
    check(quickSeconds <= RESOLVE_SECONDS, `re-solved in ${quickSeconds} s`);
  }
}
for (const failure of failures) process.stderr.write(`${failure}\n`);
process.exitCode = failures.length > 0 ? 1 : 0;
