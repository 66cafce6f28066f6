/** Families from compression to stock transformers: coverage, perplexity before and after, equal losses of what is exported. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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

/** Runs a program that prints what is read as JSON. Asynchronous, so that the test runner's own messages are answered meanwhile. */
async function run(command: string, args: readonly string[], input?: unknown): Promise<unknown> {
  const running = promisify(execFile)(command, args, { encoding: 'utf8', maxBuffer: 1e9 });
  running.child.stdin!.end(input === undefined ? '' : JSON.stringify(input));
  const { stdout } = await running;
  return stdout === '' ? undefined : JSON.parse(stdout);
}

const cli = (...args: string[]): Promise<unknown> =>
  run(process.execPath, ['dist/cli.js', ...args, '--json', '--cache', path.join(folder, 'cache')]);

/** The windows that our evaluation of a checkpoint reads. */
async function windowsOf(checkpoint: string): Promise<unknown> {
  const index = await openCheckpoint(nodeFiles, checkpoint);
  const { config, masked } = describeModel(index);
  const tokenizer = await TextTokenizer.ofCheckpoint({ files: nodeFiles, native }, index);
  const windows = await readWindows(nodeFiles, tokenizer, config.vocab, text, { context: CONTEXT, masked });
  const { tokens, context, mask } = windows;
  return { folder: checkpoint, tokens: [...tokens], context, mask };
}

/** One process for all: it takes seconds to begin. */
const peer = (command: string, input: unknown): Promise<unknown> => run(python, [script, command], input);

const NAMES = [
  'gemma3',
  'phi3',
  'roberta',
  // Their matrices are stored the other way round, and experts several in one tensor.
  'gpt2',
  'gpt-oss',
  'llama4',
] as const;
/** What is no part of the language model. */
const OUTSIDE = /^model\.vision_tower|^model\.multi_modal|^vision/;
const folderOf = (name: string, what: 'model' | 'packed' | 'dense'): string => path.join(folder, `${name}-${what}`);

beforeAll(async () => {
  await peer('models', Object.fromEntries(NAMES.map(name => [name, folderOf(name, 'model')])));
});

describe.each(NAMES)('%s', name => {
  it('is compressed whole, and exported', async () => {
    const include = name === 'gemma3' ? ['--exclude', '*vision*', '--exclude', '*multi_modal*'] : [];
    const report = (await cli(
      ...['compress', folderOf(name, 'model'), '--out', folderOf(name, 'packed'), '--bits', '4', ...include],
      ...['--calibration', text, '--samples', '6', '--context', String(CONTEXT)],
      ...['--eval-text', text, '--threads', '2', '--states', '12'],
    )) as Report;
    const left = report.coverage.left.filter(({ example }) => name !== 'gemma3' || !OUTSIDE.test(example));
    const routers = name === 'gpt-oss' || name === 'llama4' ? ['routers of experts'] : [];
    expect(left.map(({ reason }) => reason).sort()).toEqual(['norms, biases and other vectors', ...routers]);
    expect(report.after.perplexity / report.before.perplexity).toBeLessThan(1.2);
    await cli('export', folderOf(name, 'packed'), '--format', 'dense', '--out', folderOf(name, 'dense'));
  });
});

describe('what is exported computes in transformers what is reported', () => {
  let losses: Record<string, number[]>;
  beforeAll(async () => {
    const dense = NAMES.map(name => folderOf(name, 'dense')).filter(exported => existsSync(exported));
    losses = (await peer('losses', await Promise.all(dense.map(windowsOf)))) as typeof losses;
  });

  it.each(NAMES)('%s', async name => {
    const dense = folderOf(name, 'dense');
    const evaluated = (await cli('eval', dense, '--text', text, '--context', String(CONTEXT))) as {
      perplexity: number;
      warnings: string[];
    };
    const theirs = losses[dense]!;
    const expected = theirs.reduce((sum, loss) => sum + loss, 0) / theirs.length;
    expect(Math.abs(Math.log(evaluated.perplexity) - expected)).toBeLessThan(1e-5 * expected);
    expect(/pseudo-perplexity/.test(evaluated.warnings.join())).toBe(name === 'roberta');
  });
});
