import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PipelineContext } from '../../../extension/core/context';
import { cachePath, holdEntry, readCached, writeCached } from '../../../extension/core/storage/cache';
import { atWork, cacheUsage, cleanCache, openCacheFolder } from '../../../extension/core/storage/cache-folder';
import { claimPath, takeClaim } from '../../../extension/core/storage/claims';
import { nodeFiles } from '../../../extension/node/files';
import { identity } from '../../../extension/node/identity';

let folder: string;
let context: PipelineContext;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'lq-cache-'));
  context = {
    files: nodeFiles,
    cache: path.join(folder, 'cache'),
    self: identity,
    claimTimeout: 60_000,
    signal: new AbortController().signal,
    digest: (text: string) => createHash('sha256').update(text).digest('hex'),
    now: () => performance.now(),
    log: () => undefined,
  } as unknown as PipelineContext;
});
afterEach(() => rmSync(folder, { recursive: true }));

const entry = (key: string): string => cachePath(context, 'sweep', key);
const value = 'x'.repeat(998);

/** An entry of 1000 bytes last used some seconds ago. */
async function put(key: string, age: number): Promise<string> {
  await writeCached(context, 'sweep', key, value);
  const time = Date.now() / 1000 - age;
  utimesSync(entry(key), time, time);
  return entry(key);
}
const clean = (limit: number) => cleanCache(context, context.cache, limit);
const left = (): string[] =>
  readdirSync(context.cache, { recursive: true, withFileTypes: true })
    .filter(each => each.isFile())
    .map(each => path.join(each.parentPath, each.name))
    .sort();
const tag = (): string => path.join(context.cache, 'CACHEDIR.TAG');

/** A folder as a user has them: checkpoints, notes, even one that is named like a kind of entry. */
function modelsFolder(): { models: string; contents: () => unknown } {
  const models = path.join(folder, 'models');
  for (const name of ['llama', 'sweep', 'packed']) mkdirSync(path.join(models, name), { recursive: true });
  writeFileSync(path.join(models, 'llama', 'model.safetensors'), 'weights');
  writeFileSync(path.join(models, 'sweep', 'notes.txt'), 'my sweep');
  writeFileSync(path.join(models, 'packed', 'model.safetensors.partial'), 'a download');
  const contents = () =>
    readdirSync(models, { recursive: true, withFileTypes: true })
      .filter(each => each.isFile())
      .map(each => [each.name, readFileSync(path.join(each.parentPath, each.name), 'utf8')]);
  return { models, contents };
}

describe('a folder that is not ours', () => {
  it.each(['clean', 'limit', 'use'])('is refused by name and not touched: %s', async way => {
    const { models, contents } = modelsFolder();
    const before = contents();
    const done =
      way === 'use'
        ? writeCached({ ...context, cache: models }, 'sweep', 'a', 1)
        : cleanCache(context, models, way === 'limit' ? 1 : 0);
    await expect(done).rejects.toMatchObject({ code: 'cache-foreign', file: models });
    expect(contents()).toEqual(before);
    expect(await cacheUsage(nodeFiles, models)).toEqual({ bytes: 0, entries: 0 });
  });

  it('absent, has nothing to remove and is not made', async () => {
    expect(await clean(0)).toMatchObject({ removedBytes: 0, entries: 0 });
    expect(await nodeFiles.stat(context.cache)).toBeUndefined();
  });
});

describe('a folder of ours', () => {
  it('says so in the way backup programs know', async () => {
    await put('a', 0);
    expect(readFileSync(tag(), 'utf8')).toMatch(/^Signature: 8a477f597d28d172789f06886806bc55\n# Made by LQ Studio/);
  });

  it('is one of a version that wrote no tag', async () => {
    const kept = await put('a', 0);
    rmSync(tag());
    await openCacheFolder(nodeFiles, context.cache);
    expect(left()).toEqual([tag(), kept].sort());
  });

  it('loses our entries alone, byte for byte', async () => {
    await put('a', 0);
    await put('b', 100);
    const strangers = [
      'notes.txt',
      'sweep/notes.txt',
      'sweep/abc.json',
      'fisher/theirs.safetensors',
      'model/weights.bin',
    ];
    for (const name of strangers) {
      mkdirSync(path.dirname(path.join(context.cache, name)), { recursive: true });
      writeFileSync(path.join(context.cache, name), name);
    }
    expect(await clean(0)).toMatchObject({ removedEntries: 2, removedBytes: 2000, entries: 0, bytes: 0, inUse: 0 });
    expect(left()).toEqual([tag(), ...strangers.map(name => path.join(context.cache, name))].sort());
    for (const name of strangers) expect(readFileSync(path.join(context.cache, name), 'utf8')).toBe(name);
  });

  it('is brought within a limit by what was unused for longest; reading is using', async () => {
    const old = await put('old', 300);
    const older = await put('older', 400);
    const fresh = await put('new', 10);
    expect(await readCached(context, 'sweep', 'older')).toBe(value);
    expect(await clean(2000)).toMatchObject({ removedBytes: 1000, bytes: 2000, entries: 2 });
    expect(left()).toEqual([tag(), older, fresh].sort());
    expect(left()).not.toContain(old);
    expect(await clean(2000)).toMatchObject({ removedEntries: 0 });
  });

  it('keeps what a process makes, files and folders, and what it needs; removes what one left behind', async () => {
    await put('needed', 500);
    const release = await holdEntry(context, entry('needed'));
    await put('unneeded', 500);
    const output = cachePath(context, 'packed', 'output', '');
    mkdirSync(`${output}.partial`, { recursive: true });
    writeFileSync(path.join(`${output}.partial`, 'model.safetensors'), 'half');
    const claim = await takeClaim(context, claimPath(output));
    const half = `${cachePath(context, 'fisher', 'half', '.safetensors')}.other-1-p1.partial`;
    mkdirSync(path.dirname(half));
    writeFileSync(half, 'half');
    const forgotten = `${cachePath(context, 'fisher', 'forgotten', '.safetensors')}.other-2-p1.partial`;
    writeFileSync(forgotten, 'half');
    utimesSync(forgotten, 1, 1);
    expect(await clean(0)).toMatchObject({ removedEntries: 2, inUse: 3 });
    expect(readdirSync(path.dirname(entry('needed'))).filter(name => name.endsWith('.json'))).toEqual([
      path.basename(entry('needed')),
    ]);
    expect(statSync(path.join(`${output}.partial`, 'model.safetensors')).size).toBe(4);
    expect(readdirSync(path.dirname(half))).toEqual([path.basename(half)]);
    await release();
    await claim!.release();
    utimesSync(half, 1, 1);
    expect(await clean(0)).toMatchObject({ removedEntries: 3, inUse: 0 });
    expect(left()).toEqual([tag()]);
  });
});

describe('who is at work', () => {
  it('is read from the claims: what, where, how far; not from those of processes that are gone', async () => {
    await openCacheFolder(nodeFiles, context.cache);
    const of = (kind: string, digit: string): string => path.join(context.cache, kind, `${digit.repeat(64)}.json`);
    for (const kind of ['sweep', 'output']) mkdirSync(path.join(context.cache, kind), { recursive: true });
    const brisk = { ...context, claimTimeout: 120 };
    const claim = (await takeClaim(brisk, claimPath(of('sweep', 'a'))))!;
    const gone = { ...brisk, self: { ...brisk.self, pid: 4_000_000 } };
    const other = (await takeClaim(gone, claimPath(of('output', 'b'))))!;
    claim.progress({ done: 3, total: 4 });
    await new Promise(resolve => setTimeout(resolve, 100));
    const { host, pid } = context.self;
    expect(await atWork(brisk, context.cache)).toEqual([{ kind: 'sweep', host, pid, share: 0.75 }]);
    await claim.release();
    await other.release();
    expect(await atWork(brisk, context.cache)).toEqual([]);
  });
});
