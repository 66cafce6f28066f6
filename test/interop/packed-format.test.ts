/**
 * FORMAT.md is enough to read a packed checkpoint: a reader of under 200 lines of numpy that was written from it rebuilds every
 * weight of every kind of option to the bit, held against our own dense export of a model in fp32.
 */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { serializeHeader } from '../../extension/core/checkpoint/serialize';
import { openCheckpoint } from '../../extension/core/logical/open';
import type { CompressReport } from '../../extension/core/reports';
import { nodeFiles } from '../../extension/node/files';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sample = path.join(root, 'media', 'sample', 'tiny-books-4m');
const calibration = path.join(root, 'media', 'sample', 'calibration.txt');
const folder = mkdtempSync(path.join(tmpdir(), 'lq-format-'));
const model = path.join(folder, 'fp32');
afterAll(() => rmSync(folder, { recursive: true }));

const run = promisify(execFile);
async function studio<T>(...args: string[]): Promise<T> {
  const cache = ['--json', '--cache', path.join(folder, 'cache'), '--device', 'cpu'];
  const { stdout } = await run(process.execPath, [path.join(root, 'dist', 'cli.js'), ...args, ...cache], {
    maxBuffer: 1e8,
  });
  return JSON.parse(stdout) as T;
}

/** The sample with every tensor in fp32, so that a dense export rounds nothing. */
beforeAll(async () => {
  cpSync(sample, model, { recursive: true });
  const index = await openCheckpoint(nodeFiles, sample);
  for (const shard of index.shards) {
    const tensors = index.tensors.filter(({ file }) => file === shard.file);
    const header = serializeHeader(tensors.map(({ name, shape }) => ({ name, shape, dtype: 'F32' as const })));
    const content = Buffer.alloc(header.fileBytes);
    content.set(header.bytes);
    for (const [i, { file, offset, bytes }] of tensors.entries()) {
      const stored = readFileSync(file).subarray(offset, offset + bytes);
      for (let k = 0; k < bytes / 2; k++)
        content.writeUInt32LE(stored.readUInt16LE(2 * k) * 65536, header.tensors[i]!.offset + 4 * k);
    }
    writeFileSync(path.join(model, path.basename(shard.file)), content);
  }
});

it('is read by a program of under 200 lines', () => {
  const lines = readFileSync(path.join(root, 'test', 'interop', 'packed_reader.py'), 'utf8').split('\n');
  expect(lines.length).toBeLessThan(200);
});

it.each([
  ['trellises', 2.6, ['--method', 'frontier', '--no-second-pass']],
  ['trellises that bite their tails', 2.6, ['--method', 'frontier', '--tail-biting', '--no-second-pass']],
  ['trellises encoded in layer order', 3.2, ['--method', 'frontier', '--second-pass']],
  ['a low-rank part beside a trellis', 4.6, ['--method', 'frontier', '--rank', '16', '--no-second-pass']],
  ['embedding and head', 3.1, ['--method', 'frontier', '--embeddings', '--no-second-pass']],
  ['integers with zero points', 3.1, ['--method', 'gptq']],
  ['integers of scaled inputs', 3.1, ['--method', 'awq']],
  ['rotated integers with row scales', 3.1, ['--method', 'quip']],
  ['low-rank factors alone', 5, ['--method', 'fwsvd']],
  ['rotated fitted books', 3.1, ['--method', 'higgs']],
  ['the paper’s options without a low-rank part', 3.1, ['--method', 'lq-lora', '--rank', '0', '--metric', 'fisher']],
])('%s are rebuilt to the bit', async (name, bits, args) => {
  const packed = path.join(folder, `${name} packed`);
  const dense = path.join(folder, `${name} dense`);
  const report = await studio<CompressReport>(
    ...['compress', model, '--out', packed, '--effective-bits', String(bits)],
    ...['--calibration', calibration, '--samples', '2', '--context', '128', '--include', '*layers.[01].*', ...args],
  );
  await studio('export', packed, '--format', 'dense', '--out', dense);
  expect(readdirSync(dense).some(file => file.endsWith('.safetensors'))).toBe(true);
  const { stdout } = await run(path.join(root, '.deps', 'venv', 'bin', 'python'), [
    path.join(root, 'test', 'interop', 'compare_decoded.py'),
    packed,
    dense,
  ]);
  expect(JSON.parse(stdout)).toMatchObject({ matrices: report.matrices.length, sameBits: true, keptIdentical: true });
});
