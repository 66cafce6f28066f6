import { LqError } from '../../core/errors';
import { readSweep } from '../../core/sensitivity/sweep-file';
import type { SweepTable } from '../../core/sensitivity/types';
import { nodeFiles } from '../../node/files';
import type { PlanQuery, PlanSummary, WhatIf } from '../../protocol/panels';
import { methodLabel } from '../model/describe';
import type { Model } from '../model/models';
import { sweepsOf, type SweepFile } from '../model/related';
import type { Studio } from '../studio';

/** A table of costs that is there. */
export interface Swept extends SweepFile {
  table: SweepTable;
  /** Squared norm of all matrices under the table's weighting. */
  norm: number;
}

/** The newest table of a checkpoint, or the chosen one while it is there. */
export async function sweptOf(studio: Studio, model: Model, chosen?: string): Promise<Swept | undefined> {
  const files = sweepsOf(studio.jobs.all(), model);
  for (const each of [...files.filter(({ file }) => file === chosen), ...files]) {
    const swept = await read(each);
    if (swept) return swept;
  }
  return undefined;
}

/** All tables of a checkpoint that are there, newest first. */
export async function allSwept(studio: Studio, model: Model): Promise<Swept[]> {
  const all = await Promise.all(sweepsOf(studio.jobs.all(), model).map(read));
  return all.filter(each => each !== undefined);
}

async function read(each: SweepFile): Promise<Swept | undefined> {
  try {
    const table = await readSweep(nodeFiles, each.file);
    return { ...each, table, norm: table.matrices.reduce((sum, row) => sum + row.weightedNorm, 0) };
  } catch (error) {
    // Deleted since, with the storage of the editor; an older one may be there.
    if (LqError.from(error).code !== 'file-not-found') throw error;
    return undefined;
  }
}

export const relativeError = (objective: number, norm: number): number => (norm > 0 ? Math.sqrt(objective / norm) : 0);

export function summaryOf(plan: Omit<PlanSummary, 'relativeError'>, norm: number): PlanSummary {
  const { budget, bits, effectiveBits, bytes, objective, predicted } = plan;
  return {
    ...{ budget, bits, effectiveBits, bytes, objective },
    relativeError: relativeError(objective, norm),
    ...(predicted !== undefined && { predicted }),
  };
}

/** Effective bits of the plans that are tried: what methods of any kind can be compared at. */
const budgets = [2.25, 2.5, 2.75, 3, 3.5, 4, 4.5];

/** The largest rank of a table's options. */
export const rankOf = ({ options }: SweepTable): number => Math.max(...options.map(({ rank }) => rank));

/** Plans of the shown table and of those whose errors mean the same, of other methods and ranks, at round budgets. */
export async function whatIf(
  studio: Studio,
  shown: Swept,
  all: readonly Swept[],
  { factors, overrides }: Omit<PlanQuery, 'budget'>,
  signal: AbortSignal,
): Promise<WhatIf> {
  const byKind = new Map<string, Swept>();
  for (const each of [shown, ...all]) {
    const kind = `${each.table.recipe.method} ${rankOf(each.table)}`;
    if (!byKind.has(kind) && comparable(shown.table, each.table)) byKind.set(kind, each);
  }
  const rows = await Promise.all(
    [...byKind.values()].map(async ({ file, norm, table }) => ({
      label: [methodLabel(table.recipe.method), rankOf(table) > 0 && `rank ${rankOf(table)}`]
        .filter(Boolean)
        .join(', '),
      rank: rankOf(table),
      file,
      plans: await Promise.all(
        budgets.map(async value => {
          const request = {
            sweep: file,
            budget: { kind: 'effective-bits', value } as const,
            factors,
            overrides,
            quick: true,
          };
          try {
            return summaryOf(await studio.engine.request('plan', request, { signal }), norm);
          } catch (error) {
            if (LqError.from(error).code !== 'budget-infeasible') throw error;
            return null;
          }
        }),
      ),
    })),
  );
  return { effectiveBits: budgets, rows: rows.sort((a, b) => a.rank - b.rank) };
}

/** Whether errors of two tables mean the same: the same matrices, weighted alike. */
const comparable = (a: SweepTable, b: SweepTable): boolean =>
  JSON.stringify(a.recipe.metric) === JSON.stringify(b.recipe.metric) &&
  a.recipe.loop.scales === b.recipe.loop.scales &&
  a.matrices.length === b.matrices.length &&
  a.matrices.every((row, index) => row.name === b.matrices[index]?.name);
