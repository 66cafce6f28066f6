/**
 * A dynamic program over the candidates: states (size, cost) after the items so far, without those that another state or the incumbent makes useless. The number of
 * states is bounded, so its time is too; while the bound is not reached the search is exhaustive.
 */
import type { Assignment, Problem } from './problem';
import type { Candidate, Relaxation } from './relaxation';

/** States kept after each item, and states times candidates in all: some tenths of a second. */
const MAX_STATES = 3000;
const MAX_WORK = 1_500_000;

interface State {
  readonly size: number;
  /** Sum of reduced costs so far. */
  readonly reduced: number;
  readonly parent: State | undefined;
  readonly choice: Candidate;
}

/**
 * The best assignment over `choices` that costs less than `incumbent`, if one is found. `exhaustive` says that there is no
 * better one than it, or than the incumbent when it is absent.
 */
export function searchStates(
  problem: Problem,
  { multiplier, assignment: start, bound }: Relaxation,
  choices: readonly Candidate[],
  capacity: number,
  incumbent: number,
): { assignment?: Assignment; exhaustive: boolean } {
  const gap = incumbent - bound;
  const open = openItems(choices);
  const fixed = problem.items.reduce((sum, item, i) => sum + (open.has(i) ? 0 : item.sizes[start[i]!]!), 0);
  // Coarse items first: the fine ones at the end fit the rest into the budget.
  const order = [...open].map(([item, own]) => ({ own, ...sizeRange(problem, item, own) }));
  order.sort((a, b) => b.largest - b.smallest - (a.largest - a.smallest));
  let smallestRest = order.reduce((sum, { smallest }) => sum + smallest, 0);
  let largestRest = order.reduce((sum, { largest }) => sum + largest, 0);

  const limit = Math.min(MAX_STATES, Math.ceil(MAX_WORK / Math.max(1, choices.length)));
  let exhaustive = true;
  let states: (State | undefined)[] = [undefined];
  for (const { own, smallest, largest } of order) {
    smallestRest -= smallest;
    largestRest -= largest;
    const grown: State[] = [];
    for (const parent of states) {
      for (const choice of own) {
        const size = (parent?.size ?? fixed) + problem.items[choice.item]!.sizes[choice.position]!;
        const reduced = (parent?.reduced ?? 0) + choice.reducedCost;
        const unused = Math.max(0, capacity - size - largestRest);
        if (size + smallestRest <= capacity && reduced + multiplier * unused < gap)
          grown.push({ size, reduced, parent, choice });
      }
    }
    const useful = withoutDominated(grown, multiplier);
    exhaustive &&= useful.length <= limit;
    if (useful.length > limit) useful.sort((a, b) => a.reduced - b.reduced).length = limit;
    states = useful;
  }

  const value = ({ reduced, size }: State): number => reduced + multiplier * (capacity - size);
  let best: State | undefined;
  for (const state of states) if (state && (!best || value(state) < value(best))) best = state;
  if (!best) return { exhaustive };
  const assignment = start.slice();
  for (let state: State | undefined = best; state; state = state.parent)
    assignment[state.choice.item] = state.choice.position;
  return { assignment, exhaustive };
}

/** Candidates of the items that have more than one. */
function openItems(choices: readonly Candidate[]): Map<number, Candidate[]> {
  const byItem = new Map<number, Candidate[]>();
  for (const choice of choices) {
    const own = byItem.get(choice.item);
    if (own) own.push(choice);
    else byItem.set(choice.item, [choice]);
  }
  return new Map([...byItem].filter(([, own]) => own.length > 1));
}

function sizeRange(problem: Problem, item: number, own: readonly Candidate[]): { smallest: number; largest: number } {
  const sizes = own.map(({ position }) => problem.items[item]!.sizes[position]!);
  return { smallest: Math.min(...sizes), largest: Math.max(...sizes) };
}

/** Keeps states that no other is both smaller and cheaper than; cost is reduced cost minus multiplier times size. */
function withoutDominated(states: State[], multiplier: number): State[] {
  states.sort((a, b) => a.size - b.size || a.reduced - b.reduced);
  const kept: State[] = [];
  let cheapest = Infinity;
  for (const state of states) {
    const cost = state.reduced - multiplier * state.size;
    if (cost >= cheapest) continue;
    cheapest = cost;
    kept.push(state);
  }
  return kept;
}
