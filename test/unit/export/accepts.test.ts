import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { exporters } from '../../../extension/core/export/exporters';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { open } from '../../../extension/core/opened';
import { nodeFiles } from '../../../extension/node/files';
import { MemoryFiles } from '../checkpoint/memory-files';
import { validFile, f32 } from '../checkpoint/containers';

const sample = path.resolve(import.meta.dirname, '../../../media/sample/tiny-books-4m');

describe('exporters', () => {
  const accepting = (index: Awaited<ReturnType<typeof openCheckpoint>>): string[] =>
    exporters.filter(exporter => exporter.accepts(index)).map(({ id }) => id);

  it('offer for a dense checkpoint what does not need a packed one', async () => {
    expect(accepting(await openCheckpoint(nodeFiles, sample))).toEqual(['dense', 'gguf']);
  });

  it('offer no GGUF of tensors without a configuration', async () => {
    const files = new MemoryFiles({ '/m/a.safetensors': validFile([f32('w', 2, 2)]) });
    expect(accepting(await openCheckpoint(files, '/m/a.safetensors'))).toEqual(['dense']);
  });
});

describe('one file of a checkpoint of several', () => {
  it('is refused for work, naming the whole', async () => {
    const model = path.join(sample, 'model-00001-of-00002.safetensors');
    await expect(open(nodeFiles, { model })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('is file 1 of 2 of tiny-books-4m') as unknown,
      details: { whole: sample },
    });
    expect((await open(nodeFiles, { model: sample })).targets).toHaveLength(28);
    // A file beside an index that does not name it is a model of its own.
    const files = new MemoryFiles({
      '/m/a.safetensors': validFile([f32('model.layers.0.mlp.up_proj.weight', 4, 4)]),
      '/m/model.safetensors': validFile([f32('model.layers.0.mlp.up_proj.weight', 4, 4)]),
    });
    expect((await open(files, { model: '/m/a.safetensors' })).targets).toHaveLength(1);
  });
});
