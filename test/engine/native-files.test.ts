/** Hashing and copying of byte ranges, exchange of names, and how failures reach JavaScript. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { native } from './native';

const folder = mkdtempSync(path.join(os.tmpdir(), 'lq-native-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: Uint8Array | string): string {
  const target = path.join(folder, name);
  writeFileSync(target, content);
  return target;
}

/** Bytes of the xxHash specification's generator idea: any fixed, aperiodic sequence does. */
const noise = (n: number): Uint8Array =>
  Uint8Array.from({ length: n }, (_, i) => (Math.imul(i, 2654435761) >>> 13) & 255);

describe('hash', () => {
  it.each([
    ['', 'ef46db3751d8e999'],
    ['a', 'd24ec4f1a98c6e5b'],
    ['abc', '44bc2cf5ad770999'],
    ['Nobody inspects the spammish repetition', 'fbcea83c8a378bf1'],
  ])('of %j', async (text, expected) => {
    const range = { path: file('text', text), offset: 0, bytes: text.length };
    expect(await native.hash(range, {})).toBe(expected);
  });

  it('is of the range alone, in whatever pieces it is read', async () => {
    const bytes = noise(3_500_001);
    const whole = { path: file('long', bytes), offset: 17, bytes: 3_400_000 };
    const part = { path: file('part', bytes.subarray(17, 17 + 3_400_000)), offset: 0, bytes: 3_400_000 };
    expect(await native.hash(whole, {})).toBe(await native.hash(part, {}));
    expect(await native.hash({ ...whole, offset: 18 }, {})).not.toBe(await native.hash(part, {}));
  });

  it('reports progress to the end', async () => {
    const reported: number[] = [];
    const range = { path: file('progress', noise(4_000_000)), offset: 0, bytes: 4_000_000 };
    await native.hash(range, { progress: (done, total) => reported.push(done / total) });
    expect(reported.at(-1)).toBe(1);
    expect(reported).toEqual([...reported].sort((a, b) => a - b));
  });

  it('stops when told to', async () => {
    const cancel = new Int32Array(new SharedArrayBuffer(4));
    cancel[0] = 1;
    const range = { path: file('cancelled', noise(100)), offset: 0, bytes: 100 };
    await expect(native.hash(range, { cancel })).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('copy', () => {
  it('moves a range and nothing else', async () => {
    const from = file('source', noise(70_000));
    const to = file('target', new Uint8Array(80_000).fill(9));
    await native.copy({ path: from, offset: 1000, bytes: 65_000 }, { path: to, offset: 500, bytes: 65_000 }, {});
    const result = readFileSync(to);
    expect(result.subarray(500, 65_500).equals(Buffer.from(noise(70_000).subarray(1000, 66_000)))).toBe(true);
    expect(result.subarray(0, 500).every(b => b === 9) && result.subarray(65_500).every(b => b === 9)).toBe(true);
  });

  it('says when the source is too short, and where', async () => {
    const from = file('short', noise(10));
    const to = file('untouched', new Uint8Array(100).fill(1));
    await expect(
      native.copy({ path: from, offset: 0, bytes: 50 }, { path: to, offset: 0, bytes: 50 }, {}),
    ).rejects.toMatchObject({ code: 'io_error', file: from });
    expect(readFileSync(to).every(b => b === 1)).toBe(true);
  });

  it('passes on errno of a full disk', async () => {
    const from = file('full', noise(10));
    await expect(
      native.copy({ path: from, offset: 0, bytes: 10 }, { path: '/dev/full', offset: 0, bytes: 10 }, {}),
    ).rejects.toMatchObject({ code: 'io_error', index: os.constants.errno.ENOSPC, file: '/dev/full' });
  });

  it('passes on errno of a missing file', async () => {
    const range = { path: path.join(folder, 'absent'), offset: 0, bytes: 1 };
    await expect(native.hash(range, {})).rejects.toMatchObject({
      code: 'io_error',
      index: os.constants.errno.ENOENT,
      file: range.path,
    });
  });
});

describe('exchange', () => {
  it('gives each of two folders the name of the other', async () => {
    const [one, other] = ['one', 'other'].map(name => {
      mkdirSync(path.join(folder, name));
      file(path.join(name, 'content'), name);
      return path.join(folder, name);
    });
    expect(await native.exchange(one!, other!, {})).toBe(true);
    const read = (of: string): string => readFileSync(path.join(of, 'content'), 'utf8');
    expect([read(one!), read(other!)]).toEqual(['other', 'one']);
  });

  it('says that it cannot between two file systems, and changes nothing', async () => {
    const here = file('here', 'here');
    expect(await native.exchange(here, '/proc/self/comm', {})).toBe(false);
    expect(readFileSync(here, 'utf8')).toBe('here');
  });

  it('names a file that is missing', async () => {
    await expect(native.exchange(file('there', ''), path.join(folder, 'nowhere'), {})).rejects.toMatchObject({
      code: 'io_error',
      index: os.constants.errno.ENOENT,
      file: path.join(folder, 'nowhere'),
    });
  });
});

describe('devices', () => {
  it('has the CPU first', () => {
    const { devices } = native.devices();
    expect(devices[0]).toMatchObject({ id: 'cpu' });
    expect(devices[0]!.memoryTotal).toBeGreaterThan(devices[0]!.memoryFree);
  });

  it('refuses a device that is not there instead of using another', async () => {
    const source = { kind: 'dense', path: file('w', noise(64)), offset: 0, dtype: 'F32', rows: 4, cols: 4 } as const;
    await expect(native.statistics('cuda:63', source, 4, {})).rejects.toMatchObject({
      code: 'device_error',
      message: expect.stringContaining('cuda:63') as string,
    });
  });

  it('names an argument that is wrong', async () => {
    const source = { kind: 'dense', path: '', offset: -1, dtype: 'F32', rows: 4, cols: 4 } as const;
    await expect(native.statistics('cpu', source, 4, {})).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('offset') as string,
    });
  });
});
