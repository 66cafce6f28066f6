/**
 * GGUF files of every family that is written: read back they are the weights of the checkpoint they were made from by its names,
 * and have the logits that transformers makes of it; some are loaded by stock transformers too. All are held against llama.cpp
 * itself by `npm run test:llama`.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { compare } from '../../extension/core/analysis/stages';
import { describeModel, withLanguageModel } from '../../extension/core/evaluation/language-model';
import { findExporter } from '../../extension/core/export/exporters';
import type { Verdict } from '../../extension/core/export/loads/loads';
import { compress } from '../../extension/core/pipeline';
import { openCheckpoint } from '../../extension/core/logical/open';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';
import { context } from '../unit/export/harness';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'lq-families-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Those that transformers loads. */
const CASES = [
  'gemma2',
  'gemma3',
  'fused-longrope',
  'nemotron',
  'gpt2',
  'qwen2-moe',
  'qwen3-moe',
  'stablelm',
  'falcon',
];

/** Matrices that GPT-2 stores [in, out] are as all others in the file; the gate of Qwen2's shared expert is a vector. */
const RESHAPED: ReadonlySet<string> = new Set(['gpt2', 'qwen2-moe']);
/** Families whose experts are one tensor in their checkpoints, and apart in GGUF. */
const TOGETHER: ReadonlySet<string> = new Set(['gpt-oss', 'granitemoe', 'granitemoe-shared']);

async function families<T>(...args: string[]): Promise<T> {
  const python = path.join(root, '.deps', 'venv', 'bin', 'python');
  const script = path.join(root, 'test', 'interop', 'llama', 'families.py');
  return JSON.parse((await promisify(execFile)(python, [script, ...args], { maxBuffer: 1e8 })).stdout) as T;
}

const pipeline = { ...context(), native: loadNative(path.join(root, 'dist', 'native')) };
let made: string[];
let apart: Record<string, number>;
const verdicts = new Map<string, Verdict>();
beforeAll(async () => {
  made = await families('make', folder, path.join(root, 'media', 'sample', 'tiny-books-4m'));
  for (const name of made) {
    const { delivered } = await findExporter('gguf').run({
      ...{ pipeline, index: await openCheckpoint(nodeFiles, path.join(folder, name)), overwrite: false },
      ...{ out: path.join(folder, `${name}-gguf`), dtype: 'fp32' },
    });
    verdicts.set(
      name,
      delivered.loads.find(({ program }) => program === 'transformers')!,
    );
  }
  apart = await families('transformers', folder, ...CASES);
}, 240_000);

it.each(CASES)('%s', name => {
  expect(apart[name]).toBeLessThan(1e-5);
  const { loads, why } = verdicts.get(name)!;
  expect(loads).toBe('yes');
  if (name !== 'falcon') expect(why.join()).toContain('pass the configuration of the original');
});

/** How far two lists of logits are apart, relative to how far the second spreads. */
function distance(ours: ArrayLike<number>, theirs: readonly number[]): number {
  const mean = theirs.reduce((sum, value) => sum + value, 0) / theirs.length;
  const [between, spread] = theirs.reduce(
    ([a, b], value, i) => [a + (ours[i]! - value) ** 2, b + (value - mean) ** 2],
    [0, 0],
  );
  return Math.sqrt(between / spread);
}

it('a file read back has the logits of the checkpoint, and its weights by its names', async () => {
  expect(made.length).toBeGreaterThan(25);
  const found: Record<string, unknown> = {};
  for (const name of made) {
    const [original, file] = [path.join(folder, name), path.join(folder, `${name}-gguf`)];
    const model = describeModel(await openCheckpoint(nodeFiles, file));
    const { tokens, logits } = JSON.parse(readFileSync(path.join(original, 'expected.json'), 'utf8')) as {
      tokens: number[];
      logits: number[];
    };
    const sequence = Int32Array.from(tokens.slice(0, logits.length / model.config.vocab));
    const ours = await withLanguageModel(pipeline, model, opened => opened.logits(sequence, {}));
    const { onlyA, onlyB, reshaped, tensors } = await compare(pipeline, { a: original, b: file });
    found[name] = {
      logits: distance(ours, logits) < 1e-5 || distance(ours, logits),
      warnings: model.warnings,
      // What a norm counts from is added to it and taken off again, in fp32.
      different: tensors.filter(({ maxAbsolute = Infinity }) => maxAbsolute > 5e-7).map(each => each.name),
      ...(!RESHAPED.has(name) && { reshaped: reshaped.map(each => each.name) }),
      ...(!TOGETHER.has(name) && { others: [...onlyA, ...onlyB.filter(each => !/^rope_f/.test(each))] }),
    };
  }
  const right = (name: string) => ({
    ...{ logits: true, warnings: [], different: [] },
    ...(!RESHAPED.has(name) && { reshaped: [] }),
    ...(!TOGETHER.has(name) && { others: [] }),
  });
  expect(found).toEqual(Object.fromEntries(made.map(name => [name, right(name)])));
}, 60_000);

it('a mixture of experts is compressed to a size, the experts of a layer to one type', async () => {
  const model = path.join(folder, 'qwen3-moe');
  const out = path.join(folder, 'compressed');
  const sample = path.join(root, 'media', 'sample');
  const report = await compress(pipeline, {
    ...{ model, out, for: 'gguf', budget: { kind: 'bytes', value: 420_000 } },
    ...{ calibration: path.join(sample, 'calibration.txt'), samples: 4, context: 64 },
  });
  const file = path.join(out, 'qwen3-moe.gguf');
  expect(statSync(file).size).toBe(report.bytes);
  expect(report.bytes).toBeLessThanOrEqual(420_000);
  expect(report.delivered.checks.join()).toContain('values of all 90 encoded matrices');
  const types = new Map<string, Set<string>>();
  for (const { name, label } of report.matrices) {
    const tensor = name.replace(/experts\.\d+\./, 'experts.');
    types.set(tensor, (types.get(tensor) ?? new Set()).add(label));
  }
  expect([...types.values()].every(labels => labels.size === 1)).toBe(true);
  expect(new Set([...types.values()].flatMap(labels => [...labels])).size).toBeGreaterThan(1);
  const index = await openCheckpoint(nodeFiles, file);
  expect(index.byName.get('blk.0.ffn_down_exps.weight')?.shape).toEqual([6, 64, 32]);
}, 60_000);
