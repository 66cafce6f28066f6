/** From the relaxation to a good feasible assignment in milliseconds: greedy rounding, then swaps of one or two items. */
import { totalSize } from './problem';
import type { Assignment, Problem } from './problem';
import type { Candidate, Relaxation } from './relaxation';

/** Upper limit on improving swaps; a local optimum is usually reached within a few dozen. */
const MAX_SWAPS = 400;

/** Continues past the step that did not fit with every later one that does. */
export function roundGreedily(problem: Problem, relaxation: Relaxation, capacity: number): Assignment {
  const assignment = relaxation.assignment.slice();
  let left = capacity - problem.used[relaxation.taken]!;
  for (let k = relaxation.taken; k < problem.steps.length; k++) {
    const step = problem.steps[k]!;
    const item = problem.items[step.item]!;
    const size = item.sizes[step.to]! - item.sizes[assignment[step.item]!]!;
    if (size > left) continue;
    assignment[step.item] = step.to;
    left -= size;
  }
  return assignment;
}

/** Changing one item's choice: `size` and `cost` are differences to the current choice. */
interface Move {
  readonly item: number;
  readonly position: number;
  readonly size: number;
  readonly cost: number;
}

/**
 * Applies the best single change or pair of changes among the candidates until none lowers the cost within the capacity.
 * Works in place on a copy; O(n log n) a swap for n candidates.
 */
export function improve(
  problem: Problem,
  start: Assignment,
  choices: readonly Candidate[],
  capacity: number,
): Assignment {
  const assignment = start.slice();
  let left = capacity - totalSize(problem, assignment);
  for (let swap = 0; swap < MAX_SWAPS; swap++) {
    const moves = movesFrom(problem, assignment, choices);
    const best = bestChange(moves, left);
    if (!best) break;
    for (const move of best) {
      assignment[move.item] = move.position;
      left -= move.size;
    }
  }
  return assignment;
}

function movesFrom(problem: Problem, assignment: Assignment, choices: readonly Candidate[]): Move[] {
  const moves: Move[] = [];
  for (const { item, position } of choices) {
    const current = assignment[item]!;
    if (position === current) continue;
    const { sizes, costs } = problem.items[item]!;
    moves.push({ item, position, size: sizes[position]! - sizes[current]!, cost: costs[position]! - costs[current]! });
  }
  return moves;
}

/** The single move or pair of moves of different items that lowers the cost most and adds at most `left` to the size. */
function bestChange(moves: readonly Move[], left: number): Move[] | undefined {
  const up = moves.filter(move => move.cost < 0).sort((a, b) => b.size - a.size);
  const down = moves.filter(move => move.cost > 0).sort((a, b) => a.size - b.size);
  let best: Move[] | undefined;
  let bestCost = 0;
  const offer = (cost: number, change: Move[]): void => {
    if (cost < bestCost) [bestCost, best] = [cost, change];
  };
  // Largest upgrades first need the largest releases; as upgrades shrink more downgrades suffice. The cheapest two
  // downgrades of different items so far are enough to find a partner for any item.
  let first: Move | undefined;
  let second: Move | undefined;
  let next = 0;
  for (const move of up) {
    if (move.size <= left) offer(move.cost, [move]);
    for (; next < down.length && down[next]!.size + move.size <= left; next++) {
      const candidate = down[next]!;
      if (!first || candidate.cost < first.cost) {
        if (first && first.item !== candidate.item) second = first;
        first = candidate;
      } else if (candidate.item !== first.item && (!second || candidate.cost < second.cost)) {
        second = candidate;
      }
    }
    const partner = first?.item === move.item ? second : first;
    if (partner) offer(move.cost + partner.cost, [move, partner]);
  }
  return best;
}
