import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { planBudget } from '../../../extension/core/allocation/plan';
import type { AllocationRequest } from '../../../extension/core/allocation/types';
import type { PlanOverride } from '../../../extension/core/options/budget';
import { readSweep } from '../../../extension/core/sensitivity/sweep-file';
import { sweepsOf } from '../../../extension/host/model/related';
import type { Job } from '../../../extension/host/model/jobs';
import type { Model } from '../../../extension/host/model/models';
import { allSwept, sweptOf, whatIf } from '../../../extension/host/panels/swept';
import type { Studio } from '../../../extension/host/studio';
import { nodeFiles } from '../../../extension/node/files';
import { syntheticTable, TINY } from '../allocation/tables';

const model = { path: '/models/tiny' } as Model;
const noRules: { factors: 'nf8'; overrides: PlanOverride[] } = { factors: 'nf8', overrides: [] };
const signal = new AbortController().signal;
let folder: string;

/** A table of costs on disk, at some rank, under some metric. */
function written(name: string, rank: number, kind: 'plain' | 'fisher' = 'plain'): string {
  const table = syntheticTable(TINY, 1, rank);
  const file = path.join(folder, `${name}.json`);
  const metric = kind === 'plain' ? { kind } : { kind, statistics: '0123' };
  writeFileSync(file, JSON.stringify({ ...table, recipe: { ...table.recipe, metric } }));
  return file;
}

const sweepJob = (out: string, created: number) =>
  ({ id: out, method: 'sweep', status: 'done', created, params: { model: model.path, ranks: [8], out } }) as Job;

/** A studio of these finished sweeps, whose engine plans as the real one does. */
function studioOf(...files: string[]): Studio {
  const jobs = files.map((file, index) => sweepJob(file, files.length - index));
  return {
    jobs: { all: () => jobs },
    engine: {
      request: async (_method: 'plan', { sweep, ...request }: AllocationRequest & { sweep: string }) =>
        planBudget(await readSweep(nodeFiles, sweep), { bytes: 0 }, request),
    },
  } as unknown as Studio;
}

beforeAll(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'lq-swept-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('tables of costs', () => {
  it('are told newest first, each once, and only of this checkpoint', () => {
    const other = { ...sweepJob('/c.json', 9), params: { model: '/models/other', ranks: [8], out: '/c.json' } } as Job;
    const jobs = [sweepJob('/a.json', 5), other, sweepJob('/b.json', 4), sweepJob('/a.json', 3)];
    // Costs of files that are not there any more are those of another model.
    const older = { ...sweepJob('/d.json', 8), version: 'of yesterday' } as Job;
    expect(sweepsOf([older, ...jobs], { path: model.path, version: 'of today' })).toEqual([
      { file: '/a.json', date: 5 },
      { file: '/b.json', date: 4 },
    ]);
  });

  it('are the newest that is there, or the chosen one while it is there', async () => {
    const [first, second] = [written('first', 8), written('second', 16)];
    const studio = studioOf(path.join(folder, 'deleted.json'), first, second);
    expect((await sweptOf(studio, model))?.file).toBe(first);
    expect((await sweptOf(studio, model, second))?.file).toBe(second);
    expect((await sweptOf(studio, model, path.join(folder, 'deleted.json')))?.file).toBe(first);
    expect((await sweptOf(studioOf(), model))?.file).toBeUndefined();
  });
});

describe('what if', () => {
  it('plans round budgets from every rank weighted alike, and says where a budget cannot be met', async () => {
    const [shown, more, weighted] = [written('shown', 16), written('more', 8), written('weighted', 4, 'fisher')];
    const studio = studioOf(shown, weighted, more);
    const all = await allSwept(studio, model);
    const found = await whatIf(studio, all[0]!, all, noRules, signal);
    expect(found.rows.map(({ rank, file }) => [rank, file])).toEqual([
      [8, more],
      [16, shown],
    ]);
    for (const { plans } of found.rows) {
      expect(plans).toHaveLength(found.effectiveBits.length);
      const known = plans.filter(plan => plan !== null);
      expect(known.length).toBeGreaterThan(2);
      for (const [index, plan] of plans.entries()) {
        if (plan) expect(plan.effectiveBits).toBeLessThanOrEqual(found.effectiveBits[index]!);
      }
      // More bits, no more error.
      for (const [index, plan] of known.entries())
        expect(plan.relativeError).toBeLessThanOrEqual((known[index - 1]?.relativeError ?? Infinity) + 1e-3);
    }
    const strict = { ...noRules, overrides: [{ match: '*', minBits: 4 }] };
    const [row] = (await whatIf(studio, all[0]!, all, strict, signal)).rows;
    expect(row!.plans[0]).toBeNull();
    // Four bits of codes fit into four and a half with their scales, not into four.
    expect(row!.plans.at(-2)).toBeNull();
    expect(row!.plans.at(-1)?.bits).toBeGreaterThan(4);
  });
});
