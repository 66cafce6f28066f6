// llama.cpp reads what `compress --for gguf` writes: same tokens, and a perplexity that differs from that of transformers, which
// computes with the file's weights in fp32, by what llama.cpp rounds activations to (8 bits) alone.
//   node scripts/test-llama.mjs [FILE.gguf [TEXT]]    by default a mixed file of the sample checkpoint, and after it small random
//                                                     models of every family that can be written, one of them in parts
// The binding is built from source once, into .deps/llama.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { deps, inRoot, run } from './lib.mjs';
import { environmentBuiltFor, environmentFor } from './python.mjs';

/** Windows of 512 tokens. */
const WINDOWS = 4;
/** Relative RMS of differences of logits in fp32. GELU comes from a table in fp16 there. */
const EXACT = 1e-5;
const BY_TABLE = 2e-3;
const WITH_GELU = /^(?:gemma|starcoder2|gpt|falcon|bloom|mpt|phi)/;
/** Written in parts of this many bytes. */
const SPLIT = { llama: 600_000 };
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
  const others = given === undefined ? [testFamilies(), testAdapter()] : [];
  if (!found.sameTokens) console.error('llama.cpp makes other tokens of the text.');
  if (apart >= TOLERANCE) console.error(`More than ${100 * TOLERANCE} % apart.`);
  const failed = others.reduce((sum, each) => sum + each.failed, 2 - passed);
  console.log(`${others.reduce((sum, each) => sum + each.passed, passed)} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** A model of each family, written in fp32, has the logits in llama.cpp that transformers makes of its checkpoint. */
function testFamilies() {
  const folder = path.join(work, 'families');
  mkdirSync(folder);
  const cases = families(path.join(deps, 'venv', 'bin', 'python'), 'make', folder, sample('tiny-books-4m'));
  for (const name of cases) {
    const out = path.join(folder, `${name}-gguf`);
    const split = name in SPLIT ? ['--split-size', `${SPLIT[name]}`] : [];
    studio('export', path.join(folder, name), '--format', 'gguf', '--dtype', 'fp32', ...split, '--out', out);
    if (name in SPLIT && readdirSync(out).filter(file => file.endsWith('.gguf')).length < 2)
      throw new Error(`${name} was not written in parts.`);
  }
  const found = families(python, 'compare', folder, ...cases);
  const wrong = cases.filter(name => !(found[name] < (WITH_GELU.test(name) ? BY_TABLE : EXACT)));
  for (const name of cases)
    console.log(`  ${name}: ${typeof found[name] === 'number' ? found[name].toExponential(1) : found[name]}`);
  if (wrong.length > 0) console.error(`Other logits in llama.cpp, or not loaded: ${wrong.join(', ')}.`);
  return { passed: cases.length - wrong.length, failed: wrong.length };
}

/** A low-rank part as an adapter beside its base gives the logits of the two in one file, and the base alone does not. */
function testAdapter() {
  const [packed, whole, parts] = ['packed', 'whole', 'parts'].map(name => path.join(work, name));
  const method = ['--method', 'lq-lora', '--bits', '2.75', '--rank', '8', '--plain', '--iterations', '4'];
  studio('compress', sample('tiny-books-4m'), ...method, '--out', packed);
  for (const [format, out] of Object.entries({ gguf: whole, 'gguf-lora': parts }))
    studio('export', packed, '--format', format, '--dtype', 'fp32', '--out', out);
  const [together, alone] = families(
    python,
    'adapter',
    path.join(whole, 'packed.gguf'),
    path.join(parts, 'base', 'packed.gguf'),
    path.join(parts, 'packed-lora.gguf'),
  );
  console.log(`  base and LoRA: ${together.toExponential(1)}, base alone: ${alone.toExponential(1)}`);
  const right = together < EXACT && alone > 0.1;
  if (!right) console.error('A base with its adapter has other logits in llama.cpp than the two in one file.');
  return { passed: right ? 1 : 0, failed: right ? 0 : 1 };
}

/** Runs the command line with a cache of its own; what it prints is shown where it fails alone. */
function studio(...args) {
  const words = [inRoot('dist', 'cli.js'), ...args, '--cache', path.join(work, 'cache')];
  execFileSync(process.execPath, words, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** What test/interop/llama/families.py prints. */
function families(program, ...args) {
  const script = inRoot('test', 'interop', 'llama', 'families.py');
  const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1e8 };
  return JSON.parse(execFileSync(program, [script, ...args], options));
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
