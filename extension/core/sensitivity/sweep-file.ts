/** Sweep tables as files: what `sweep` writes, `plan` and the budget slider read. */
import type { FileSystem } from '../files/types';
import { LqError } from '../errors';
import { paperOption } from '../options/config';
import { optionFault } from '../options/option';
import type { MetricRecipe } from '../options/recipe';
import type { QuantConfig } from '../native';
import type { SweepRow, SweepTable } from './types';

/** Tables kept open: a slider asks for the same one many times a second, and planning caches by the table object. */
const KEPT = 4;
const opened = new Map<string, { stamp: string; table: SweepTable }>();

/**
 * Reads a sweep file, or returns the table read before when the file has not changed.
 * @throws LqError 'file-not-found', 'io', or 'sweep-mismatch' when it is not a sweep of this version.
 */
export async function readSweep(files: FileSystem, file: string): Promise<SweepTable> {
  const stat = await files.stat(file);
  const stamp = `${stat?.bytes} ${stat?.modified}`;
  const known = opened.get(file);
  if (known?.stamp === stamp) return known.table;
  const table = parse(await files.readText(file), file);
  opened.delete(file);
  opened.set(file, { stamp, table });
  for (const oldest of [...opened.keys()].slice(0, -KEPT)) opened.delete(oldest);
  return table;
}

function parse(text: string, file: string): SweepTable {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new LqError('sweep-mismatch', `${file} is not a sweep: it is not JSON.`, { file });
  }
  const refuse = (): LqError =>
    new LqError('sweep-mismatch', `${file} is not a sweep that this version reads.`, { file });
  const table = value as Partial<SweepTable | FirstTable> | null;
  if (!Array.isArray(table?.options) || !Array.isArray(table.matrices) || !table.model || !table.recipe) throw refuse();
  if (table.version !== 1 && table.version !== 2) throw refuse();
  const current = table.version === 1 ? fromFirst(table as FirstTable) : (table as SweepTable);
  if (current.options.some(option => optionFault(option) !== undefined)) throw refuse();
  return current;
}

/** Version 1, which knew the paper's options at one rank alone. */
interface FirstTable extends Omit<SweepTable, 'version' | 'recipe' | 'options' | 'matrices'> {
  readonly version: 1;
  readonly recipe: SweepTable['recipe']['loop'] & {
    readonly weighting: 'plain' | 'fisher';
    readonly fisher?: string;
    readonly seed: number;
  };
  readonly options: readonly { readonly config: QuantConfig; readonly rank: number }[];
  readonly matrices: readonly Omit<SweepRow, 'predicted'>[];
}

function fromFirst(table: FirstTable): SweepTable {
  const { weighting, fisher = '', scales, iterations, patience, oversampling, powerIterations, seed } = table.recipe;
  const metric: MetricRecipe = weighting === 'plain' ? { kind: 'plain' } : { kind: 'fisher', statistics: fisher };
  return {
    ...table,
    version: 2,
    recipe: {
      method: 'lq-lora',
      metric,
      loop: { scales, iterations, patience, oversampling, powerIterations },
      seed,
    },
    options: table.options.map(({ config, rank }) => paperOption(config, rank)),
    matrices: table.matrices.map(
      ({ name, rows, cols, role, layer, hash, costs, squaredErrors, norm, weightedNorm }) => ({
        ...{ name, rows, cols, role, layer, hash, costs, squaredErrors, norm, weightedNorm },
        predicted: [],
      }),
    ),
  };
}
