/** Families and rotary scalings against transformers on small random checkpoints: losses, logits, squared gradients. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadNative } from '../../extension/engine/load';
import { expectSameModel } from './language-model-comparison';

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
  'ministral3',
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
  'phi',
  'phi-normed',
  'phi3',
  'phi3-longrope',
  'phi3-longrope-short',
  'persimmon',
  'gpt2',
  'gpt2-unscaled',
  'gpt-bigcode',
  'gpt-bigcode-heads',
  'gpt-neox',
  'gpt-neox-after',
  'gptj',
  'gpt-neo',
  'falcon',
  'falcon-groups',
  'falcon-one-norm',
  'falcon-distances',
  'opt',
  'opt-after',
  'opt-bare',
  'bloom',
  'mpt',
  'cohere',
  'cohere-normed',
  'cohere2',
  'nemotron',
  'glm',
  'glm4',
  'olmo',
  'stablelm-parallel',
  'exaone4',
  'exaone4-full',
  'ernie4_5',
  'hunyuan-dense',
  'hunyuan-dense-alpha',
  'hunyuan-dense-yarn',
  'helium',
  'cwm',
  'hyperclovax',
  'hyperclovax-plain',
  'jais2',
  'jais2-unbiased',
  'vaultgemma',
  'eurobert',
  'bert',
  'bert-untied',
  'roberta',
  'xlm-roberta',
  'camembert',
  'distilbert',
  'electra',
  'electra-wide',
  'modernbert',
  'modernbert-biases',
];

const folder = mkdtempSync(path.join(tmpdir(), 'lq-models-'));
const native = loadNative(path.resolve('dist/native'));

beforeAll(async () => {
  const python = path.resolve('.deps/venv/bin/python');
  const { stdout } = await promisify(execFile)(python, [path.resolve('test/interop/language_models.py'), folder]);
  expect(JSON.parse(stdout)).toEqual(CASES);
});
afterAll(() => rmSync(folder, { recursive: true }));

it.each(CASES)('%s computes what transformers computes', async name => {
  await expectSameModel(native, folder, name);
});
