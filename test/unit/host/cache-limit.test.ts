import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { limitCache } from '../../../extension/host/model/cache-limit';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'lq-cache-'));
  mkdirSync(path.join(folder, 'sweep'));
  for (const [name, age] of [
    ['old.json', 300],
    ['sweep/older.json', 400],
    ['new.json', 10],
    ['sweep/half.json.partial', 500],
  ] as const) {
    const file = path.join(folder, name);
    writeFileSync(file, Buffer.alloc(1000));
    const time = Date.now() / 1000 - age;
    utimesSync(file, time, time);
  }
});
afterEach(() => rmSync(folder, { recursive: true }));

const left = () =>
  readdirSync(folder, { recursive: true })
    .filter(name => String(name).includes('.'))
    .sort();

it('removes what was unused for longest, and only as much as needed', async () => {
  expect(await limitCache(folder, 2000)).toBe(1000);
  expect(left()).toEqual(['new.json', 'old.json', 'sweep/half.json.partial']);
});

it('never touches what is being written', async () => {
  expect(await limitCache(folder, 0)).toBe(3000);
  expect(left()).toEqual(['sweep/half.json.partial']);
});

it('leaves a cache within its limit alone', async () => {
  expect(await limitCache(folder, 3000)).toBe(0);
  expect(left()).toHaveLength(4);
});
