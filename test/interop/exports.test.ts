/** What the command line writes, read by programs that know nothing of this one: stock transformers, and numpy with FORMAT.md. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text as readText } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../extension/core/logical/open';
import { describeModel, withLanguageModel } from '../../extension/core/evaluation/language-model';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';
import type { CompressReport, ExportReport } from '../../extension/core/reports';
import type { EvaluateReport } from '../../extension/core/evaluation/types';
import { context } from '../unit/export/harness';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sample = path.join(root, 'media', 'sample', 'tiny-books-4m');
const evaluation = path.join(root, 'media', 'sample', 'evaluation.txt');
const WINDOWS = 8;

const folder = mkdtempSync(path.join(tmpdir(), 'lq-interop-'));
const packed = path.join(folder, 'packed');
const dense = path.join(folder, 'dense');
const adapter = path.join(folder, 'adapter');
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a program that prints JSON. Asynchronous, so that the test runner's own messages are answered meanwhile. */
async function run<T>(command: string, args: readonly string[], input = ''): Promise<T> {
  const child = spawn(command, args, { cwd: root });
  child.stdin.end(input);
  const [stdout, stderr, status] = await Promise.all([
    readText(child.stdout),
    readText(child.stderr),
    new Promise<number | null>((resolve, reject) => child.on('close', resolve).on('error', reject)),
  ]);
  if (status !== 0) throw new Error(`${[command, ...args].join(' ')} ended with ${status}\n${stdout}\n${stderr}`);
  return JSON.parse(stdout) as T;
}

const studio = <T>(...args: string[]): Promise<T> =>
  run<T>(process.execPath, ['dist/cli.js', ...args, '--json', '--cache', path.join(folder, 'cache')]);

/** A script of this folder in the environment of the pinned peers. */
const peer = <T>(script: string, args: readonly string[], input = ''): Promise<T> =>
  run<T>(
    path.join(root, '.deps', 'venv', 'bin', 'python'),
    [path.join(root, 'test', 'interop', script), ...args],
    input,
  );

/** Ids spread over the vocabulary of 2048. */
const TOKENS = Array.from({ length: 96 }, (_, i) => (i * 677 + 31) % 2048);

async function ourLogits(checkpoint: string): Promise<Float32Array> {
  const index = await openCheckpoint(nodeFiles, checkpoint);
  const native = loadNative(path.join(root, 'dist', 'native'));
  return withLanguageModel({ ...context(), native }, describeModel(index), model =>
    model.logits(Int32Array.from(TOKENS), {}),
  );
}

const rawLogits = (name: string): string => path.join(folder, `${name}.f32`);
const theirLogits = (name: string): Float32Array =>
  new Float32Array(new Uint8Array(readFileSync(rawLogits(name))).buffer);

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a).toHaveLength(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}

describe('a compressed checkpoint', () => {
  let compressed: CompressReport;
  let theirPerplexity: { perplexity: number; tokens: number };
  let refused: { error?: string; message?: string };
  let losses: { base: number; adapted: number; trained: number; tensors: number };

  beforeAll(async () => {
    compressed = await studio<CompressReport>(
      ...[
        'compress',
        sample,
        '--out',
        packed,
        '--method',
        'lq-lora',
        '--bits',
        '2.75',
        '--rank',
        '8',
        '--plain',
        '--iterations',
        '4',
      ],
    );
    await studio<ExportReport>('export', packed, '--format', 'dense', '--out', dense);
    await studio<ExportReport>('export', packed, '--format', 'peft', '--dtype', 'fp32', '--out', adapter);
    const jobs = [
      ['perplexity', dense, evaluation, WINDOWS],
      ['refuse', packed],
      ['logits', dense, rawLogits('dense')],
      ['packed-logits', packed, dense, rawLogits('packed')],
      ['adapter', adapter, evaluation, rawLogits('adapter')],
    ];
    const results = await peer<[typeof theirPerplexity, typeof refused, unknown, unknown, typeof losses]>(
      'run_model.py',
      [],
      JSON.stringify({ tokens: TOKENS, jobs }),
    );
    [theirPerplexity, refused, , , losses] = results;
  });

  it('is loaded by peft as an adapter on its base, which starts lower than without it and learns', () => {
    expect(losses.tensors).toBe(2 * 28);
    expect(largestDifference(theirLogits('adapter'), theirLogits('packed'))).toBeLessThan(1e-3);
    expect(losses.adapted).toBeLessThan(losses.base);
    expect(losses.trained).toBeLessThan(losses.adapted - 0.01);
  });

  it('has the size and bits it was planned with', async () => {
    expect(compressed.matrices).toHaveLength(28);
    expect(compressed.bits).toBeLessThanOrEqual(2.75);
    const { shards } = await studio<{ shards: { bytes: number }[] }>('inspect', packed);
    expect(shards.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(compressed.bytes);
  });

  it('as dense export: stock transformers gives the logits of our runtime', async () => {
    const theirs = theirLogits('dense');
    expect(largestDifference(await ourLogits(dense), theirs)).toBeLessThan(1e-3);
    // The logits are worth comparing: far from those of the original.
    expect(largestDifference(await ourLogits(sample), theirs)).toBeGreaterThan(0.1);
  });

  it.each([
    ['dense export', dense],
    ['packed file', packed],
  ])('as %s: our perplexity is that of stock transformers and tokenizers', async (_, checkpoint) => {
    const windows = ['--context', '512', '--windows', `${WINDOWS}`];
    const ours = await studio<EvaluateReport>('eval', checkpoint, '--text', evaluation, ...windows);
    expect(ours.tokens).toBe(theirPerplexity.tokens);
    expect(Math.abs(ours.perplexity / theirPerplexity.perplexity - 1)).toBeLessThan(1e-3);
  });

  it('as packed file: a reader written from the specification decodes what the dense export holds', async () => {
    const found = await peer<{ matrices: number; worstUnits: number; names: boolean; keptIdentical: boolean }>(
      'compare_decoded.py',
      [packed, dense],
    );
    expect(found).toMatchObject({ matrices: 28, names: true, keptIdentical: true });
    expect(found.worstUnits).toBeLessThan(0.501);
  });

  it('as packed file: the weights that reader decodes give our logits in transformers', async () => {
    expect(largestDifference(await ourLogits(packed), theirLogits('packed'))).toBeLessThan(1e-3);
  });

  it('as packed file: stock transformers refuses the folder', () => {
    expect(refused.error).toBe('OSError');
    expect(refused.message).toContain('no file named model.safetensors');
  });
});
