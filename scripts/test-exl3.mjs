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

/** Of weights and logits, in units of their root mean square: of stock GPTQModel, and where it rounds values of the code as we do. */
const STOCK = { weights: 5e-3, logits: 5e-3 };
const ROUNDED = { weights: 5e-5, logits: 1e-4 };

const { values, positionals } = parseArgs({ options: { python: { type: 'string' } }, allowPositionals: true });
const python = values.python ?? withGptqModel();
const sample = inRoot('media', 'sample', 'tiny-books-4m');
const work = mkdtempSync(path.join(os.tmpdir(), 'lq-exl3-'));
try {
  const [folder = compressed(), original = sample] = positionals;
  const dense = path.join(work, 'dense');
  studio('export', folder, '--format', 'dense', '--dtype', 'fp32', '--out', dense);
  const script = inRoot('test', 'interop', 'exl3', 'logits.py');
  const printed = execFileSync(python, [script, ...[folder, dense, original].map(each => path.resolve(each))], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { bits, stock, rounded, original: moved } = JSON.parse(printed.trim().split('\n').at(-1));
  const widths = [...new Set(Object.values(bits))].sort();
  const say = ({ weights, logits }) => `weights ${weights.toExponential(1)}, logits ${logits.toExponential(1)}`;
  console.log(`${Object.keys(bits).length} modules of ${widths.join(', ')} bits; apart from this program's decoding:`);
  console.log(`${say(stock)}; with values in fp16 ${say(rounded)}; logits of the original ${moved.toFixed(2)}`);
  const within = (found, limits) => found.weights < limits.weights && found.logits < limits.logits;
  const checks = {
    'several widths are mixed': positionals.length > 0 || widths.length > 1,
    'weights and logits agree to the rounding of values': within(stock, STOCK),
    'weights and logits are the same where values are rounded': within(rounded, ROUNDED),
    'logits are not those of the original': moved > 10 * stock.logits,
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
  const requirements = inRoot('test', 'interop', 'exl3', 'requirements.txt');
  return environmentBuiltFor(path.join(deps, 'gptqmodel'), requirements, peers);
}
