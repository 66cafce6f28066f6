import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { nodeFiles } from '../../../extension/node/files';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lq-files-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('reads ranges exactly and names the file that is too short', async () => {
  const path = join(folder, 'a');
  await writeFile(path, 'abcdef');
  expect(Buffer.from(await nodeFiles.read(path, 2, 3)).toString()).toBe('cde');
  await expect(nodeFiles.read(path, 4, 3)).rejects.toMatchObject({ code: 'io', file: path });
});

it('tells an absent file from a folder', async () => {
  const path = join(folder, 'none');
  expect(await nodeFiles.stat(path)).toBeUndefined();
  expect(await nodeFiles.stat(join(folder, 'none', 'deeper'))).toBeUndefined();
  await expect(nodeFiles.read(path, 0, 1)).rejects.toMatchObject({ code: 'file-not-found', file: path });
  await expect(nodeFiles.readText(folder)).rejects.toMatchObject({ code: 'io', file: folder });
  expect(await nodeFiles.stat(folder)).toMatchObject({ directory: true });
});

it('writes whole files and leaves nothing behind when it cannot', async () => {
  const path = join(folder, 'a.json');
  await nodeFiles.writeAtomic(path, 'one');
  await nodeFiles.writeAtomic(path, 'two');
  expect(await readFile(path, 'utf8')).toBe('two');
  await nodeFiles.makeFolder(join(folder, 'taken'));
  await expect(nodeFiles.writeAtomic(join(folder, 'taken'), 'x')).rejects.toMatchObject({ code: 'io' });
  await expect(nodeFiles.writeAtomic(join(folder, 'no', 'a'), 'x')).rejects.toMatchObject({ code: 'file-not-found' });
  expect((await readdir(folder)).sort()).toEqual(['a.json', 'taken']);
});

it('allocates a file of the exact size and refuses one the disk cannot hold', async () => {
  const path = join(folder, 'big');
  await nodeFiles.allocate(path, 1000, new Uint8Array([7, 8]));
  const bytes = await readFile(path);
  expect([bytes.length, bytes[0], bytes[1], bytes[2]]).toEqual([1000, 7, 8, 0]);
  const huge = join(folder, 'huge');
  await expect(nodeFiles.allocate(huge, 2 ** 60, new Uint8Array())).rejects.toMatchObject({ code: 'disk-full' });
  expect(await nodeFiles.stat(huge)).toBeUndefined();
});

it('copies, renames, syncs and removes', async () => {
  const a = join(folder, 'a');
  const b = join(folder, 'b');
  await writeFile(a, 'x');
  await nodeFiles.copyFile(a, b);
  await nodeFiles.sync(b);
  await nodeFiles.sync(folder);
  await nodeFiles.rename(b, join(folder, 'c'));
  await nodeFiles.remove(a);
  await nodeFiles.remove(a);
  expect(await readdir(folder)).toEqual(['c']);
  await expect(nodeFiles.copyFile(a, b)).rejects.toMatchObject({ code: 'file-not-found', file: a });
});
