/**
 * GGUF files of other families than Llama's, loaded by stock transformers: the logits are those of the checkpoint they were made
 * from. All families are held against llama.cpp itself by `npm run test:llama`.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
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

async function families<T>(...args: string[]): Promise<T> {
  const python = path.join(root, '.deps', 'venv', 'bin', 'python');
  const script = path.join(root, 'test', 'interop', 'llama', 'families.py');
  return JSON.parse((await promisify(execFile)(python, [script, ...args], { maxBuffer: 1e8 })).stdout) as T;
}

let apart: Record<string, number>;
const verdicts = new Map<string, Verdict>();
beforeAll(async () => {
  await families('make', folder, path.join(root, 'media', 'sample', 'tiny-books-4m'), ...CASES);
  const pipeline = { ...context(), native: loadNative(path.join(root, 'dist', 'native')) };
  for (const name of CASES) {
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

it('a mixture of experts is compressed to a size, the experts of a layer to one type', async () => {
  const model = path.join(folder, 'qwen3-moe');
  const out = path.join(folder, 'compressed');
  const sample = path.join(root, 'media', 'sample');
  const pipeline = { ...context(), native: loadNative(path.join(root, 'dist', 'native')) };
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
