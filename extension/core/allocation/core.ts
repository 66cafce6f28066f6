/**
 * The core of the program, solved to optimality with javascript-lp-solver: only choices that could still beat the incumbent,
 * all other items fixed.
 *
 * What it needs to be reliable: coefficients around 1 (sizes of 1e9 give silently wrong optima), few variables (its time
 * limit is looked at between nodes only), `min: 1` rows without presolve, and a check of everything it returns, since a
 * time-out without an incumbent is reported as a feasible fractional solution.
 */
import solver from 'javascript-lp-solver';
import type { Assignment, Problem } from './problem';
import type { Candidate, Relaxation } from './relaxation';

export interface CoreResult {
  /** Best assignment found, absent when the solver found no integral one. */
  readonly assignment?: Assignment;
  /** True when the core held every candidate and the solver finished: nothing better than it and the incumbent exists. */
  readonly exhaustive: boolean;
}

/**
 * Solves over `choices` (ascending reduced cost), tightened to `limit` variables, in about `milliseconds`. The caller
 * verifies size and cost of the assignment.
 */
export function solveCore(
  problem: Problem,
  relaxation: Relaxation,
  choices: readonly Candidate[],
  capacity: number,
  limit: number,
  milliseconds: number,
): CoreResult {
  const core = tighten(relaxation.assignment, choices, limit);
  const open = core.items.filter(item => item.positions.length > 1);
  if (open.length === 0) return { exhaustive: core.complete };

  const assignment = relaxation.assignment.slice();
  const fixedSize = core.items.reduce(
    (sum, { item, positions }) => sum + (positions.length === 1 ? problem.items[item]!.sizes[positions[0]!]! : 0),
    0,
  );
  const room = capacity - fixedSize;
  const costScale =
    open.length / sumOver(open, ({ item }) => problem.items[item]!.costs[relaxation.assignment[item]!]!);
  const sizeScale = open.length / room;
  const variables: Record<string, Record<string, number>> = {};
  const constraints: Record<string, { min?: number; max?: number }> = { size: { max: open.length } };
  const ints: Record<string, 1> = {};
  for (const { item, positions } of open) {
    const { sizes, costs } = problem.items[item]!;
    constraints[`item${item}`] = { min: 1 };
    for (const position of positions) {
      const name = `${item}:${position}`;
      variables[name] = {
        cost: costs[position]! * costScale,
        size: sizes[position]! * sizeScale,
        [`item${item}`]: 1,
      };
      ints[name] = 1;
    }
  }
  const started = Date.now();
  const result = solver.Solve({
    optimize: 'cost',
    opType: 'min',
    constraints,
    variables,
    ints,
    timeout: milliseconds,
    options: { presolve: false },
  }) as Record<string, number | boolean | undefined>;
  const finished = Date.now() - started < milliseconds;
  if (result.feasible !== true) return { exhaustive: false };

  for (const { item, positions } of open) {
    const chosen = positions.filter(position => Number(result[`${item}:${position}`] ?? 0) > 0.5);
    if (chosen.length === 0) return { exhaustive: false };
    // Rows ask for at least one; of several, which only a free choice allows, the cheapest alone costs and weighs less.
    assignment[item] = Math.max(...chosen);
  }
  return { assignment, exhaustive: finished && core.complete };
}

interface CoreItem {
  readonly item: number;
  readonly positions: number[];
}

/**
 * Takes candidates while the items with more than one have at most `limit` variables. Every item keeps the relaxation's
 * choice.
 */
function tighten(
  kept: Assignment,
  choices: readonly Candidate[],
  limit: number,
): { items: CoreItem[]; complete: boolean } {
  const items = Array.from(kept, (position, item): CoreItem => ({ item, positions: [position] }));
  let variables = 0;
  for (const { item, position } of choices) {
    if (position === kept[item]) continue;
    const positions = items[item]!.positions;
    const added = positions.length === 1 ? 2 : 1;
    if (variables + added > limit) return { items, complete: false };
    variables += added;
    positions.push(position);
  }
  return { items, complete: true };
}

const sumOver = <T>(values: readonly T[], of: (value: T) => number): number =>
  values.reduce((sum, value) => sum + of(value), 0);
