/** What a path stands for, and what is said of files and folders that hold something else. */
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LqError } from '../../../extension/core/errors';
import { hubRepository } from '../../../extension/core/files/hub-cache';
import { parsePythonJson } from '../../../extension/core/checkpoint/config-json';
import { openCheckpoint } from '../../../extension/core/logical/open';
import { printable, printableJson, quoteName } from '../../../extension/core/text';
import { nodeFiles } from '../../../extension/node/files';
import { f32, rawFile, validFile } from './containers';
import { MemoryFiles } from './memory-files';

const weights = (...names: string[]): Uint8Array => validFile(names.map(name => f32(name, 2, 3)));
const bytes = (...values: (string | number[])[]): Uint8Array =>
  Uint8Array.from(values.flatMap(value => (typeof value === 'string' ? [...new TextEncoder().encode(value)] : value)));

async function failure(files: Record<string, string | Uint8Array>, path = '/m'): Promise<LqError> {
  const error: unknown = await openCheckpoint(new MemoryFiles(files), path).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(LqError);
  return error as LqError;
}
const open = (files: Record<string, string | Uint8Array>, path = '/m') => openCheckpoint(new MemoryFiles(files), path);

describe('a file that is no safetensors file is called what it is', () => {
  const zeros = Array<number>(64).fill(0);
  it.each([
    [
      'version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4976698672\n',
      /Git LFS pointer.*4\.98 GB.*git lfs pull/,
    ],
    ['../../.git/annex/objects/f8/7d/MD5E-s1--ab', /git-annex/],
    ['<!DOCTYPE html><html><head><title>401 Client Error</title></head></html>\n', /web page \("401 Client Error"\)/],
    ['\n  <html>\n<body>no</body>', /web page/],
    ['<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', /answer of the server.*AccessDenied/],
    ['Access to model meta-llama/Llama-3.1-8B is restricted.', /answer of the server.*Llama-3\.1-8B.*log in/],
    ['{"error":"Repository not found"}', /answer of the server/],
    ['# A model card\n\nwith text', /a text that begins "# A model card"/],
    [bytes('PK', [3, 4], zeros), /ZIP archive.*torch\.save/],
    [bytes([0x80, 2], '}q', [0], '.', zeros), /pickle/],
    [bytes([8, 7, 0x12, 7], 'pytorch', [0x1a, 5], zeros), /ONNX/],
    [bytes([0x89], 'HDF\r\n', [0x1a, 10], zeros), /HDF5/],
    [bytes([0x93], 'NUMPY', [1, 0], zeros), /NumPy/],
    [bytes([0xff, 0xfe], 'h', [0], 'i', [0], zeros), /UTF-16/],
    [new Uint8Array(4096), /zeros/],
    ['', /empty: 0 bytes/],
  ])('%#', async (content, message) => {
    const error = await failure({ '/m/model.safetensors': content });
    expect(error.message).toMatch(message);
    expect(error.message).toContain('model.safetensors is no safetensors file');
    expect(error.file).toBe('/m/model.safetensors');
    // The same as a shard, and as a file of another name.
    const index = JSON.stringify({ weight_map: { a: 'a.bin' } });
    const sharded = await open({ '/m/model.safetensors.index.json': index, '/m/a.bin': content });
    expect(sharded.problems[0]).toMatchObject({ severity: 'error', file: '/m/a.bin' });
    expect(sharded.problems[0]!.message).toMatch(message);
    expect((await failure({ '/m/a.bin': content }, '/m/a.bin')).code).toBe('not-a-checkpoint');
  });

  it('a GGUF file is one under any name, and no shard', async () => {
    const gguf = bytes('GGUF', [3, 0, 0, 0], Array<number>(16).fill(0), Array<number>(8).fill(0));
    expect((await open({ '/m/d34db33f': gguf }, '/m/d34db33f')).gguf).toBeDefined();
    const index = JSON.stringify({ weight_map: { a: 'a.bin' } });
    const sharded = await open({ '/m/model.safetensors.index.json': index, '/m/a.bin': gguf });
    expect(sharded.problems[0]!.message).toMatch(/it is a GGUF file/);
  });

  it('and a damaged header is still told as one', async () => {
    const error = await failure({ '/m/model.safetensors': rawFile('{"a" 1}', 8) });
    expect(error).toMatchObject({ code: 'header-json' });
    expect(error.message).not.toContain('no safetensors file');
  });

  it('a safetensors file of any name opens', async () => {
    for (const name of ['MODEL.SAFETENSORS', 'model.safetensors.part', 'd34db33f'])
      expect((await open({ [`/m/${name}`]: weights('a') }, `/m/${name}`)).tensors).toHaveLength(1);
  });

  it('a shape of 1.5 or 1.0 is refused', async () => {
    for (const size of ['1.5', '0.5', '2.25', '1.0', '1e0', '-1']) {
      const header = `{"w":{"dtype":"F32","shape":[${size}],"data_offsets":[0,4]}}`;
      expect(await failure({ '/m/model.safetensors': rawFile(header, 4) })).toMatchObject({
        code: 'header-entry',
        tensor: 'w',
      });
    }
  });
});

describe('a folder', () => {
  const [A, B, C] = [1, 2, 3].map(i => `/m/model-0000${i}-of-00003.safetensors`) as [string, string, string];
  const shards = { [A]: weights('a'), [B]: weights('b'), [C]: weights('c') };

  it('of shards without an index opens as one checkpoint', async () => {
    const index = await open(shards);
    expect(index).toMatchObject({ label: 'm', folder: '/m', file: '/m/model.safetensors.index.json' });
    expect(index.tensors.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    expect(index.problems.map(({ severity, code }) => [severity, code])).toEqual([['information', 'no-index']]);
    expect((await open(shards, index.file)).tensors).toHaveLength(3);
  });

  it('that lacks a shard of the series says so, and one that has a tensor twice', async () => {
    const lacking = await open({ [A]: weights('a'), [C]: weights('c') });
    expect(lacking.problems[0]).toMatchObject({ severity: 'error', code: 'shard-missing', file: B });
    const twice = await open({ ...shards, [C]: weights('a') });
    expect(twice.problems[0]).toMatchObject({ severity: 'error', code: 'duplicate-tensor', tensor: 'a' });
  });

  it('opens the whole model before shards and tells of what lies beside it', async () => {
    const index = await open({
      ...shards,
      '/m/model.safetensors': weights('x'),
      '/m/model.fp16.safetensors': weights('x'),
      '/m/optimizer.safetensors': weights('x'),
      '/m/2_Dense/model.safetensors': weights('x'),
      '/m/vocab.json': '{}',
    });
    expect(index.tensors.map(({ name }) => name)).toEqual(['x']);
    expect(index.problems.map(({ severity, code, message }) => [severity, code, message])).toEqual([
      ['warning', 'file-beside-shards', expect.stringContaining('model.safetensors was opened')],
      [
        'information',
        'other-checkpoints',
        expect.stringMatching(/model\.fp16\.safetensors, optimizer\.safetensors.*variants/),
      ],
      ['information', 'other-checkpoints', expect.stringContaining('2_Dense')],
    ]);
    // Who opens the file means the file.
    expect((await open({ '/m/model.safetensors': weights('x'), ...shards }, '/m/model.safetensors')).problems).toEqual(
      [],
    );
  });

  it.each([
    [
      {
        '/m/unet/diffusion_pytorch_model.safetensors': weights('a'),
        '/m/vae/model.safetensors': weights('a'),
        '/m/model_index.json': '{}',
      },
      /pipeline of 2 models.*unet, vae/,
    ],
    [
      { '/m/checkpoint-1/model.safetensors': weights('a'), '/m/checkpoint-2/model.safetensors': weights('a') },
      /checkpoint-1, checkpoint-2/,
    ],
    [{ '/m/model.safetensors/x.safetensors': weights('a') }, /in folders.*model\.safetensors/],
    [
      { '/m/pytorch_model.bin': 'PK', '/m/config.json': '{}' },
      /no safetensors or GGUF file, but pytorch_model\.bin.*save_pretrained/,
    ],
    [{ '/m/model.onnx': bytes([8, 7, 0x12, 7], 'pytorch') }, /but model\.onnx \(an ONNX model/],
    [
      { '/m/a.fp16.safetensors': weights('a'), '/m/a.bf16.safetensors': weights('a') },
      /precision variants.*a\.bf16\.safetensors, a\.fp16\.safetensors/,
    ],
    [{ '/m/notes.txt': '' }, /holds no safetensors or GGUF file$/],
  ])('that cannot be opened as one model says what is there: %#', async (files, message) => {
    const error = await failure(files);
    expect(error).toMatchObject({ code: 'not-a-checkpoint', file: '/m' });
    expect(error.message).toMatch(message);
  });

  it('with a link to nothing says so', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'lq-link-'));
    try {
      await symlink('../blobs/none', join(folder, 'model.safetensors'));
      await expect(openCheckpoint(nodeFiles, folder)).rejects.toMatchObject({
        code: 'file-not-found',
        message: /link/,
      });
      await expect(openCheckpoint(nodeFiles, join(folder, 'model.safetensors'))).rejects.toThrow(/link/);
      await writeFile(join(folder, 'model.safetensors.index.json'), '{"weight_map":{}}');
      expect((await openCheckpoint(nodeFiles, folder)).problems[0]).toMatchObject({
        severity: 'warning',
        code: 'index-json',
      });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('the cache of the hub', () => {
  const root = '/h/models--org--name';
  const cache = {
    [`${root}/refs/main`]: 'aaaa',
    [`${root}/snapshots/aaaa/model.safetensors`]: weights('new'),
    [`${root}/snapshots/aaaa/unet/diffusion_pytorch_model.safetensors`]: weights('u'),
    [`${root}/snapshots/aaaa/model.fp16.safetensors`]: weights('half'),
    [`${root}/snapshots/bbbb/model.safetensors`]: weights('old'),
    [`${root}/blobs/deadbeef`]: weights('blob'),
  };

  it.each([
    ['', 'new', 'org/name'],
    ['/snapshots', 'new', 'org/name'],
    ['/snapshots/bbbb', 'old', 'org/name'],
    ['/snapshots/aaaa/model.safetensors', 'new', 'org/name'],
    ['/snapshots/aaaa/model.fp16.safetensors', 'half', 'org/name/model.fp16.safetensors'],
    ['/snapshots/aaaa/unet', 'u', 'org/name/unet'],
    ['/blobs/deadbeef', 'blob', 'org/name'],
  ])('models--org--name%s is called by the name of the repository', async (path, tensor, label) => {
    const index = await open(cache, root + path);
    expect([index.tensors[0]!.name, index.label]).toEqual([tensor, label]);
  });

  it('is told from other folders', () => {
    expect(hubRepository(`${root}/snapshots/aaaa`)).toEqual({
      name: 'org/name',
      folder: root,
      cache: '/h',
      inside: '',
    });
    expect(hubRepository('/h/models--gpt2')?.name).toBe('gpt2');
    expect(hubRepository('C:\\h\\models--a--b\\snapshots\\c\\d')).toMatchObject({
      name: 'a/b',
      cache: 'C:\\h',
      inside: 'd',
    });
    expect(hubRepository(`${root}/mine`)).toBeUndefined();
    expect(hubRepository('/home/models/org')).toBeUndefined();
  });
});

describe('config.json', () => {
  const read = async (content: string | Uint8Array) =>
    open({ '/m/model.safetensors': weights('a'), '/m/config.json': content });

  it('is read as Python reads it', async () => {
    const text = '\ufeff{"limit": [0.0, Infinity, -Infinity], "x": NaN, "text": "NaN \\" Infinity", "n": 1e400}';
    const { config, problems } = await read(text);
    expect(problems).toEqual([]);
    expect(config).toEqual({ limit: [0, Infinity, -Infinity], x: NaN, text: 'NaN " Infinity', n: Infinity });
    for (const bad of ['{"a": Nan}', '{"a": infinity}', '{"a": NaNa}', '{"a": +Infinity}', '{a: NaN}'])
      expect(() => parsePythonJson(bad)).toThrow(SyntaxError);
  });

  it.each([
    ['{"a": 1,}', /position/],
    ['', /empty/],
    ['[1]', /no object/],
    ['version https://git-lfs.github.com/spec/v1\nsize 600\n', /Git LFS pointer/],
    [bytes('{"author": "Jos', [0xe9], '"}'), /not in UTF-8/],
  ])('that cannot be read is reported as that: %#', async (content, message) => {
    const { config, problems } = await read(content);
    expect(config).toBeUndefined();
    expect(problems).toMatchObject([{ code: 'config-json', file: '/m/config.json' }]);
    expect(problems[0]!.message).toMatch(message);
  });
});

it('an index that disagrees about every tensor is one remark', async () => {
  const names = Array.from({ length: 1234 }, (_, i) => `t${i}`);
  const map = Object.fromEntries(names.map(name => [name, 'b.safetensors']));
  const index = await open({
    '/m/model.safetensors.index.json': JSON.stringify({ weight_map: { ...map, z: 'a.safetensors' } }),
    '/m/a.safetensors': validFile([...names, 'z'].map(name => f32(name))),
    '/m/b.safetensors': validFile([]),
  });
  expect(index.problems).toHaveLength(1);
  expect(index.problems[0]!.message).toMatch(/^in 1,234 tensors: first a\.safetensors holds "t0"/);
});

describe('names are shown so that they show themselves', () => {
  it('without controls, marks of direction and halves of characters', () => {
    expect(printable('a\u001b[31m\u009b\u202e\u2066\u200b\ufeffb\ud800é層🙂\n')).toBe(
      'a\\u001b[31m\\u009b\\u202e\\u2066\\u200b\\ufeffb\\ud800é層🙂\\n',
    );
  });
  it('quoted and short, both ends kept', () => {
    expect(quoteName('a"b\\')).toBe('"a\\"b\\\\"');
    const quoted = quoteName(`model.${'x'.repeat(10_000)}.weight`);
    expect(quoted.length).toBeLessThan(130);
    expect(quoted).toMatch(/^"model\.x+…x+\.weight"$/);
  });
  it('in JSON, which stays the same value', () => {
    const value = { 'a\u202eb': ['\u009b\u007f\u2028', 'é'] };
    const text = printableJson(value, 2);

    expect(text).not.toMatch(/[\u007f-\u009f\u2028\u202e]/);
    expect(JSON.parse(text)).toEqual(value);
  });
});
