import { describe, expect, it } from 'vitest';
import { buildProblem, totalCost, totalSize } from '../../../extension/core/allocation/problem';
import { candidates, relax } from '../../../extension/core/allocation/relaxation';
import { searchStates } from '../../../extension/core/allocation/states';
import { solve } from '../../../extension/core/allocation/solve';
import golden from '../../fixtures/mckp.json';
import { bruteForce, dynamicProgram, type Instance } from './reference';
import { randomSource } from './tables';

const problemOf = ({ sizes, costs }: Instance) =>
  buildProblem(sizes.map((row, i) => ({ sizes: row, costs: costs[i]!, choices: row.map((_, c) => c) })));

function randomInstance(seed: number, items: number, options: number, sizeScale = 1): Instance {
  const random = randomSource(seed);
  const sizes = Array.from({ length: items }, () => {
    return Array.from({ length: options }, () => sizeScale * (1 + Math.floor(random() * 40)));
  });
  // Roughly decreasing in size, as quantisation errors are, but noisy enough to have dominated and unsupported options.
  const costs = sizes.map(row => row.map(size => (1 + random()) * (50 - size / sizeScale) * (0.2 + random())));
  return { sizes, costs };
}

describe('recorded instances', () => {
  for (const [i, instance] of golden.instances.entries()) {
    for (const [capacity, [choices, cost]] of Object.entries(instance.optima) as [string, [number[], number]][]) {
      it(`${i} at ${capacity}`, () => {
        const problem = problemOf(instance);
        const solution = solve(problem, Number(capacity), false);
        expect(solution.cost).toBeCloseTo(cost, 12);
        expect(solution.optimal).toBe(true);
        const chosen = problem.items.map((item, k) => item.choices[solution.assignment[k]!]!);
        expect(chosen.reduce((sum, c, k) => sum + instance.costs[k]![c]!, 0)).toBeCloseTo(cost, 12);
        expect(chosen.reduce((sum, c, k) => sum + instance.sizes[k]![c]!, 0)).toBeLessThanOrEqual(Number(capacity));
        // Several plans can share the optimum; the recorded one must be among them.
        expect(choices.reduce((sum, c, k) => sum + instance.costs[k]![c]!, 0)).toBeCloseTo(cost, 12);
      });
    }
  }
});

describe('random instances', () => {
  it('small ones equal exhaustive search, at any scale of the coefficients', () => {
    for (let seed = 0; seed < 250; seed++) {
      const random = randomSource(1000 + seed);
      const instance = randomInstance(seed, 2 + (seed % 5), 2 + (seed % 6), [1, 1e4, 2e9][seed % 3]);
      const problem = problemOf(instance);
      const largest = instance.sizes.reduce((sum, row) => sum + Math.max(...row), 0);
      const capacity = Math.floor(problem.minimum + random() * (largest - problem.minimum));
      const solution = solve(problem, capacity, false);
      const optimum = bruteForce(instance, capacity);
      expect(solution.size).toBeLessThanOrEqual(capacity);
      expect(solution.cost, `seed ${seed}`).toBeCloseTo(optimum, 9);
      expect(solution.bound).toBeLessThanOrEqual(optimum * (1 + 1e-12));
    }
  });

  it('larger ones stay within the budget, above the bound, and at the optimum when they say so', () => {
    for (let seed = 0; seed < 12; seed++) {
      const instance = randomInstance(seed, 30, 25, 1e6);
      const problem = problemOf(instance);
      const capacity = Math.floor(problem.minimum + (0.2 + 0.05 * seed) * (problem.saturation - problem.minimum));
      const solution = solve(problem, capacity, false);
      const quick = solve(problem, capacity, true);
      const optimum = dynamicProgram(instance, capacity, quick.cost);
      for (const found of [solution, quick]) {
        expect(totalSize(problem, found.assignment)).toBe(found.size);
        expect(totalCost(problem, found.assignment)).toBe(found.cost);
        expect(found.size).toBeLessThanOrEqual(capacity);
        expect(found.cost).toBeGreaterThanOrEqual(optimum * (1 - 1e-12));
        expect(found.bound).toBeLessThanOrEqual(optimum * (1 + 1e-12));
      }
      expect(solution.cost).toBeLessThanOrEqual(quick.cost);
      if (solution.optimal) expect(solution.cost).toBeCloseTo(optimum, 9);
    }
  });

  it('an added option never makes an exact plan worse', () => {
    for (let seed = 0; seed < 40; seed++) {
      const small = randomInstance(seed, 5, 4);
      const more = randomInstance(seed + 500, 5, 2);
      const both = {
        sizes: small.sizes.map((row, i) => [...row, ...more.sizes[i]!]),
        costs: small.costs.map((row, i) => [...row, ...more.costs[i]!]),
      };
      const problem = problemOf(small);
      const capacity = Math.floor((problem.minimum + problem.saturation) / 2);
      expect(solve(problemOf(both), capacity, false).cost).toBeLessThanOrEqual(
        solve(problem, capacity, false).cost + 1e-9,
      );
    }
  });

  it('is a function of its input', () => {
    const instance = randomInstance(7, 40, 30);
    const solved = () => solve(problemOf(instance), 700, false);
    expect(solved()).toEqual(solved());
  });
});

describe('search over states', () => {
  it('finds what exhaustive search finds, and says when nothing beats the incumbent', () => {
    for (let seed = 0; seed < 120; seed++) {
      const instance = randomInstance(seed, 3 + (seed % 4), 5);
      const problem = problemOf(instance);
      const capacity = Math.floor(problem.minimum + 0.4 * (problem.saturation - problem.minimum));
      const relaxation = relax(problem, capacity);
      const optimum = bruteForce(instance, capacity);
      const start = totalCost(problem, relaxation.assignment);
      const search = (incumbent: number) =>
        searchStates(
          problem,
          relaxation,
          candidates(problem, relaxation, incumbent - relaxation.bound),
          capacity,
          incumbent,
        );
      const found = search(start);
      expect(found.exhaustive).toBe(true);
      if (start > optimum + 1e-9) {
        expect(totalCost(problem, found.assignment!)).toBeCloseTo(optimum, 9);
        expect(totalSize(problem, found.assignment!)).toBeLessThanOrEqual(capacity);
      }
      expect(search(optimum * (1 - 1e-9)).assignment).toBeUndefined();
    }
  });
});

describe('relaxation', () => {
  it('bounds the optimum for every capacity and equals it on the hull', () => {
    const instance = randomInstance(3, 4, 6);
    const problem = problemOf(instance);
    for (let capacity = problem.minimum; capacity <= problem.saturation; capacity++) {
      const optimum = bruteForce(instance, capacity);
      const { bound } = relax(problem, capacity);
      expect(bound).toBeLessThanOrEqual(optimum + 1e-9);
      if (problem.used.includes(capacity)) expect(bound).toBeCloseTo(optimum, 9);
    }
  });
});

describe('reduction', () => {
  it('keeps the first of equal options and drops dominated ones', () => {
    const { items } = buildProblem([{ sizes: [3, 2, 2, 5, 4], costs: [4, 6, 6, 1, 4], choices: [0, 1, 2, 3, 4] }]);
    expect([...items[0]!.choices]).toEqual([1, 0, 3]);
    expect([...items[0]!.hull]).toEqual([0, 1, 2]);
  });

  it('finds the convex hull of the front', () => {
    const { items } = buildProblem([{ sizes: [0, 1, 2, 3], costs: [10, 9, 2, 1], choices: [0, 1, 2, 3] }]);
    expect([...items[0]!.hull]).toEqual([0, 2, 3]);
  });
});
