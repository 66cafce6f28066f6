/**
 * What `compress --for` writes, loaded by the stock programs it is for, which know nothing of this one: every weight is, to the
 * bit, the one that this program decodes, and the logits are those of its runtime.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Plan } from '../../extension/core/allocation/types';
import { targetOf } from '../../extension/core/export/targets';
import { openCheckpoint } from '../../extension/core/logical/open';
import { weightLookup } from '../../extension/core/logical/lookup';
import { describeModel, withLanguageModel } from '../../extension/core/evaluation/language-model';
import type { ConsumerId } from '../../extension/core/options/consumers';
import { open } from '../../extension/core/opened';
import type { Option } from '../../extension/core/options/types';
import { plainMetric } from '../../extension/core/sensitivity/metric';
import type { SweepTable } from '../../extension/core/sensitivity/types';
import type { CompressReport } from '../../extension/core/reports';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';
import { context } from '../unit/export/harness';

const root = fileURLToPath(new URL('../..', import.meta.url));
const sample = path.join(root, 'media', 'sample', 'tiny-books-4m');
const folder = mkdtempSync(path.join(tmpdir(), 'lq-consumers-'));
afterAll(() => rmSync(folder, { recursive: true }));

const native = loadNative(path.join(root, 'dist', 'native'));
/** Ids spread over the vocabulary of 2048. */
const TOKENS = Array.from({ length: 96 }, (_, i) => (i * 677 + 31) % 2048);

interface Case {
  readonly target: ConsumerId;
  /** How test/interop/consumers.py loads it. */
  readonly loader: string;
  readonly size: string;
  readonly files: RegExp;
  /** What the report says will load it. */
  readonly program: RegExp;
}

const CASES: readonly Case[] = [
  { target: 'gguf', loader: 'gguf', size: '6.35MB', files: /\.gguf$/, program: /^transformers/ },
  {
    target: 'compressed-tensors',
    loader: 'transformers',
    size: '6.75MB',
    files: /\.safetensors$/,
    program: /^transformers/,
  },
  { target: 'mlx', loader: 'mlx', size: '7.1MB', files: /\.safetensors$/, program: /^mlx-lm/ },
  {
    target: 'bitsandbytes',
    loader: 'bitsandbytes',
    size: '7.12MB',
    files: /\.safetensors$/,
    program: /^transformers/,
  },
];

const floats = (file: string): Float32Array => new Float32Array(new Uint8Array(readFileSync(file)).buffer);

/** Runs a program that prints JSON. Asynchronous, so that the test runner's own messages are answered meanwhile. */
async function run<T>(command: string, args: readonly string[], input = ''): Promise<T> {
  const running = promisify(execFile)(command, args, { encoding: 'utf8', maxBuffer: 1e9 });
  running.child.stdin!.end(input);
  return JSON.parse((await running).stdout) as T;
}

/** One layer is compressed: the rest of the model stays as it is, and the text is short. */
function compressed({ target, size }: Case): Promise<CompressReport> {
  const words = ['--for', target, '--size', size, '--out', path.join(folder, target), '--include', 'model.layers.0.*'];
  const text = ['--calibration', path.join(root, 'media', 'sample', 'calibration.txt'), '--samples', '8'];
  const cli = [path.join(root, 'dist', 'cli.js'), 'compress', sample, ...words, ...text, '--context', '256'];
  const settings = ['--cache', path.join(folder, 'cache'), '--json'];
  return run(process.execPath, [...cli, ...settings]);
}

/** Integers of every width and group that a format has, one after another over the matrices of the model. */
const WIDTHS = {
  'compressed-tensors': { loader: 'transformers', bits: [2, 3, 4, 5, 6, 7, 8], sizes: [16, 32, 64, 128] },
  mlx: { loader: 'mlx', bits: [2, 3, 4, 5, 6, 8], sizes: [32, 64, 128] },
} as const;

const symmetric = (bits: number, size: number): Option => ({
  transform: 'none',
  grid: { kind: 'int', bits, symmetric: true },
  scales: { kind: 'searched', size, type: 'bf16' },
  rounding: 'feedback',
  rank: 0,
});

/** Written by the target as if a program had chosen so. */
async function everyWidth(id: keyof typeof WIDTHS): Promise<Map<string, Option>> {
  const { bits, sizes: groups } = WIDTHS[id];
  const left = bits.flatMap(width => groups.map(size => symmetric(width, size)));
  const prepared = await targetOf({ for: id }).prepare(nodeFiles, await open(nodeFiles, { model: sample }), left, {});
  const { kept, matrices, bytesOf } = prepared.sizes;
  // Most groups divide some rows alone: those that others can do without take the first there is.
  const chosen = new Map<string, Option>();
  for (const { name, rows, cols } of matrices) {
    const fits = left.findIndex(option => bytesOf(option, rows, cols) !== undefined);
    const [option = symmetric(4, 16)] = fits < 0 ? [] : left.splice(fits, 1);
    if (bytesOf(option, rows, cols) !== undefined) chosen.set(name, option);
  }
  expect(left).toEqual([]);
  const planned = matrices.filter(({ name }) => chosen.has(name));
  // Those that are left stay in bf16.
  const bytes = matrices.reduce((sum, { name, rows, cols }) => {
    const option = chosen.get(name);
    return sum + (option ? bytesOf(option, rows, cols)! : 2 * rows * cols);
  }, kept);
  await prepared.write(
    { ...context(), native },
    {
      table: {
        recipe: { seed: 0 },
        matrices: planned.map(row => ({ ...row, weightedNorm: 1 })),
      } as unknown as SweepTable,
      plan: { bytes, matrices: planned.map(({ name }) => ({ name, option: chosen.get(name)! })) } as unknown as Plan,
      ...{ metric: plainMetric, out: path.join(folder, `${id}-widths`), overwrite: false },
      timed: (_, work) => work(),
    },
  );
  return chosen;
}

let widths: Map<string, Map<string, Option>>;
let reports: Map<string, CompressReport>;
let shapes: Map<string, Record<string, [number, number?]>>;
beforeAll(async () => {
  reports = new Map();
  for (const each of CASES) reports.set(each.target, await compressed(each));
  widths = new Map();
  for (const id of ['compressed-tensors', 'mlx'] as const) widths.set(`${id}-widths`, await everyWidth(id));
  const written = [
    ...CASES.map(({ target, loader }) => [loader, target] as const),
    ...Object.entries(WIDTHS).map(([id, { loader }]) => [loader, `${id}-widths`] as const),
    ['nested', 'nested'] as const,
  ];
  const jobs = written.map(([loader, name]) => [loader, path.join(folder, name), path.join(folder, `${name}-theirs`)]);
  const python = path.join(root, '.deps', 'venv', 'bin', 'python');
  const script = path.join(root, 'test', 'interop', 'consumers.py');
  const found = await run<Record<string, [number, number?]>[]>(
    python,
    [script],
    JSON.stringify({ tokens: TOKENS, sample, jobs }),
  );
  shapes = new Map(written.map(([, name], i) => [name, found[i]!]));
});

/** The first weight of a folder that its program reads otherwise than this one, if any. */
async function firstDifferent(name: string): Promise<unknown> {
  const lookup = weightLookup(await openCheckpoint(nodeFiles, path.join(folder, name)));
  const wanted = shapes.get(name)!;
  expect(Object.keys(wanted)).toHaveLength(39);
  for (const [weight, [rows, cols]] of Object.entries(wanted)) {
    const source = lookup(weight)!;
    expect([source.rows, source.cols], weight).toEqual(cols === undefined ? [1, rows] : [rows, cols]);
    // A picture with a cell for every weight is the weights.
    const { mean } = await native.preview('cpu', source, source.rows, source.cols, {});
    const theirs = floats(path.join(folder, `${name}-theirs`, `${weight}.f32`));
    const at = mean.findIndex((value, i) => value !== theirs[i]);
    if (at >= 0) return [weight, widths.get(name)?.get(weight), at];
  }
  return undefined;
}

const logitsOf = async (checkpoint: string): Promise<Float32Array> =>
  withLanguageModel({ ...context(), native }, describeModel(await openCheckpoint(nodeFiles, checkpoint)), model =>
    model.logits(Int32Array.from(TOKENS), {}),
  );
/** The largest difference of logits from those that a program made of a folder. */
function differenceFrom(name: string, ours: Float32Array): number {
  const theirs = floats(path.join(folder, `${name}-theirs.f32`));
  return ours.reduce((most, value, i) => Math.max(most, Math.abs(value - theirs[i]!)), 0);
}

it('NF4 of bitsandbytes with scales that are quantised too is decoded to the bit, and run', async () => {
  expect(await firstDifferent('nested')).toBeUndefined();
  expect(differenceFrom('nested', await logitsOf(path.join(folder, 'nested')))).toBeLessThan(1e-3);
  expect(differenceFrom('nested', await logitsOf(sample))).toBeGreaterThan(0.05);
});

it.each(Object.keys(WIDTHS))('%s: integers of every width and group are those that this program decodes', async id => {
  expect(await firstDifferent(`${id}-widths`)).toBeUndefined();
});

describe.each(CASES)('compress --for $target', ({ target, files, program }) => {
  const out = path.join(folder, target);

  it('is as large as planned, to the byte, and several options are mixed in it', () => {
    const report = reports.get(target)!;
    const sizes = readdirSync(out)
      .filter(name => files.test(name))
      .map(name => statSync(path.join(out, name)).size);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(report.bytes);
    expect(report.bytes).toBeLessThanOrEqual(report.budget.value);
    expect(new Set(report.matrices.map(({ label }) => label)).size).toBeGreaterThan(2);
  });

  it('says that it loads there', () => {
    const { loads, checks } = reports.get(target)!.delivered;
    expect(loads.find(verdict => program.test(verdict.program))).toMatchObject({ loads: 'yes' });
    expect(checks).toHaveLength(2);
  });

  it('every weight is the one that this program decodes, to the bit', async () => {
    expect(await firstDifferent(target)).toBeUndefined();
  });

  it('gives the logits of our runtime, which are not those of the original', async () => {
    expect(differenceFrom(target, await logitsOf(out))).toBeLessThan(1e-3);
    expect(differenceFrom(target, await logitsOf(sample))).toBeGreaterThan(0.05);
  });
});
