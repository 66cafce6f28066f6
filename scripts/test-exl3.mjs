// GPTQModel (from PyPI, built once into .deps/gptqmodel) loads what `compress --for exl3` writes, on the CPU, and gives the logits of
// the same weights as this program decodes them: to the rounding of the codes' values to fp16, which GPTQModel leaves out.
//   node scripts/test-exl3.mjs [--python PYTHON] [FOLDER ORIGINAL]    by default a mixed folder of the sample checkpoint
// PYTHON is an interpreter that has GPTQModel.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { deps, inRoot } from './lib.mjs';
import { environmentBuiltFor, environmentFor } from './python.mjs';

/** Of a weight, in units of its matrix's root mean square, of one whose code's values are rounded as ours are, and of a logit. */
const ROUNDING = { weight: 5e-3, rounded: 2e-6, logit: 1e-2 };

const { values, positionals } = parseArgs({ options: { python: { type: 'string' } }, allowPositionals: true });
const python = values.python ?? withGptqModel();
const sample = inRoot('media', 'sample', 'tiny-books-4m');
const work = mkdtempSync(path.join(os.tmpdir(), 'lq-exl3-'));
try {
  const [folder = compressed(), original = sample] = positionals;
  const dense = path.join(work, 'dense');
  studio('export', folder, '--format', 'dense', '--dtype', 'fp32', '--out', dense);
  const script = inRoot('test', 'interop', 'gptqmodel', 'logits.py');
  const printed = execFileSync(python, [script, ...[folder, dense, original].map(each => path.resolve(each))], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { bits, weights, rounded, decoded, original: moved } = JSON.parse(printed.trim().split('\n').at(-1));
  const widths = [...new Set(Object.values(bits))].sort();
  console.log(`${Object.keys(bits).length} modules of ${widths.join(', ')} bits; from this program's decoding`);
  console.log(
    `weights ${weights.toExponential(1)} (${rounded.toExponential(1)} with values in fp16) and logits ${decoded.toExponential(1)} apart, from the original ${moved.toFixed(2)}`,
  );
  const checks = {
    'several widths are mixed': positionals.length > 0 || widths.length > 1,
    'weights agree': weights < ROUNDING.weight,
    'weights are the same where values are rounded': rounded < ROUNDING.rounded,
    'logits agree': decoded < ROUNDING.logit,
    'logits are not those of the original': moved > 10 * decoded,
  };
  const failed = Object.entries(checks).filter(([, right]) => !right);
  for (const [what] of failed) console.error(`Not so: ${what}.`);
  console.log(`${Object.keys(checks).length - failed.length} passed, ${failed.length} failed`);
  process.exitCode = failed.length === 0 ? 0 : 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** The attention of two layers of the sample, whose other sides 128 does not divide. */
function compressed() {
  const out = path.join(work, 'exl3');
  const text = ['--calibration', inRoot('media', 'sample', 'calibration.txt'), '--samples', '8', '--context', '256'];
  const layers = ['--include', 'model.layers.0.*', '--include', 'model.layers.1.*'];
  studio('compress', sample, '--for', 'exl3', '--effective-bits', '2.6', ...layers, ...text, '--out', out);
  return out;
}

/** Runs the command line with a cache of its own; what it prints is shown where it fails alone. */
function studio(...args) {
  const words = [inRoot('dist', 'cli.js'), ...args, '--cache', path.join(work, 'cache')];
  execFileSync(process.execPath, words, { stdio: ['ignore', 'ignore', 'inherit'] });
}

function withGptqModel() {
  const peers = environmentFor(path.join(deps, 'venv'), inRoot('test', 'interop', 'requirements.txt'));
  const requirements = inRoot('test', 'interop', 'gptqmodel', 'requirements.txt');
  return environmentBuiltFor(path.join(deps, 'gptqmodel'), requirements, peers);
}
