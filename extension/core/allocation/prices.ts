/**
 * What a matrix's bytes are worth: why a plan gives it the option it does. A plan is the best of its size when no matrix
 * could give up bytes that another turns into a larger drop of the cost; so what a step up would bring, and a step down
 * would cost, are told a byte, beside the same of all others.
 */
import { packedBytes, describeOption } from '../options/option';
import type { FactorStorage } from '../options/types';
import type { SweepRow, SweepTable } from '../sensitivity/types';
import type { PlanRow } from './types';

/** Another option of a matrix beside the one it has. */
interface Step {
  /** The option for people. */
  readonly label: string;
  /** More bytes, or fewer. */
  readonly bytes: number;
  /** Cost that is added; negative for one that is taken away. */
  readonly cost: number;
}

export interface Price {
  readonly name: string;
  /** The larger option that takes away most of the cost for each byte; absent at the best there is. */
  readonly up?: Step;
  /** The smaller option that adds the least cost for each byte; absent at the smallest there is. */
  readonly down?: Step;
}

/**
 * Steps up and down from a plan, matrix by matrix in the plan's order. A plan's rows that the table does not have are left
 * out.
 * @param factors how low-rank factors are stored, which the sizes of a table without sizes of its own follow from
 */
export function pricesOf(table: SweepTable, plan: readonly PlanRow[], factors: FactorStorage): Price[] {
  const rows = new Map(table.matrices.map(row => [row.name, row]));
  const sizes = new Map<string, (number | null)[]>();
  const sizesOf = ({ rows: height, cols, bytes }: SweepRow): readonly (number | null)[] => {
    if (bytes) return bytes;
    const shape = `${height}x${cols}`;
    const known = sizes.get(shape) ?? table.options.map(option => packedBytes(option, height, cols, factors));
    sizes.set(shape, known);
    return known;
  };
  return plan.flatMap(({ name, choice }) => {
    const row = rows.get(name);
    if (!row) return [];
    const bytes = sizesOf(row);
    const [ownBytes, ownCost] = [bytes[choice], row.costs[choice]];
    if (typeof ownBytes !== 'number' || typeof ownCost !== 'number') return [];
    const steps = table.options.flatMap((option, i) => {
      const [size, cost] = [bytes[i], row.costs[i]];
      if (typeof size !== 'number' || typeof cost !== 'number') return [];
      return [{ option, bytes: size - ownBytes, cost: cost - ownCost }];
    });
    const best = (among: typeof steps): Step | undefined => {
      const found = among.reduce<(typeof steps)[number] | undefined>(
        (least, step) => (least === undefined || slope(step) < slope(least) ? step : least),
        undefined,
      );
      return found && { label: describeOption(found.option), bytes: found.bytes, cost: found.cost };
    };
    const up = best(steps.filter(step => step.bytes > 0 && step.cost < 0));
    const down = best(steps.filter(step => step.bytes < 0 && step.cost > 0));
    return [{ name, ...(up && { up }), ...(down && { down }) }];
  });
}

/** Cost a byte: of steps up the most negative is the best, of steps down the least positive. */
const slope = ({ bytes, cost }: Pick<Step, 'bytes' | 'cost'>): number => cost / Math.abs(bytes);
