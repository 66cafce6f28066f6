/** Mixture-of-experts families against transformers on small random checkpoints: losses, logits, squared gradients. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadNative } from '../../extension/engine/load';
import { expectSameModel } from './language-model-comparison';

const CASES = [
  'mixtral',
  'mixtral-all',
  'qwen2-moe',
  'qwen2-moe-window',
  'qwen3-moe',
  'qwen3-moe-biases',
  'olmoe',
  'glm4-moe',
  'glm4-moe-plain',
];

const folder = mkdtempSync(path.join(tmpdir(), 'lq-experts-'));
const native = loadNative(path.resolve('dist/native'));

beforeAll(async () => {
  const python = path.resolve('.deps/venv/bin/python');
  const { stdout } = await promisify(execFile)(python, [path.resolve('test/interop/language_models_moe.py'), folder]);
  expect(JSON.parse(stdout)).toEqual(CASES);
});
afterAll(() => rmSync(folder, { recursive: true }));

it.each(CASES)('%s computes what transformers computes', async name => expectSameModel(native, folder, name));
