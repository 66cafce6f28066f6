import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { findCheckpointOf, parseShardIndex } from '../../../extension/core/checkpoint/shard-index';
import { nodeFiles } from '../../../extension/node/files';
import { bf16, f32, validFile } from './containers';
import { MemoryFiles } from './memory-files';

const S1 = 'model-00001-of-00002.safetensors';
const S2 = 'model-00002-of-00002.safetensors';

function sharded(extra: Record<string, string | Uint8Array> = {}): MemoryFiles {
  return new MemoryFiles({
    [`/m/${S1}`]: validFile([bf16('l.10.w', 2, 2), bf16('l.2.w', 2, 2)]),
    [`/m/${S2}`]: validFile([bf16('norm', 2)]),
    '/m/model.safetensors.index.json': JSON.stringify({
      metadata: { total_size: 20 },
      weight_map: { 'l.10.w': S1, 'l.2.w': S1, norm: S2 },
    }),
    '/m/config.json': '{"model_type":"llama"}',
    ...extra,
  });
}

describe('openCheckpoint', () => {
  it('opens the sample from its folder, index, config and one shard', async () => {
    const folder = fileURLToPath(new URL('../../../media/sample/tiny-books-4m', import.meta.url));
    const whole = await openCheckpoint(nodeFiles, folder);
    expect(whole.problems).toEqual([]);
    expect(whole.label).toBe('tiny-books-4m');
    expect(whole.shards).toHaveLength(2);
    for (const name of ['model.safetensors.index.json', 'config.json']) {
      const same = await openCheckpoint(nodeFiles, `${folder}/${name}`);
      expect(same.tensors).toEqual(whole.tensors);
      expect(same.folder).toBe(folder);
    }
    const shard = await openCheckpoint(nodeFiles, whole.shards[0]!.file);
    expect(shard.tensors.length).toBe(whole.shards[0]!.tensors);
    expect(await findCheckpointOf(nodeFiles, whole.shards[0]!.file)).toBe(`${folder}/model.safetensors.index.json`);
  });

  it('orders tensors naturally and adds up their sizes', async () => {
    const index = await openCheckpoint(sharded(), '/m/');
    expect(index.tensors.map(({ name }) => name)).toEqual(['l.2.w', 'l.10.w', 'norm']);
    expect([index.bytes, index.parameters]).toEqual([20, 10]);
    expect(index.config).toEqual({ model_type: 'llama' });
  });

  it('prefers what transformers and peft would load', async () => {
    const files = sharded({
      '/m/adapter_model.safetensors': validFile([f32('a', 1)]),
      '/m/adapter_config.json': '{"r":8}',
    });
    expect((await openCheckpoint(files, '/m')).tensors).toHaveLength(3);
    files.add('/m/model.safetensors', validFile([f32('whole', 1)]));
    expect((await openCheckpoint(files, '/m')).tensors[0]!.name).toBe('whole');
    const adapter = await openCheckpoint(
      new MemoryFiles({
        '/a/adapter_model.safetensors': validFile([f32('a', 1)]),
        '/a/adapter_config.json': '{"r":8}',
        '/a/other.safetensors': validFile([]),
      }),
      '/a',
    );
    expect([adapter.label, adapter.adapterConfig]).toEqual(['a', { r: 8 }]);
  });

  it.each([
    ['file-not-found', '/none', {}],
    ['not-a-checkpoint', '/m', { '/m/readme.md': '' }],
    ['not-a-checkpoint', '/m', { '/m/a.safetensors': validFile([]), '/m/b.safetensors': validFile([]) }],
    ['not-a-checkpoint', '/m/readme.md', { '/m/readme.md': '' }],
    ['index-json', '/m', { '/m/model.safetensors.index.json': '{' }],
    ['header-too-small', '/m/a.safetensors', { '/m/a.safetensors': '' }],
  ])('%s', async (code, path, files: Record<string, string | Uint8Array>) => {
    await expect(openCheckpoint(new MemoryFiles(files), path)).rejects.toMatchObject({ code });
  });
});

describe('faults of a sharded checkpoint are listed and the rest is shown', () => {
  async function problems(files: MemoryFiles) {
    const index = await openCheckpoint(files, '/m');
    return {
      index,
      problems: index.problems.map(({ severity, code, file, tensor }) => [severity, code, file, tensor]),
    };
  }

  it('a missing shard', async () => {
    const files = sharded();
    files.remove(`/m/${S1}`);
    const found = await problems(files);
    expect(found.problems).toEqual([['error', 'shard-missing', `/m/${S1}`, undefined]]);
    expect(found.index.tensors.map(({ name }) => name)).toEqual(['norm']);
    expect(found.index.shards[0]).toMatchObject({ missing: true, tensors: 2, bytes: 0 });
  });

  it('a damaged shard', async () => {
    const found = await problems(sharded({ [`/m/${S2}`]: new Uint8Array(100) }));
    expect(found.problems).toEqual([['error', 'header-json', `/m/${S2}`, undefined]]);
    expect(found.index.shards[1]).not.toHaveProperty('missing');
  });

  it('a tensor the shard does not hold', async () => {
    const found = await problems(sharded({ [`/m/${S2}`]: validFile([]) }));
    expect(found.problems).toContainEqual(['error', 'shard-disagrees', `/m/${S2}`, 'norm']);
  });

  it('a tensor the index does not list, which is shown all the same', async () => {
    const found = await problems(sharded({ [`/m/${S2}`]: validFile([bf16('norm', 2), bf16('extra', 2)]) }));
    expect(found.problems).toContainEqual(['warning', 'shard-disagrees', `/m/${S2}`, 'extra']);
    expect(found.index.byName.has('extra')).toBe(true);
  });

  it('a tensor in two shards: the listed copy is kept', async () => {
    const found = await problems(
      sharded({ [`/m/${S1}`]: validFile([bf16('norm', 4), bf16('l.10.w', 2, 2), bf16('l.2.w', 2, 2)]) }),
    );
    expect(found.problems).toContainEqual(['error', 'duplicate-tensor', `/m/${S2}`, 'norm']);
    expect(found.index.byName.get('norm')).toMatchObject({ shape: [2], file: `/m/${S2}` });
    expect(found.index.tensors.filter(({ name }) => name === 'norm')).toHaveLength(1);
  });

  it('another total size, and an unreadable config', async () => {
    const found = await problems(sharded({ [`/m/${S2}`]: validFile([bf16('norm', 3)]), '/m/config.json': '[]' }));
    expect(found.problems).toContainEqual(['warning', 'shard-disagrees', '/m/model.safetensors.index.json', undefined]);
    expect(found.problems).toContainEqual(['warning', 'config-json', '/m/config.json', undefined]);
    expect(found.index.config).toBeUndefined();
  });
});

describe('parseShardIndex', () => {
  it.each([
    ['no weight_map', '{}'],
    ['a weight_map that is a list', '{"weight_map":[]}'],
    ['a shard that is a number', '{"weight_map":{"a":1}}'],
    ['a tensor listed twice', '{"weight_map":{"a":"x","a":"y"}}'],
    ['an absolute shard', '{"weight_map":{"a":"/etc/passwd"}}'],
    ['a shard outside the folder', '{"weight_map":{"a":"../x"}}'],
    ['a shard outside by way of a subfolder', '{"weight_map":{"a":"s/../../x"}}'],
    ['a drive', '{"weight_map":{"a":"C:x"}}'],
    ['text after it', '{"weight_map":{}} x'],
  ])('refuses %s', (_, text) => {
    expect(() => parseShardIndex(text, '/m/i.json')).toThrow(expect.objectContaining({ code: 'index-json' }));
  });

  it('accepts subfolders and sizes written as floats or strings', () => {
    const index = parseShardIndex(
      '{"metadata":{"total_size":1.6e1,"x":[]},"weight_map":{"a":"s/m.safetensors"}}',
      '/m/i',
    );
    expect([index.totalSize, index.shards]).toEqual([16, ['s/m.safetensors']]);
    expect(parseShardIndex('{"metadata":{"total_size":"16"},"weight_map":{}}', '/m/i').totalSize).toBeUndefined();
  });
});
