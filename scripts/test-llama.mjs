// llama.cpp reads what `compress --for gguf` writes: same tokens, and a perplexity that differs from that of transformers, which
// computes with the file's weights in fp32, by what llama.cpp rounds activations to (8 bits) alone.
//   node scripts/test-llama.mjs [FILE.gguf [TEXT]]    by default a mixed file of the sample checkpoint
// The binding is built from source once, into .deps/llama.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { deps, inRoot, run } from './lib.mjs';
import { environmentBuiltFor, environmentFor } from './python.mjs';

/** Windows of 512 tokens. */
const WINDOWS = 4;
/** Share of a perplexity that activations of 8 bits change. */
const TOLERANCE = 0.01;

const peers = environmentFor(path.join(deps, 'venv'), inRoot('test', 'interop', 'requirements.txt'));
const requirements = inRoot('test', 'interop', 'llama', 'requirements.txt');
const python = environmentBuiltFor(path.join(deps, 'llama'), requirements, peers);
const sample = name => inRoot('media', 'sample', name);
const work = mkdtempSync(path.join(os.tmpdir(), 'lq-llama-'));
try {
  const [given, text = sample('evaluation.txt')] = process.argv.slice(2);
  const file = given ?? compressed();
  const script = inRoot('test', 'interop', 'llama', 'perplexity.py');
  const printed = execFileSync(python, [script, path.resolve(file), path.resolve(text), `${WINDOWS}`], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const found = JSON.parse(printed);
  const apart = Math.abs(found.llama / found.transformers - 1);
  console.log(`${path.basename(file)}: perplexity ${found.llama.toFixed(4)} in llama.cpp,`);
  console.log(`${found.transformers.toFixed(4)} in transformers, ${(100 * apart).toFixed(3)} % apart`);
  const passed = [found.sameTokens, apart < TOLERANCE].filter(Boolean).length;
  if (!found.sameTokens) console.error('llama.cpp makes other tokens of the text.');
  if (apart >= TOLERANCE) console.error(`More than ${100 * TOLERANCE} % apart.`);
  console.log(`${passed} passed, ${2 - passed} failed`);
  process.exitCode = passed === 2 ? 0 : 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** A file of several types: two layers of the sample, embedding and head. */
function compressed() {
  const out = path.join(work, 'gguf');
  const cli = [inRoot('dist', 'cli.js'), 'compress', sample('tiny-books-4m'), '--for', 'gguf', '--size', '5.4MB'];
  const layers = ['--include', 'model.layers.0.*', '--include', 'model.layers.1.*'];
  const calibration = ['--calibration', sample('calibration.txt'), '--samples', '8'];
  run(process.execPath, [...cli, ...layers, ...calibration, '--out', out, '--cache', path.join(work, 'cache')]);
  return path.join(
    out,
    readdirSync(out).find(name => name.endsWith('.gguf')),
  );
}
