/** Importance matrices: what we write is read by the gguf package, and what it writes is read by us. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';
import { ggufName } from '../../extension/core/checkpoint/gguf/names';
import { readDiagonals } from '../../extension/core/sensitivity/calibration-file';
import type { SweepTable } from '../../extension/core/sensitivity/types';
import { context } from '../unit/export/harness';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sample = path.join(root, 'media', 'sample', 'tiny-books-4m');
const calibration = path.join(root, 'media', 'sample', 'calibration.txt');
const folder = mkdtempSync(path.join(tmpdir(), 'lq-imatrix-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string): string => path.join(folder, name);

const run = promisify(execFile);
async function studio(...args: string[]): Promise<string> {
  const settings = ['--json', '--cache', file('cache'), '--device', 'cpu'];
  const cli = path.join(root, 'dist', 'cli.js');
  return (await run(process.execPath, [cli, ...args, ...settings], { maxBuffer: 1e8 })).stdout;
}
const python = async (...args: string[]): Promise<string> => {
  const script = path.join(root, 'test', 'interop', 'imatrix.py');
  const { stdout } = await run(path.join(root, '.deps', 'venv', 'bin', 'python'), [script, ...args], {
    maxBuffer: 1e8,
  });
  return stdout;
};

interface Read {
  field: Record<string, unknown>;
  means: Record<string, number[]>;
  counts: Record<string, number[]>;
  old: Record<string, number[]>;
  chunks: number;
  dataset: string;
}

it('is the diagonal of the statistics in both formats, and comes back as the same metric', async () => {
  const text = ['--calibration', calibration, '--samples', '2', '--context', '128'];
  for (const name of ['imatrix.gguf', 'imatrix.dat'])
    await studio('calibrate', sample, ...text, '--out', file('stats.safetensors'), '--imatrix', file(name));
  const read = JSON.parse(await python('read', file('imatrix.gguf'), file('imatrix.dat'))) as Read;
  expect(read.field).toMatchObject({
    'general.type': 'imatrix',
    'imatrix.datasets': ['calibration.txt'],
    'imatrix.chunk_count': 2,
    'imatrix.chunk_size': 128,
  });
  expect(read).toMatchObject({ chunks: 2, dataset: 'calibration.txt' });
  const { diagonals } = await readDiagonals(context(), file('stats.safetensors'));
  expect(Object.keys(read.means)).toHaveLength(28);
  for (const [name, diagonal] of diagonals) {
    const stored = ggufName(name)!;
    expect(read.counts[stored]).toEqual([256]);
    for (const [i, value] of diagonal.entries())
      for (const back of [read.means[stored]![i]!, read.old[stored]![i]!])
        expect(Math.abs(back - value)).toBeLessThanOrEqual(1e-6 * value);
  }

  await python('write', file('imatrix.gguf'), file('theirs.gguf'));
  const costs = async (name: string): Promise<number[][]> => {
    const out = file('table.json');
    await studio('sweep', sample, '--method', 'rtn', '--include', '*layers.0.*', '--fisher', file(name), '--out', out);
    const table = JSON.parse(readFileSync(out, 'utf8')) as SweepTable;
    return table.matrices.map(row => row.costs.map(cost => cost!));
  };
  expect(await costs('theirs.gguf')).toEqual(await costs('imatrix.gguf'));
}, 60_000);
