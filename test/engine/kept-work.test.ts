/** What is finished stays, whatever ends a run: the same request then does the rest alone. */
import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeEach, expect, it } from 'vitest';
import type { PipelineContext } from '../../extension/core/context';
import type { NativeModule } from '../../extension/core/native';
import { compress } from '../../extension/core/pipeline';
import type { CompressRequest } from '../../extension/core/requests/requests';
import { nodeFiles } from '../../extension/node/files';
import { context } from '../unit/export/harness';
import { native } from './native';
import { sample, smallGrid, workFolder } from './running';

const { folder, clean } = workFolder();
afterAll(clean);

// Nothing is to be found that another test has made.
let cache: string;
beforeEach(() => void (cache = mkdtempSync(path.join(folder, 'cache-'))));

/** A context on the real addon whose methods may be replaced. */
const running = (changes: Partial<NativeModule>, files: Partial<typeof nodeFiles> = {}): PipelineContext => ({
  ...context(files),
  native: new Proxy(native, {
    get: (target, name) => Reflect.get(name in changes ? changes : target, name) as unknown,
  }),
  cache,
});

const request = (out: string): CompressRequest => ({
  model: sample,
  out: path.join(folder, out),
  method: 'lq-lora',
  budget: { kind: 'bits', value: 3 },
  ranks: [4],
  plain: true,
  iterations: 2,
  grid: smallGrid,
});

it('a matrix that fails as number 20 of 28 costs that matrix: the next run does 9', async () => {
  await compress({ ...running({}), cache: path.join(folder, 'undisturbed-cache') }, request('undisturbed'));
  let calls = 0;
  const counting =
    (failAt: number): NativeModule['decompose'] =>
    (...args) =>
      ++calls === failAt
        ? Promise.reject(Object.assign(new Error('broken'), { code: 'io_error', index: 5 }))
        : native.decompose(...args);
  await expect(compress(running({ decompose: counting(20) }), request('kept'))).rejects.toMatchObject({ code: 'io' });
  expect(existsSync(path.join(folder, 'kept'))).toBe(false);
  calls = 0;
  await compress(running({ decompose: counting(0) }), request('kept'));
  expect(calls).toBe(9);
  for (const name of readdirSync(path.join(folder, 'undisturbed')))
    expect(
      readFileSync(path.join(folder, 'kept', name)).equals(readFileSync(path.join(folder, 'undisturbed', name))),
      name,
    ).toBe(true);
  expect(
    readdirSync(folder)
      .filter(name => !name.includes('cache'))
      .sort(),
  ).toEqual(['kept', 'undisturbed']);
});

it('a dense export that fails does not encode again', async () => {
  let encoded = 0;
  let reconstructed = 0;
  const counting = (failAt: number): Partial<NativeModule> => ({
    decompose: (...args) => (encoded++, native.decompose(...args)),
    reconstruct: (...args) =>
      ++reconstructed === failAt
        ? Promise.reject(Object.assign(new Error('full'), { code: 'io_error', index: 28 }))
        : native.reconstruct(...args),
  });
  const dense: CompressRequest = { ...request('dense'), format: 'dense' };
  await expect(compress(running(counting(10)), dense)).rejects.toMatchObject({ code: 'disk-full' });
  expect(encoded).toBe(28);
  encoded = 0;
  reconstructed = 0;
  await compress(running(counting(0)), dense);
  expect([encoded, reconstructed]).toEqual([0, 28 - 9]);
  expect(readdirSync(path.join(cache, 'packed'))).toEqual([]);
});

it('a disk that loses what was not flushed before its name, as in a power cut, leaves a whole output or none', async () => {
  // Names are what a power cut may keep while content is lost: each rename must come after the flush of what it names.
  const flushed = new Set<string>();
  const early: string[] = [];
  const files: Partial<typeof nodeFiles> = {
    sync: async name => {
      await nodeFiles.sync(name);
      flushed.add(name);
    },
    rename: async (from, to) => {
      const inside = (await nodeFiles.stat(from))!.directory
        ? (await nodeFiles.list(from)).filter(name => name !== 'journal.json').map(name => path.join(from, name))
        : [];
      for (const name of [from, ...inside]) if (!flushed.has(name)) early.push(name);
      await nodeFiles.rename(from, to);
    },
  };
  await compress(running({}, files), request('power'));
  expect(early).toEqual([]);
});
