/** From a sweep table and a budget to a plan: the allocation stage's door. */
import { globMatcher } from '../checkpoint/glob';
import { LqError } from '../errors';
import { describeOption, optionBits, packedBytes, rateOf } from '../options/option';
import type { SweepTable } from '../sensitivity/types';
import type { FactorStorage, Option } from '../options/types';
import { buildProblem } from './problem';
import type { Problem } from './problem';
import { relax, supported } from './relaxation';
import { solve } from './solve';
import type { AllocationRequest, FrontierPoint, KeptTensors, Plan, PlanRow } from './types';
import type { PlanOverride } from '../options/budget';
import type { Budget } from '../options/budget';

/** A table made ready for one factor storage and set of overrides; any number of budgets can be solved from it. */
export interface PreparedAllocation {
  /** Smallest feasible value of a budget kind, and the value beyond which a plan gains nothing. */
  range(kind: Budget['kind']): { minimum: number; maximum: number };
  /** Throws `budget-infeasible` with details {minimum, maximum} in the budget's units. */
  solve(budget: Budget, quick?: boolean): Plan;
  /**
   * Options that a plan could use if no cost were above `high`, by row and index: at the relaxation's price of a unit of size
   * none of their row is sure to be better.
   */
  contenders(budget: Budget, high: (row: number, option: number) => number): { row: number; option: number }[];
  /** Optimal plans along the convex hull, about `count` of them, evenly spread over the sizes of `kind`. */
  frontier(kind: Budget['kind'], count?: number): FrontierPoint[];
}

const prepared = new WeakMap<SweepTable, Map<string, PreparedAllocation>>();

/** Plans one budget. Repeated calls with the same table object share their preparation. */
export function planBudget(table: SweepTable, kept: KeptTensors, request: AllocationRequest): Plan {
  const overrides = request.overrides ?? [];
  const key = JSON.stringify([kept.bytes, request.factors, overrides]);
  const known = prepared.get(table) ?? new Map<string, PreparedAllocation>();
  prepared.set(table, known);
  const allocation = known.get(key) ?? prepare(table, kept, request.factors, overrides);
  known.set(key, allocation);
  return allocation.solve(request.budget, request.quick);
}

/** What a budget kind limits: its integer size of every allowed option, and conversion to that integer. */
interface Measure {
  readonly problem: Problem;
  /** Size units that a budget value allows, rounded down. */
  readonly capacity: (value: number) => number;
  /** Budget value of a total size. */
  readonly value: (size: number) => number;
}

/**
 * Validates the table and prepares it. Throws `no-targets` for a table without matrices, `sweep-mismatch` for costs that
 * are missing or not finite, `usage` for overrides that match nothing or leave a matrix without an option.
 */
export function prepare(
  table: SweepTable,
  kept: KeptTensors,
  factors: FactorStorage,
  overrides: readonly PlanOverride[] = [],
): PreparedAllocation {
  if (table.matrices.length === 0) throw new LqError('no-targets', 'The sweep table has no matrices to plan for.');
  const allowed = allowedOptions(table, overrides);
  const weights = table.matrices.reduce((sum, row) => sum + row.rows * row.cols, 0);
  const sizes = sizesOf(table, factors);
  const units = unitsOf(table);
  const bits = (row: number, option: number): number => sizes[row]!.bits[option]!;
  const bytes = (row: number, option: number): number => sizes[row]!.bytes[option]!;
  const problemOf = (size: (row: number, option: number) => number): Problem =>
    buildProblem(
      units.map(rows => {
        const choices = allowed[rows[0]!]!.filter(option => rows.every(row => allowed[row]!.includes(option)));
        if (choices.length === 0) {
          const tied = rows.map(row => table.matrices[row]!.name).join(', ');
          throw new LqError('usage', `No option is left that ${tied} can share.`);
        }
        const sum = (of: (row: number) => number): number => rows.reduce((total, row) => total + of(row), 0);
        return {
          choices,
          sizes: choices.map(option => sum(row => size(row, option))),
          costs: choices.map(option => sum(row => table.matrices[row]!.costs[option]!)),
        };
      }),
    );
  const byBits = lazily(() => problemOf(bits));
  const byBytes = lazily(() => problemOf(bytes));

  const measure = (kind: Budget['kind']): Measure => {
    switch (kind) {
      case 'bits':
        requireOneRank(table.options);
        return { problem: byBits(), capacity: v => Math.floor(v * weights), value: size => size / weights };
      case 'effective-bits':
        return {
          problem: byBytes(),
          capacity: v => Math.floor((v * weights) / 8),
          value: size => (8 * size) / weights,
        };
      case 'bytes':
        return { problem: byBytes(), capacity: v => Math.floor(v) - kept.bytes, value: size => size + kept.bytes };
    }
  };

  /** Totals of one option for every matrix. */
  const totals = (chosen: readonly number[]): FrontierPoint => {
    const sum = (of: (row: number, option: number) => number): number =>
      chosen.reduce((total, option, row) => total + of(row, option), 0);
    const targets = sum(bytes);
    return {
      bits: sum(bits) / weights,
      effectiveBits: (8 * targets) / weights,
      bytes: targets + kept.bytes,
      objective: sum((row, option) => table.matrices[row]!.costs[option]!),
    };
  };

  const chosenOf = (problem: Problem, assignment: Int32Array): number[] =>
    problem.items
      .flatMap((item, i) => units[i]!.map(row => ({ row, option: item.choices[assignment[i]!]! })))
      .sort((a, b) => a.row - b.row)
      .map(({ option }) => option);

  const labels = table.options.map(describeOption);
  const rowOf = (i: number, option: number): PlanRow => {
    const row = table.matrices[i]!;
    const count = row.rows * row.cols;
    return {
      name: row.name,
      option: table.options[option]!,
      label: labels[option]!,
      rate: rateOf(table.options[option]!),
      bits: bits(i, option) / count,
      effectiveBits: (8 * bytes(i, option)) / count,
      bytes: bytes(i, option),
      cost: row.costs[option]!,
      predicted: row.predicted.includes(option),
      choice: option,
    };
  };

  const range: PreparedAllocation['range'] = kind => {
    const { problem, value } = measure(kind);
    return { minimum: value(problem.minimum), maximum: value(problem.saturation) };
  };

  return {
    range,
    contenders(budget, high) {
      const { problem, capacity } = measure(budget.kind);
      const { multiplier } = relax(problem, Math.max(problem.minimum, capacity(budget.value)));
      return problem.items.flatMap(({ sizes, costs, choices }, item) => {
        const rows = units[item]!;
        const priced = (position: number, cost: number): number => cost + multiplier * sizes[position]!;
        const highest = (option: number): number => rows.reduce((sum, row) => sum + high(row, option), 0);
        const best = Math.min(...Array.from(choices, (option, at) => priced(at, highest(option))));
        const open = [...choices].filter((_, at) => priced(at, costs[at]!) <= best);
        return open.flatMap(option => rows.map(row => ({ row, option })));
      });
    },
    solve(budget, quick = false) {
      const started = Date.now();
      const { problem, capacity } = measure(budget.kind);
      const limit = capacity(budget.value);
      if (!(limit >= problem.minimum)) throw infeasible(budget, range(budget.kind));
      const solution = solve(problem, limit, quick);
      const chosen = chosenOf(problem, solution.assignment);
      const { bits: planBits, effectiveBits, bytes: planBytes, objective } = totals(chosen);
      const bound = Math.min(solution.bound, objective);
      return {
        budget,
        factors,
        bits: planBits,
        effectiveBits,
        bytes: planBytes,
        objective,
        bound,
        gap: objective === bound ? 0 : (objective - bound) / bound,
        optimal: solution.optimal,
        seconds: (Date.now() - started) / 1000,
        matrices: chosen.map((option, i) => rowOf(i, option)),
      };
    },
    frontier(kind, count = 40) {
      const { problem } = measure(kind);
      return evenSteps(problem.used, count).map(taken => totals(chosenOf(problem, supported(problem, taken))));
    },
  };
}

/** The rows that take one option together: those of one tie, others alone. */
function unitsOf({ matrices }: SweepTable): number[][] {
  const units = new Map<string | number, number[]>();
  for (const [row, { tie }] of matrices.entries()) {
    const key = tie ?? row;
    units.set(key, [...(units.get(key) ?? []), row]);
  }
  return [...units.values()];
}

/** Bits and bytes of every option, by row; matrices of one shape share theirs. */
function sizesOf(table: SweepTable, factors: FactorStorage): { bits: number[]; bytes: number[] }[] {
  const byShape = new Map<string, { bits: number[]; bytes: number[] }>();
  return table.matrices.map(({ rows, cols, bytes }) => {
    if (bytes !== undefined)
      return {
        bits: table.options.map(option => optionBits(option, rows, cols)),
        // An option without a size has no cost and is never chosen.
        bytes: bytes.map(size => size ?? 0),
      };
    const shape = `${rows}x${cols}`;
    let sizes = byShape.get(shape);
    if (sizes === undefined) {
      sizes = {
        bits: table.options.map(option => optionBits(option, rows, cols)),
        bytes: table.options.map(option => packedBytes(option, rows, cols, factors)),
      };
      byShape.set(shape, sizes);
    }
    return sizes;
  });
}

/** The paper's bits leave low-rank factors out: with several ranks to choose from, the largest would be free. */
export function requireOneRank(options: readonly Option[]): void {
  const ranks = [...new Set(options.map(({ rank }) => rank))].sort((a, b) => a - b);
  if (ranks.length > 1)
    throw new LqError(
      'usage',
      `A budget in bits does not count low-rank factors, and these options have ranks ${ranks.join(', ')}: give ` +
        'effective bits or a size.',
    );
}

/** Indices of the ascending values nearest to `count` evenly spaced ones, first and last included, each once. */
function evenSteps(values: Float64Array, count: number): number[] {
  const first = values[0]!;
  const last = values.at(-1)!;
  const indices = new Set<number>();
  let next = 0;
  for (let i = 0; i < count; i++) {
    const target = first + ((last - first) * i) / Math.max(1, count - 1);
    while (next + 1 < values.length && values[next + 1]! <= target) next++;
    indices.add(next);
  }
  return [...indices.add(values.length - 1)];
}

function allowedOptions(table: SweepTable, overrides: readonly PlanOverride[]): number[][] {
  const rates = table.options.map(rateOf);
  const rules = overrides.map(rule => ({ ...rule, matches: globMatcher(rule.match), used: false }));
  const allowed = table.matrices.map(row => {
    if (row.costs.length !== table.options.length)
      throw new LqError('sweep-mismatch', `${row.costs.length} costs for ${table.options.length} options.`, {
        tensor: row.name,
      });
    if (!row.costs.every(cost => cost === null || (Number.isFinite(cost) && cost >= 0)))
      throw new LqError('sweep-mismatch', 'A cost is negative or not finite.', { tensor: row.name });
    const applying = rules.filter(rule => rule.matches(row.name));
    for (const rule of applying) rule.used = true;
    const options = rates.flatMap((rate, option) =>
      row.costs[option] !== null &&
      applying.every(rule => rate >= (rule.minBits ?? 0) && rate <= (rule.maxBits ?? Infinity))
        ? [option]
        : [],
    );
    if (options.length === 0)
      throw new LqError('usage', `The overrides leave no option for ${row.name}.`, { tensor: row.name });
    return options;
  });
  const idle = rules.find(rule => !rule.used);
  if (idle) throw new LqError('usage', `The override "${idle.match}" matches no matrix.`);
  return allowed;
}

const UNITS: Readonly<Record<Budget['kind'], string>> = {
  bits: 'bits per weight',
  'effective-bits': 'effective bits per weight',
  bytes: 'bytes',
};

function infeasible(budget: Budget, range: { minimum: number; maximum: number }): LqError {
  const minimum = budget.kind === 'bytes' ? String(range.minimum) : range.minimum.toFixed(4);
  return new LqError(
    'budget-infeasible',
    `A budget of ${budget.value} ${UNITS[budget.kind]} is below the smallest possible, ${minimum}.`,
    { details: { ...range } },
  );
}

function lazily<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
