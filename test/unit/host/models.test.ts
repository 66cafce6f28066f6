import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Models } from '../../../extension/host/model/models';

const sample = path.resolve(import.meta.dirname, '../../../media/sample/tiny-books-4m');
const shard = 'model-00002-of-00002.safetensors';
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'lq-models-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('Models', () => {
  it('knows the checkpoint that a shard is a part of', async () => {
    const { header } = await new Models().open(path.join(sample, shard));
    expect(header.part).toEqual({ path: sample, label: 'tiny-books-4m', number: 2, count: 2 });
  });

  it('takes folder, index and the file of a checkpoint of one file for the whole', async () => {
    const models = new Models();
    expect((await models.open(sample)).header.part).toBeUndefined();
    expect((await models.open(path.join(sample, 'model.safetensors.index.json'))).header.part).toBeUndefined();
    const single = path.join(folder, 'single.safetensors');
    cpSync(path.join(sample, shard), single);
    expect((await models.open(single)).header.part).toBeUndefined();
  });
});
