/** Mixture-of-experts families against transformers on small random checkpoints: losses, logits, squared gradients. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
  'gpt-oss',
  'gpt-oss-plain',
  'gpt-oss-mxfp4',
  'granitemoe',
  'llama4',
  'llama4-plain',
  'granitemoeshared',
  'granitemoeshared-none',
  'flex-olmo',
  'dots1',
  'solar-open',
  'ernie4_5_moe',
  'ernie4_5_moe-alone',
  'minimax-m2',
  'minimax-m2-together',
  'mixtral-together',
  'qwen2-moe-together',
  'qwen3-moe-together',
  'olmoe-together',
  'glm4-moe-together',
  'glm4-moe-plain',
];

const folder = mkdtempSync(path.join(tmpdir(), 'lq-experts-'));
const native = loadNative(path.resolve('dist/native'));

const python = path.resolve('.deps/venv/bin/python');
const script = path.resolve('test/interop/language_models_moe.py');

beforeAll(async () => {
  const { stdout } = await promisify(execFile)(python, [script, folder]);
  expect(JSON.parse(stdout)).toEqual(CASES);
});
afterAll(() => rmSync(folder, { recursive: true }));

it.each(CASES)('%s computes what transformers computes', async name => {
  expect(await expectSameModel(native, folder, name)).toEqual([]);
});

it('compresses a mixture of experts: all its matrices, an expert that no token reached by name, as transformers reads it', () => {
  const [model, text, packed, dense] = ['model', 'text.txt', 'packed', 'dense'].map(name => path.join(folder, name));
  const words = Array.from({ length: 700 }, (_, i) => ['one', 'two', 'routed', 'experts,'][(i * i + (i >> 3)) % 4]);
  writeFileSync(text!, words.join(' '));
  execFileSync(python, [script, 'model', model!], { stdio: 'ignore' });
  const cli = (...args: string[]): Record<string, unknown> =>
    JSON.parse(
      execFileSync(process.execPath, ['dist/cli.js', ...args, '--json', '--cache', path.join(folder, 'cache')], {
        stdio: ['ignore', 'pipe', 'ignore'],
      }).toString(),
    ) as Record<string, unknown>;
  const report = cli(
    ...['compress', model!, '--out', packed!, '--bits', '4', '--calibration', text!, '--samples', '6'],
    ...['--context', '48', '--eval-text', text!, '--threads', '2', '--states', '12'],
  ) as unknown as {
    coverage: { left: { reason: string }[] };
    warnings: string[];
    before: { perplexity: number };
    after: { perplexity: number };
  };
  expect(report.coverage.left.map(({ reason }) => reason).sort()).toEqual([
    'norms, biases and other vectors',
    'routers of experts',
  ]);
  expect(report.warnings.join(' ')).toMatch(/No token .* reached .*layers\.1\.mlp\.experts\.5\.down_proj\.weight/);
  expect(report.after.perplexity / report.before.perplexity).toBeLessThan(1.1);

  cli('export', packed!, '--format', 'dense', '--out', dense!);
  const { perplexity } = cli('eval', dense!, '--text', text!, '--context', '48') as { perplexity: number };
  const theirs = JSON.parse(
    execFileSync(python, [script, 'losses', dense!, '48'], {
      input: words.join(' '),
      stdio: ['pipe', 'pipe', 'ignore'],
    }).toString(),
  ) as number[];
  const mean = theirs.reduce((sum, loss) => sum + loss, 0) / theirs.length;
  expect(Math.abs(Math.log(perplexity) - mean)).toBeLessThan(1e-5 * mean);
});
