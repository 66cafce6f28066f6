/**
 * Planning from predicted costs that are measured only where a plan could use them. A predicted cost is within a few percent
 * of the measured one; taken as low as it could be, a plan that uses none of them has a certificate that holds for whatever
 * they would have measured as. So: solve, measure what the plan uses or nearly uses, and again until it uses nothing that
 * was not measured.
 */
import type { MetricKind } from '../options/recipe';
import type { Option } from '../options/types';
import type { SweepTable } from '../sensitivity/types';
import { prepare } from './plan';
import type { AllocationRequest, Plan } from './types';

/**
 * How far a measured cost may lie below its prediction, as a share of that. Most are within a few percent; the lowest found
 * were 0.90 of it (tiny-books-4m) and 0.73 (a matrix of SmolLM2-135M), where a few rows carry most of the weight
 * (`npm run bench:prediction`).
 */
export const PREDICTION_ERROR = 0.3;

/** Of the options whose costs can be predicted, so many of a matrix are measured on average, or all if there are fewer. */
const MEASURED_OF_A_MATRIX = 3;

/** How many costs of a matrix are measured when those that can be are predicted first (native/cpu/encode/predict.h). */
export function expectedMeasures(options: readonly Option[], metric: MetricKind): number {
  const predictable = ({ grid, rank, scales }: Option): boolean =>
    metric !== 'fisher' &&
    rank === 0 &&
    (grid.kind === 'trellis' ||
      grid.kind === 'exl3' ||
      (grid.kind === 'int' && grid.bits >= 4 && scales.kind !== 'two-level'));
  const some = options.filter(predictable).length;
  return options.length - some + Math.min(some, MEASURED_OF_A_MATRIX);
}

/** Which costs are wanted measured: row by name, option by index. */
export type IsMeasured = (name: string, option: number) => boolean;

export interface LazyPlanning {
  /** With whatever is measured already. */
  readonly first: SweepTable;
  /** The table with at least these costs measured; called again with more of them. `pass` counts from 1. */
  sweep(measured: IsMeasured, pass: number): Promise<SweepTable>;
  solve(table: SweepTable): Promise<Plan>;
  readonly request: AllocationRequest;
}

/** A plan whose costs are all measured, and the table it was made from, where other costs may be predicted. */
export async function planLazily(planning: LazyPlanning): Promise<{ table: SweepTable; plan: Plan }> {
  const { first, sweep, solve, request } = planning;
  const wanted = new Map<string, Set<number>>();
  for (let table = first, pass = 1; ; pass++) {
    const lowest = lowered(table);
    const plan = await solve(lowest);
    if (!plan.matrices.some(({ predicted }) => predicted)) return { table, plan };
    const { matrices } = table;
    const add = (name: string, option: number): void => {
      wanted.set(name, (wanted.get(name) ?? new Set()).add(option));
    };
    for (const { name, choice } of plan.matrices) add(name, choice);
    const high = (row: number, option: number): number => {
      const { costs, predicted } = matrices[row]!;
      return costs[option]! * (predicted.includes(option) ? 1 + PREDICTION_ERROR : 1);
    };
    const { overrides, factors, budget } = request;
    const prepared = prepare(lowest, { bytes: table.model.keptBytes }, factors, overrides);
    for (const { row, option } of prepared.contenders(budget, high)) add(matrices[row]!.name, option);
    table = await sweep((name, option) => wanted.get(name)?.has(option) ?? false, pass);
  }
}

/** The table with predicted costs as low as they could be. */
function lowered(table: SweepTable): SweepTable {
  const matrices = table.matrices.map(row => {
    const predicted = new Set(row.predicted);
    return {
      ...row,
      costs: row.costs.map((cost, i) => (cost === null || !predicted.has(i) ? cost : cost * (1 - PREDICTION_ERROR))),
    };
  });
  return { ...table, matrices };
}

/** How many costs of a table were measured, and how many predicted. */
export function countCosts({ matrices }: SweepTable): { measured: number; predicted: number } {
  const predicted = matrices.reduce((sum, row) => sum + row.predicted.length, 0);
  const known = matrices.reduce((sum, { costs }) => sum + costs.filter(cost => cost !== null).length, 0);
  return { measured: known - predicted, predicted };
}
