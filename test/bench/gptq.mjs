// GPTQ as people run it (GPTQModel from PyPI, on the CPU) and this program, on one model, one calibration text and in one run:
// perplexity of GPTQModel's checkpoint at each of its sizes beside ours with 0.75 bit less a weight. GPTQModel's weights are put
// together in fp32 and checked against its own runtime; both checkpoints are evaluated by the same program on the same windows.
//   node test/bench/gptq.mjs --python PYTHON --model DIR --calibration FILE --text FILE
//     [--sizes 2/64,2/32,3/128,3/32,4/128] [--samples 256] [--windows N] [--device cpu] [--cache DIR] [--out DIR]
// PYTHON is an interpreter with torch, transformers and gptqmodel.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { inRoot } from '../../scripts/lib.mjs';

const LESS = 0.75;
/** GPTQModel computes in bfloat16. */
const SAME = 0.02;

const { values } = parseArgs({
  options: {
    python: { type: 'string', default: 'python3' },
    model: { type: 'string' },
    calibration: { type: 'string' },
    text: { type: 'string' },
    sizes: { type: 'string', default: '2/64,2/32,3/128,3/32,4/128' },
    samples: { type: 'string', default: '256' },
    windows: { type: 'string' },
    device: { type: 'string', default: 'cpu' },
    cache: { type: 'string' },
    out: { type: 'string' },
  },
});
const { model, calibration, text } = values;
if (!model || !calibration || !text) {
  console.error('--model DIR, --calibration FILE and --text FILE are required.');
  process.exit(2);
}
const work = values.out ?? mkdtempSync(path.join(os.tmpdir(), 'lq-gptq-'));
mkdirSync(work, { recursive: true });

const run = (program, args) =>
  JSON.parse(
    execFileSync(program, args, { encoding: 'utf8', maxBuffer: 1e9, stdio: ['ignore', 'pipe', 'inherit'] })
      .trim()
      .split('\n')
      .at(-1),
  );
const studio = (...args) => {
  const settings = ['--device', values.device, '--cache', values.cache ?? path.join(work, 'cache'), '--json'];
  const cli = [inRoot('dist', 'cli.js'), ...args, ...settings];
  return JSON.parse(
    execFileSync(process.execPath, cli, { encoding: 'utf8', maxBuffer: 1e9, stdio: ['ignore', 'pipe', 'ignore'] }),
  );
};
const windows = values.windows === undefined ? [] : ['--windows', values.windows];
const cells = (...texts) => console.log(texts.map((each, i) => `${each}`.padStart(i === 0 ? 7 : 12)).join(''));

let missed = 0;
try {
  cells('GPTQ', 'bits', 'perplexity', 'ours bits', 'perplexity', 'dense');
  for (const size of values.sizes.split(',')) {
    const [bits, group] = size.split('/');
    const theirs = path.join(work, `gptq-${bits}-${group}`);
    rmSync(theirs, { recursive: true, force: true });
    const made = run(values.python, [
      ...[inRoot('test', 'bench', 'gptq.py'), model, calibration, theirs],
      ...['--bits', bits, '--group', group, '--samples', values.samples],
    ]);
    if (!(made.error < SAME)) throw new Error(`${size}: GPTQModel computes with other weights, ${made.error}.`);
    const gptq = studio('eval', path.join(theirs, 'dense'), '--text', text, ...windows);
    const out = path.join(work, `ours-${bits}-${group}`);
    const ours = studio(
      ...['compress', model, '--out', out, '--overwrite', '--effective-bits', `${made.bits - LESS}`],
      ...['--calibration', calibration, '--samples', values.samples, '--eval-text', text, ...windows],
    );
    if (ours.effectiveBits > made.bits - LESS) throw new Error(`${size}: ours has ${ours.effectiveBits} bits.`);
    if (ours.after.perplexity > gptq.perplexity) missed++;
    const fixed = number => number.toFixed(3);
    cells(
      size,
      ...[made.bits, gptq.perplexity, ours.effectiveBits, ours.after.perplexity, ours.before.perplexity].map(fixed),
    );
  }
} finally {
  if (values.out === undefined) rmSync(work, { recursive: true, force: true });
}
if (missed > 0) {
  console.error(`${missed} sizes are worse than GPTQ's with ${LESS} bit more.`);
  process.exitCode = 1;
}
