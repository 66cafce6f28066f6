/** One budget of one problem: bound, rounding, core, certificate. */
import { solveCore } from './core';
import { totalCost, totalSize } from './problem';
import type { Assignment, Problem } from './problem';
import { candidates, relax } from './relaxation';
import type { Candidate, Relaxation } from './relaxation';
import { improve, roundGreedily } from './rounding';
import { searchStates } from './states';

/** Variables of successive cores and the time for all of them. */
interface CoreSizes {
  readonly limits: readonly number[];
  readonly milliseconds: number;
  /** Go on with the search over states when the solver has not proven its answer. */
  readonly thorough: boolean;
}
const USUAL_CORES: CoreSizes = { limits: [40, 80, 150], milliseconds: 1000, thorough: true };
/** With few items optima lie further above the bound, so the whole core is wanted. */
const FEW_ITEMS = 64;
const FEW_ITEM_CORES: CoreSizes = { limits: [80, 200, 650], milliseconds: 1000, thorough: true };
/** A quick answer with a larger gap than this gets one small core. */
const QUICK_GAP = 1e-4;
const QUICK_CORES: CoreSizes = { limits: [40], milliseconds: 80, thorough: false };

export interface Solution {
  readonly assignment: Assignment;
  readonly size: number;
  readonly cost: number;
  /** Lower bound on the cost of every assignment within the capacity: the least cost itself where that is proven. */
  readonly bound: number;
  /** True when the search was exhaustive: no assignment within the capacity costs less. */
  readonly optimal: boolean;
}

/**
 * Least cost within `capacity` (at least problem.minimum). `quick` answers in milliseconds with the rounded solution,
 * improved by one small core when its gap is above 1e-4. Otherwise a bounded search over states comes first, which proves nearly
 * every instance in milliseconds; then cores grow until the answer is proven optimal or a second is up, and the search goes on
 * from the best answer.
 */
export function solve(problem: Problem, capacity: number, quick: boolean): Solution {
  const relaxation = relax(problem, capacity);
  const { bound } = relaxation;
  const certify = (assignment: Assignment, optimal: boolean): Solution => {
    const cost = totalCost(problem, assignment);
    return { assignment, size: totalSize(problem, assignment), cost, bound: optimal ? cost : bound, optimal };
  };
  if (relaxation.taken === problem.steps.length || problem.used[relaxation.taken] === capacity)
    return certify(relaxation.assignment, true);

  const rounded = roundGreedily(problem, relaxation, capacity);
  const near = candidates(problem, relaxation, totalCost(problem, rounded) - bound);
  const incumbent = certify(improve(problem, rounded, near, capacity), false);
  if (quick && incumbent.cost - bound <= QUICK_GAP * bound) return incumbent;
  const cores = quick ? QUICK_CORES : problem.items.length <= FEW_ITEMS ? FEW_ITEM_CORES : USUAL_CORES;
  return refine(problem, relaxation, incumbent, near, capacity, cores, certify);
}

/**
 * Improves the incumbent: by the search over states, and where that is cut short with integer cores of growing size. A small one
 * is solved in milliseconds, and what it finds shrinks the candidates of the next and of a last search.
 */
function refine(
  problem: Problem,
  relaxation: Relaxation,
  start: Solution,
  near: readonly Candidate[],
  capacity: number,
  { limits, milliseconds, thorough }: CoreSizes,
  certify: (assignment: Assignment, optimal: boolean) => Solution,
): Solution {
  const deadline = Date.now() + milliseconds;
  let incumbent = start;
  if (thorough) {
    const found = byStates(problem, relaxation, incumbent, near, capacity, certify);
    if (found.optimal) return found;
    incumbent = found;
  }
  const searched = incumbent;
  for (const limit of limits) {
    if (Date.now() >= deadline) break;
    const gap = incumbent.cost - relaxation.bound;
    const choices = near.filter(choice => choice.reducedCost <= gap);
    const core = solveCore(problem, relaxation, choices, capacity, limit, deadline - Date.now());
    if (core.assignment) {
      const found = certify(improve(problem, core.assignment, choices, capacity), false);
      if (found.size <= capacity && found.cost < incumbent.cost) incumbent = found;
    }
    if (core.exhaustive) return certify(incumbent.assignment, true);
  }
  // From a better incumbent fewer states are left.
  const better = thorough && incumbent !== searched;
  return better ? byStates(problem, relaxation, incumbent, near, capacity, certify) : incumbent;
}

/** The incumbent, or what the search over states finds better. */
function byStates(
  problem: Problem,
  relaxation: Relaxation,
  incumbent: Solution,
  near: readonly Candidate[],
  capacity: number,
  certify: (assignment: Assignment, optimal: boolean) => Solution,
): Solution {
  const choices = near.filter(choice => choice.reducedCost <= incumbent.cost - relaxation.bound);
  const { assignment, exhaustive } = searchStates(problem, relaxation, choices, capacity, incumbent.cost);
  const found = assignment && certify(assignment, exhaustive);
  if (found && found.size <= capacity && found.cost < incumbent.cost) return found;
  return certify(incumbent.assignment, exhaustive);
}
