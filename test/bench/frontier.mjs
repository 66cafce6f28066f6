// Perplexity by exported bits, model by model, beside what was measured with PyTorch (256 calibration windows of 512 tokens;
// all windows of the evaluation text, of SmolLM2-135M the first 240): the trellis set without and with the second pass. Needs
// Node and dist/ alone. Statistics and costs are kept in --cache for the next budget and the next run.
//   node test/bench/frontier.mjs MODEL... --calibration FILE --eval-text FILE
//     [--bits 2,2.25,...] [--passes first,second] [--samples 256] [--device cpu] [--out DIR] [--cache DIR] [--json FILE]
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const BITS = [2, 2.25, 2.5, 2.75, 3, 3.5, 4];
/** By the name of the folder: first pass, and with the second pass at alpha = 0.5 where it was measured. */
const MEASURED = {
  'tiny-books-4m': {
    first: [29.06, 25.64, 23.82, 22.78, 22.14, 21.34, 20.94],
    second: [27.23, 24.75, 23.28, 22.38, 21.74],
  },
  'books-16m': {
    first: [30.29, 28.98, 28.25, 27.89, 27.55, 27.3, 27.15],
    second: [29.45, 28.5, 28.03, 27.68, 27.43],
  },
  'books-20m': { first: [38.36, 36.11, 35.05, 34.4, 33.74, 33.31, 33.15], second: [] },
  'SmolLM2-135M': { first: [73.5, 60.4, 54.9, 50.6, 48.0, 45.3, 44.2], second: [], windows: 240 },
};
/** Different random signs and another permutation of values move perplexity by less than this. */
const TOLERANCE = 0.01;

const { values, positionals: models } = parseArgs({
  allowPositionals: true,
  options: {
    calibration: { type: 'string' },
    'eval-text': { type: 'string' },
    bits: { type: 'string', default: BITS.join() },
    passes: { type: 'string', default: 'first,second' },
    samples: { type: 'string', default: '256' },
    windows: { type: 'string' },
    device: { type: 'string', default: 'cpu' },
    out: { type: 'string' },
    cache: { type: 'string' },
    json: { type: 'string' },
    'tail-biting': { type: 'boolean', default: false },
  },
});
if (models.length === 0 || values.calibration === undefined || values['eval-text'] === undefined) {
  console.error('MODEL..., --calibration FILE and --eval-text FILE are required.');
  process.exit(2);
}
const work = values.out ?? mkdtempSync(path.join(os.tmpdir(), 'lq-frontier-'));
mkdirSync(work, { recursive: true });
const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const rows = [];

/** What `lq-studio compress` reports. */
function compress(args) {
  const { status, stdout } = spawnSync(process.execPath, [cli, 'compress', ...args, '--json'], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const report = stdout === '' ? {} : JSON.parse(stdout);
  if (status !== 0) throw new Error(report.error?.message ?? `lq-studio compress ended with ${status}.`);
  return report;
}

function measure(model, bits, pass) {
  const name = path.basename(path.resolve(model));
  const known = MEASURED[name];
  const windows = values.windows ?? known?.windows;
  const out = path.resolve(work, `${name}-${bits}-${pass}`);
  const report = compress([
    ...[path.resolve(model), '--out', out, '--overwrite', '--effective-bits', String(bits)],
    ...['--calibration', values.calibration, '--samples', values.samples, '--eval-text', values['eval-text']],
    ...['--device', values.device, '--cache', values.cache ?? path.join(work, 'cache')],
    pass === 'second' ? '--second-pass' : '--no-second-pass',
    ...(windows === undefined ? [] : ['--windows', String(windows)]),
    ...(values['tail-biting'] ? ['--tail-biting'] : []),
  ]);
  rmSync(out, { recursive: true });
  const { perplexity, kl } = report.after;
  // Figures are of their own windows.
  const comparable = values.windows === undefined || Number(values.windows) === known?.windows;
  const expected = comparable ? known?.[pass]?.[BITS.indexOf(bits)] : undefined;
  return {
    ...{ model: name, bits, pass, effectiveBits: report.effectiveBits, dense: report.before.perplexity, perplexity },
    ...{ kl: kl.mean, objective: report.objective, gap: report.gap, costs: report.costs, seconds: report.seconds },
    ...(expected !== undefined && { expected, over: perplexity / expected - 1 }),
  };
}

function line({ model, bits, effectiveBits, pass, perplexity, expected, over, dense, kl, gap, costs, seconds }) {
  const stages = Object.entries(seconds).map(([stage, spent]) => `${stage} ${spent.toFixed(1)} s`);
  return [
    `${model}  ${bits} bits (${effectiveBits.toFixed(4)})  ${pass} pass  ${perplexity.toFixed(3)}`,
    ...(over === undefined ? [] : [`measured ${expected}, ${over > 0 ? '+' : ''}${(100 * over).toFixed(2)} %`]),
    `dense ${dense.toFixed(3)}  KL ${kl.toFixed(4)}  gap ${gap.toExponential(1)}`,
    `costs measured ${costs.measured}, predicted ${costs.predicted}  ${stages.join(', ')}`,
  ].join('  ');
}

try {
  for (const model of models) {
    for (const bits of values.bits.split(',').map(Number)) {
      for (const pass of values.passes.split(',')) {
        rows.push(measure(model, bits, pass));
        console.log(line(rows.at(-1)));
        if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(rows, null, 1));
      }
    }
  }
} finally {
  if (values.out === undefined) rmSync(work, { recursive: true, force: true });
}
const missed = rows.filter(({ over }) => over > TOLERANCE).length;
if (missed > 0) {
  console.error(`${missed} figures are more than ${100 * TOLERANCE} % above what was measured.`);
  process.exitCode = 1;
}
