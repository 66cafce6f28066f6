/** Families from compression to stock transformers: coverage, perplexity before and after, equal losses of what is exported. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { describeModel } from '../../extension/core/evaluation/language-model';
import { TextTokenizer } from '../../extension/core/evaluation/tokenizer';
import { readWindows } from '../../extension/core/evaluation/windows';
import { openCheckpoint } from '../../extension/core/logical/open';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';

const folder = mkdtempSync(path.join(tmpdir(), 'lq-families-'));
const native = loadNative(path.resolve('dist/native'));
const python = path.resolve('.deps/venv/bin/python');
const script = path.resolve('test/interop/language_models_compressed.py');
const text = path.join(folder, 'text.txt');
const CONTEXT = 48;

writeFileSync(text, readFileSync('media/sample/calibration.txt', 'utf8').slice(0, 4000));
afterAll(() => rmSync(folder, { recursive: true }));

interface Report {
  coverage: { left: { reason: string; example: string }[] };
  warnings: string[];
  before: { perplexity: number };
  after: { perplexity: number };
}

const cli = (...args: string[]): unknown =>
  JSON.parse(
    execFileSync(process.execPath, ['dist/cli.js', ...args, '--json', '--cache', path.join(folder, 'cache')], {
      stdio: ['ignore', 'pipe', 'ignore'],
    }).toString(),
  );

/** Mean loss by transformers of the windows that our evaluation reads. */
async function theirLoss(checkpoint: string): Promise<number> {
  const index = await openCheckpoint(nodeFiles, checkpoint);
  const { config, masked } = describeModel(index);
  const tokenizer = await TextTokenizer.ofCheckpoint({ files: nodeFiles, native }, index);
  const windows = await readWindows(nodeFiles, tokenizer, config.vocab, text, { context: CONTEXT, masked });
  const { tokens, context, mask } = windows;
  const output = execFileSync(python, [script, 'losses', checkpoint], {
    input: JSON.stringify({ tokens: [...tokens], context, mask }),
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const losses = JSON.parse(output.toString()) as number[];
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

describe.each([
  ['gemma3', ['--calibration', text, '--samples', '6'], /^model\.vision_tower|^model\.multi_modal|^vision/],
  ['phi3', ['--calibration', text, '--samples', '6'], undefined],
  ['roberta', ['--calibration', text, '--samples', '6'], undefined],
  // Their matrices are stored the other way round, and experts several in one tensor.
  ['gpt2', ['--calibration', text, '--samples', '6'], undefined],
  ['gpt-oss', ['--calibration', text, '--samples', '6'], undefined],
  ['llama4', ['--calibration', text, '--samples', '6'], undefined],
] as const)('%s', (name, options, outside) => {
  const [model, packed, dense] = ['model', 'packed', 'dense'].map(what => path.join(folder, `${name}-${what}`));

  it('is compressed whole, and what is exported computes in transformers what is reported', async () => {
    execFileSync(python, [script, 'model', name, model!], { stdio: 'ignore' });
    const include = outside ? ['--exclude', '*vision*', '--exclude', '*multi_modal*'] : [];
    const report = cli(
      ...['compress', model!, '--out', packed!, '--bits', '4', ...options, ...include, '--context', String(CONTEXT)],
      ...['--eval-text', text, '--threads', '2', '--states', '12'],
    ) as Report;
    const left = report.coverage.left.filter(({ example }) => outside?.test(example) !== true);
    const routers = name === 'gpt-oss' || name === 'llama4' ? ['routers of experts'] : [];
    expect(left.map(({ reason }) => reason).sort()).toEqual(['norms, biases and other vectors', ...routers]);
    expect(report.after.perplexity / report.before.perplexity).toBeLessThan(1.2);

    cli('export', packed!, '--format', 'dense', '--out', dense!);
    const evaluated = cli('eval', dense!, '--text', text, '--context', String(CONTEXT)) as {
      perplexity: number;
      warnings: string[];
    };
    const expected = await theirLoss(dense!);
    expect(Math.abs(Math.log(evaluated.perplexity) - expected)).toBeLessThan(1e-5 * expected);
    expect(/pseudo-perplexity/.test(evaluated.warnings.join())).toBe(name === 'roberta');
  });
});
