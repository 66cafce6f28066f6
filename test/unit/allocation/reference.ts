/**
 * Independent solvers that the allocation stage is compared with: exhaustive search, and an exact dynamic program over
 * total size with states pruned by dominance and by the Lagrangian bound.
 */

export interface Instance {
  readonly sizes: readonly (readonly number[])[];
  readonly costs: readonly (readonly number[])[];
}

/** Least cost within the capacity by trying everything; Infinity when nothing fits. */
export function bruteForce({ sizes, costs }: Instance, capacity: number): number {
  const visit = (item: number, size: number, cost: number): number => {
    if (size > capacity) return Infinity;
    if (item === sizes.length) return cost;
    return Math.min(...sizes[item]!.map((s, c) => visit(item + 1, size + s, cost + costs[item]![c]!)));
  };
  return visit(0, 0, 0);
}

interface State {
  readonly size: number;
  readonly cost: number;
}

/**
 * Least cost within the capacity, exactly, given the cost of any feasible plan. States (size, cost) after the first k items
 * are kept when no other state is smaller and cheaper, and when the best relaxed completion could still beat `incumbent`.
 */
export function dynamicProgram({ sizes, costs }: Instance, capacity: number, incumbent: number): number {
  const lagrangian = (multiplier: number): number =>
    sizes.reduce((sum, row, i) => sum + best(row, costs[i]!, multiplier), 0) - multiplier * capacity;
  // The Lagrangian is concave in the multiplier: ternary search for its maximum, in a bracket of steepest gains.
  let low = 0;
  let high = Math.max(...costs.flat()) / Math.min(...sizes.flat());
  for (let i = 0; i < 200; i++) {
    const third = (high - low) / 3;
    if (lagrangian(low + third) < lagrangian(high - third)) low += third;
    else high -= third;
  }
  const multiplier = (low + high) / 2;
  const rest = new Float64Array(sizes.length + 1);
  for (let i = sizes.length - 1; i >= 0; i--) rest[i] = rest[i + 1]! + best(sizes[i]!, costs[i]!, multiplier);

  const slack = incumbent * 1e-12;
  let states: State[] = [{ size: 0, cost: 0 }];
  for (const [i, row] of sizes.entries()) {
    const grown: State[] = [];
    for (const state of states) {
      for (const [c, s] of row.entries()) {
        const size = state.size + s;
        const cost = state.cost + costs[i]![c]!;
        if (cost + rest[i + 1]! + multiplier * (size - capacity) <= incumbent + slack) grown.push({ size, cost });
      }
    }
    grown.sort((a, b) => a.size - b.size || a.cost - b.cost);
    states = [];
    for (const state of grown) if (states.length === 0 || state.cost < states.at(-1)!.cost) states.push(state);
  }
  return states.filter(state => state.size <= capacity).reduce((least, state) => Math.min(least, state.cost), Infinity);
}

const best = (sizes: readonly number[], costs: readonly number[], multiplier: number): number =>
  sizes.reduce((least, size, c) => Math.min(least, costs[c]! + multiplier * size), Infinity);
