/** Families and rotary scalings against transformers on small random checkpoints: losses, logits, squared gradients. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openCheckpoint } from '../../extension/core/logical/open';
import type { TensorInfo } from '../../extension/core/checkpoint/types';
import { describeModel } from '../../extension/core/evaluation/language-model';
import { GRADIENT_KINDS } from '../../extension/core/evaluation/weights';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';

const CASES = [
  'llama',
  'llama-biases-tied',
  'llama-linear',
  'llama-dynamic',
  'llama-llama3',
  'llama-yarn',
  'mistral',
  'qwen2',
  'qwen2-window',
  'qwen3',
  'qwen3-biases',
  'ministral',
  'gemma',
  'gemma2',
  'gemma2-uncapped',
  'gemma3',
  'granite',
  'smollm3',
  'smollm3-windows',
  'olmo2',
  'olmo3',
  'stablelm',
  'stablelm-half',
  'starcoder2',
  'starcoder2-unbiased',
  'seed-oss',
  'arcee',
];

interface Expected {
  tokens: number[];
  context: number;
  losses: number[];
  logits: number[];
}

const folder = mkdtempSync(path.join(tmpdir(), 'lq-models-'));
const native = loadNative(path.resolve('dist/native'));

beforeAll(async () => {
  const python = path.resolve('.deps/venv/bin/python');
  const { stdout } = await promisify(execFile)(python, [path.resolve('test/interop/language_models.py'), folder]);
  expect(JSON.parse(stdout)).toEqual(CASES);
});
afterAll(() => rmSync(folder, { recursive: true }));

const floats = ({ file, offset, bytes }: Pick<TensorInfo, 'file' | 'offset' | 'bytes'>): Float32Array =>
  new Float32Array(Uint8Array.from(readFileSync(file).subarray(offset, offset + bytes)).buffer);

const worst = (ours: ArrayLike<number>, theirs: ArrayLike<number>): number => {
  expect(ours.length).toBe(theirs.length);
  return Array.from(ours).reduce((most, value, i) => Math.max(most, Math.abs(value - theirs[i]!)), 0);
};

it.each(CASES)('%s computes what transformers computes', async name => {
  const index = await openCheckpoint(nodeFiles, path.join(folder, name));
  const expected = JSON.parse(readFileSync(path.join(folder, name, 'expected.json'), 'utf8')) as Expected;
  const tokens = Int32Array.from(expected.tokens);
  const { config, weights } = describeModel(index);
  const model = await native.openLanguageModel('cpu', config, [...weights]);
  try {
    expect(worst(await model.losses(tokens, expected.context, {}), expected.losses)).toBeLessThan(2e-5);
    const logits = await model.logits(tokens.subarray(0, expected.context), {});
    const size = Math.max(...expected.logits.map(Math.abs));
    expect(worst(logits, expected.logits)).toBeLessThan(1e-5 * size);

    const theirs = await openCheckpoint(nodeFiles, path.join(folder, name, 'fisher.safetensors'));
    const out = path.join(folder, `${name}.fisher`);
    const targets = weights.filter(({ kind }) => GRADIENT_KINDS.has(kind));
    expect(targets).toHaveLength((config.plainMlp === true ? 6 : 7) * config.layers);
    let end = 0;
    const gradients = targets.map(({ layer, kind, source }) => {
      const bytes = 4 * source.rows * source.cols;
      const fisher = { path: out, offset: end, bytes };
      end += bytes;
      return { layer, kind, fisher };
    });
    writeFileSync(out, '');
    truncateSync(out, end);
    await model.calibrate(tokens, expected.context, { gradients, inputs: [] }, {});
    targets.forEach((target, i) => {
      const reference = floats(theirs.byName.get(target.name)!);
      const largest = reference.reduce((a, b) => Math.max(a, b));
      const { offset, bytes } = gradients[i]!.fisher;
      expect(worst(floats({ file: out, offset, bytes }), reference), target.name).toBeLessThan(2e-4 * largest);
    });
  } finally {
    model.close();
  }
});
