/**
 * The allocation program as numbers: a multiple-choice knapsack. Every item (matrix) takes exactly one choice (option);
 * sizes are integers, so budgets are checked exactly.
 *
 * Building it reduces each item to its Pareto front (exact: a dominated choice is never needed) and finds the front's lower
 * convex hull, on which the linear relaxation lives.
 */

/** One item's Pareto front: sizes strictly ascending, costs strictly descending. */
interface Item {
  readonly sizes: Float64Array;
  readonly costs: Float64Array;
  /** Index of each choice as the caller numbered it. */
  readonly choices: Int32Array;
  /** Positions in the front that lie on its lower convex hull, ascending. */
  readonly hull: Int32Array;
}

/** A step of one item from one hull point to the next: `gain` cost saved per unit of size. */
interface Step {
  readonly item: number;
  readonly to: number;
  readonly size: number;
  readonly gain: number;
}

export interface Problem {
  readonly items: readonly Item[];
  /** All hull steps, best gain first; each item's own steps are in order. */
  readonly steps: readonly Step[];
  /** used[k]: total size after the smallest choices and the first k steps. */
  readonly used: Float64Array;
  /** Total size of the smallest choices: no smaller budget is feasible. */
  readonly minimum: number;
  /** Total size of the cheapest-by-cost choices: a larger budget buys nothing. */
  readonly saturation: number;
}

/** One choice for each item: positions in the items' fronts. */
export type Assignment = Int32Array;

/** Reduces each item's (size, cost) pairs. Sizes are non-negative integers; every item has at least one finite choice. */
export function buildProblem(
  candidates: readonly { sizes: ArrayLike<number>; costs: ArrayLike<number>; choices: ArrayLike<number> }[],
): Problem {
  const items = candidates.map(({ sizes, costs, choices }) => reduce(sizes, costs, choices));
  const steps = items.flatMap((item, index) =>
    Array.from(item.hull.subarray(1), (to, k): Step => {
      const from = item.hull[k]!;
      const size = item.sizes[to]! - item.sizes[from]!;
      return { item: index, to, size, gain: (item.costs[from]! - item.costs[to]!) / size };
    }),
  );
  // Gains within an item are strictly descending, so a stable sort keeps its steps in order.
  steps.sort((a, b) => b.gain - a.gain);
  const used = new Float64Array(steps.length + 1);
  used[0] = items.reduce((sum, item) => sum + item.sizes[0]!, 0);
  for (const [k, step] of steps.entries()) used[k + 1] = used[k]! + step.size;
  return { items, steps, used, minimum: used[0], saturation: used[steps.length]! };
}

function reduce(sizes: ArrayLike<number>, costs: ArrayLike<number>, choices: ArrayLike<number>): Item {
  const order = Array.from({ length: sizes.length }, (_, i) => i).sort(
    (a, b) => sizes[a]! - sizes[b]! || costs[a]! - costs[b]! || choices[a]! - choices[b]!,
  );
  const front: number[] = [];
  for (const i of order) if (front.length === 0 || costs[i]! < costs[front.at(-1)!]!) front.push(i);

  const hull: number[] = [];
  for (let p = 0; p < front.length; p++) {
    while (hull.length > 1 && !turnsUp(front[hull.at(-2)!]!, front[hull.at(-1)!]!, front[p]!)) hull.pop();
    hull.push(p);
  }
  function turnsUp(a: number, b: number, c: number): boolean {
    const before = (costs[a]! - costs[b]!) / (sizes[b]! - sizes[a]!);
    return before > (costs[b]! - costs[c]!) / (sizes[c]! - sizes[b]!);
  }
  return {
    sizes: Float64Array.from(front, i => sizes[i]!),
    costs: Float64Array.from(front, i => costs[i]!),
    choices: Int32Array.from(front, i => choices[i]!),
    hull: Int32Array.from(hull),
  };
}

export function totalSize(problem: Problem, assignment: Assignment): number {
  return problem.items.reduce((sum, item, i) => sum + item.sizes[assignment[i]!]!, 0);
}

export function totalCost(problem: Problem, assignment: Assignment): number {
  return problem.items.reduce((sum, item, i) => sum + item.costs[assignment[i]!]!, 0);
}
