/** Sweep files of both versions. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import type { LqError } from '../../../extension/core/errors';
import { paperConfig } from '../../../extension/core/options/config';
import { readSweep } from '../../../extension/core/sensitivity/sweep-file';
import { nodeFiles } from '../../../extension/node/files';
import { syntheticTable, TINY } from '../allocation/tables';

const folder = mkdtempSync(path.join(os.tmpdir(), 'lq-sweep-file-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const written = (name: string, value: unknown): string => {
  const file = path.join(folder, name);
  writeFileSync(file, JSON.stringify(value));
  return file;
};

const table = syntheticTable(TINY, 1, 16);

it('reads what was written', async () => {
  expect(await readSweep(nodeFiles, written('now.json', table))).toEqual(table);
});

it('reads version 1 as the same table', async () => {
  const { loop, seed } = table.recipe;
  const first = {
    ...table,
    version: 1,
    recipe: { method: 'lq', weighting: 'fisher', fisher: 'abc', rank: 16, ...loop, seed },
    options: table.options.map(option => ({ book: 'nf', config: paperConfig(option), rank: 16, rounding: 'nearest' })),
    matrices: table.matrices.map(({ predicted: _none, ...row }) => ({
      ...row,
      quantizedCosts: row.costs,
      iterations: row.costs.map(() => 3),
    })),
  };
  const metric = { kind: 'fisher', statistics: 'abc' };
  expect(await readSweep(nodeFiles, written('first.json', first))).toEqual({
    ...table,
    recipe: { ...table.recipe, metric },
  });
});

it.each([
  ['another version', { ...table, version: 3 }],
  ['an option that does not exist', { ...table, options: [{ ...table.options[0], rounding: 'up' }] }],
  ['something else', { a: 1 }],
])('refuses %s', async (name, value) => {
  await expect(readSweep(nodeFiles, written(`${name}.json`, value))).rejects.toMatchObject({
    code: 'sweep-mismatch',
  } satisfies Partial<LqError>);
});
