/**
 * The linear relaxation and its Lagrangian bound.
 *
 * On the hulls the relaxation is solved by taking steps in order of gain until one does not fit; that step's gain is the
 * optimal multiplier. For any multiplier m >= 0 the value sum_i min_c (cost + m size) - m capacity is a lower bound on every
 * feasible plan, so it certifies whatever is found, however it was found.
 */
import type { Assignment, Problem } from './problem';

export interface Relaxation {
  readonly multiplier: number;
  /** Lower bound on the cost of every assignment within the capacity. */
  readonly bound: number;
  /** The integral part of the relaxation: feasible, and of least cost for its own size. */
  readonly assignment: Assignment;
  /** Number of steps taken, `problem.steps.length` when everything fits. */
  readonly taken: number;
}

/** Solves the relaxation at a capacity of at least `problem.minimum`. */
export function relax(problem: Problem, capacity: number): Relaxation {
  const taken = stepsWithin(problem, capacity);
  const assignment = supported(problem, taken);
  const multiplier = problem.steps[taken]?.gain ?? 0;
  const cost = problem.items.reduce((sum, item, i) => sum + item.costs[assignment[i]!]!, 0);
  return { multiplier, bound: cost - multiplier * (capacity - problem.used[taken]!), assignment, taken };
}

/** The assignment after the first `taken` steps: each is optimal for the size it uses. */
export function supported(problem: Problem, taken: number): Assignment {
  const assignment = new Int32Array(problem.items.length);
  for (let k = 0; k < taken; k++) {
    const step = problem.steps[k]!;
    assignment[step.item] = step.to;
  }
  return assignment;
}

/** Largest k with used[k] <= capacity, by bisection: `used` ascends. */
function stepsWithin(problem: Problem, capacity: number): number {
  let low = 0;
  let high = problem.steps.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (problem.used[middle]! <= capacity) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** A choice that a better plan than the incumbent could still use. */
export interface Candidate {
  readonly item: number;
  /** Position in the item's front. */
  readonly position: number;
  /** cost + multiplier size, above the item's minimum of it. */
  readonly reducedCost: number;
}

/**
 * Choices whose reduced cost is at most `threshold`, in ascending order of it. Any assignment costs bound + the sum of its
 * reduced costs + multiplier * unused capacity, so one that beats an incumbent uses none above incumbent - bound.
 */
export function candidates(problem: Problem, relaxation: Relaxation, threshold: number): Candidate[] {
  const found: Candidate[] = [];
  const { multiplier, assignment } = relaxation;
  for (const [i, item] of problem.items.entries()) {
    const best = item.costs[assignment[i]!]! + multiplier * item.sizes[assignment[i]!]!;
    for (let position = 0; position < item.sizes.length; position++) {
      const reducedCost = Math.max(0, item.costs[position]! + multiplier * item.sizes[position]! - best);
      if (reducedCost <= threshold || position === assignment[i]) found.push({ item: i, position, reducedCost });
    }
  }
  return found.sort((a, b) => a.reducedCost - b.reducedCost);
}
