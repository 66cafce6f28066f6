/** Exporters of a packed checkpoint, by what they lay out and copy. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../../extension/core/logical/open';
import type { CheckpointIndex } from '../../../extension/core/checkpoint/types';
import { findExporter } from '../../../extension/core/export/exporters';
import { nodeFiles } from '../../../extension/node/files';
import { bytesAt, CONFIG_TEXT, context } from './harness';
import { NAMES, failure, folder, job, pack, source, usePackedModel } from './packed-model';

usePackedModel();

describe('exports', () => {
  const exported = async (format: string, from: CheckpointIndex): Promise<CheckpointIndex> => {
    const out = path.join(folder, `as-${format}`);
    const result = await findExporter(format).run({ pipeline: context(), index: from, out, overwrite: false });
    expect(result.files.sort()).toEqual(readdirSync(out).sort());
    const index = await openCheckpoint(nodeFiles, out);
    expect(result.bytes).toBe(index.bytes);
    expect(index.problems).toEqual([]);
    return index;
  };

  it('dense: names, dtypes and shapes of the original, its configuration byte for byte', async () => {
    const index = await exported('dense', await pack());
    expect(index.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape }))).toEqual(
      source.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    );
    for (const { name, file, offset, bytes } of index.tensors) {
      const stored = bytesAt({ path: file, offset, bytes });
      const original = source.byName.get(name)!;
      if (NAMES.includes(name as (typeof NAMES)[number])) expect(new Set(stored)).toEqual(new Set([1]));
      else expect(stored.equals(bytesAt({ path: original.file, offset: original.offset, bytes }))).toBe(true);
    }
    expect(index.shards.map(shard => shard.metadata)).toEqual([{ format: 'pt' }, { format: 'pt' }]);
    expect(index.shards.map(shard => path.basename(shard.file))).toEqual(
      source.shards.map(shard => path.basename(shard.file)),
    );
    expect(path.basename(index.file)).toBe('model.safetensors.index.json');
    expect(readFileSync(path.join(index.folder, 'config.json'), 'utf8')).toBe(CONFIG_TEXT);
    expect(existsSync(path.join(index.folder, 'lq_studio.json'))).toBe(false);
  });

  it('packed: the same bytes under another path; a dense checkpoint is sent to compression', async () => {
    const from = await pack();
    const index = await exported('packed', from);
    for (const name of readdirSync(job.out))
      expect(readFileSync(path.join(index.folder, name))).toEqual(readFileSync(path.join(job.out, name)));
    const refused = findExporter('packed').run({
      pipeline: context(),
      index: source,
      out: path.join(folder, 'no'),
      overwrite: false,
    });
    expect((await failure(refused)).code).toBe('usage');
  });

  it('goes on after an export that failed, and does nothing twice', async () => {
    const from = await pack();
    const undisturbed = await exported('dense', from);
    const pipeline = context();
    const { reconstruct } = pipeline.native;
    const asked: number[] = [];
    let full = true;
    pipeline.native.reconstruct = (device, matrix, ...rest) => {
      asked.push(matrix.cols);
      if (full && asked.length === 2)
        return Promise.reject(Object.assign(new Error('disk'), { code: 'io_error', index: 28 }));
      return reconstruct(device, matrix, ...rest);
    };
    const out = path.join(folder, 'dense');
    const run = () => findExporter('dense').run({ pipeline, index: from, out, overwrite: false });
    expect(await failure(run())).toMatchObject({ code: 'disk-full', tensor: NAMES[1] });
    expect(readdirSync(folder).sort()).toEqual(['as-dense', 'dense.partial', 'model', 'out']);
    full = false;
    const { files } = await run();
    expect(asked).toEqual([11, 65, 65]);
    for (const name of files)
      expect(readFileSync(path.join(out, name))).toEqual(readFileSync(path.join(undisturbed.folder, name)));
    expect(readdirSync(folder).sort()).toEqual(['as-dense', 'dense', 'model', 'out']);
  });

  it('names the formats there are', () => {
    expect(() => findExporter('mlx')).toThrow(/packed, dense, gguf/);
  });
});
