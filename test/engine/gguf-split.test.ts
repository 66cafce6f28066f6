/** GGUF in parts of a size: none is larger, together they are what one file would be, and a budget holds them all. */
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { CheckpointIndex } from '../../extension/core/checkpoint/types';
import { weightLookup } from '../../extension/core/logical/lookup';
import { logicalTensors } from '../../extension/core/logical/logical';
import { openCheckpoint } from '../../extension/core/logical/open';
import { compress } from '../../extension/core/pipeline';
import { exportCheckpoint } from '../../extension/core/stages/export';
import { nodeFiles } from '../../extension/node/files';
import { native } from './native';
import { frontierRequest, tinyContext, writeTinyModel } from './tiny';
import { workFolder } from './running';

const { folder, clean } = workFolder();
afterAll(clean);
const context = tinyContext(path.join(folder, 'cache'));
let model: string;
beforeAll(() => {
  model = writeTinyModel(folder);
});

const partsOf = (out: string): number[] =>
  readdirSync(out)
    .filter(name => name.endsWith('.gguf'))
    .map(name => statSync(path.join(out, name)).size);

async function expectSameValues(one: CheckpointIndex, several: CheckpointIndex): Promise<void> {
  const [a, b] = [weightLookup(one), weightLookup(several)];
  expect(logicalTensors(several)).toHaveLength(logicalTensors(one).length);
  for (const { name } of logicalTensors(one)) {
    const { squaredError } = await native.difference('cpu', a(name)!, b(name)!, 1, 1, {});
    expect([name, squaredError]).toEqual([name, 0]);
  }
}

it('an export has the values of the checkpoint in all its parts, and says who reads them', async () => {
  const [out, splitSize] = [path.join(folder, 'float'), 400_000];
  const report = await exportCheckpoint(context, { model, out, format: 'gguf', splitSize });
  const sizes = partsOf(out);
  expect(sizes.length).toBeGreaterThan(2);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(splitSize);
  expect(report.bytes).toBe(sizes.reduce((sum, size) => sum + size, 0));
  expect(report.files).toContain('model-00001-of-0000' + `${sizes.length}.gguf`);
  const verdicts = Object.fromEntries(
    report.delivered.loads.map(({ program, loads }) => [program.split(' ')[0], loads]),
  );
  expect(verdicts).toMatchObject({ 'llama.cpp': 'yes', transformers: 'no' });
  await expectSameValues(await openCheckpoint(nodeFiles, model), await openCheckpoint(nodeFiles, out));
});

it('a compression keeps its budget with the headers of all parts', async () => {
  const [out, splitSize] = [path.join(folder, 'parts'), 200_000];
  const request = {
    ...frontierRequest(model, out),
    for: 'gguf' as const,
    budget: { kind: 'bytes' as const, value: 420_000 },
  };
  const report = await compress(context, { ...request, splitSize });
  const sizes = partsOf(out);
  expect(sizes.length).toBeGreaterThan(2);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(splitSize);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  expect(report.after.bytes).toBe(bytes);
  expect(bytes).toBeLessThanOrEqual(report.bytes);
  expect(report.bytes).toBeLessThanOrEqual(request.budget.value);
  expect(bytes).toBeGreaterThan(400_000);
  expect((await openCheckpoint(nodeFiles, out)).problems).toEqual([]);
});

it('parts of another format are refused', async () => {
  const out = path.join(folder, 'refused');
  const refused = { code: 'usage', message: expect.stringContaining('--split-size') as string };
  await expect(exportCheckpoint(context, { model, out, format: 'dense', splitSize: 1e6 })).rejects.toMatchObject(
    refused,
  );
  const request = { ...frontierRequest(model, out), splitSize: 1e6 };
  await expect(compress(context, request)).rejects.toMatchObject(refused);
});
