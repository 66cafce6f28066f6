// GGUF files of the sizes that llama.cpp's quantiser makes, beside them: the added loss ln(perplexity / dense) of both on the
// first 300 windows of the evaluation text, and their ratio. llama.cpp's figures are recorded with what they were made of, or with
// --llama, an interpreter that has llama-cpp-python and gguf, made now, of any model: its quantiser with an importance matrix of the
// same text, and the perplexity of its file as this program reads it.
//   node test/bench/gguf.mjs [--types Q2_K,IQ2_XS,...] [--golden FILE] [--model DIR] [--calibration FILE] [--text FILE]
//                            [--llama PYTHON] [--windows 300] [--samples 256] [--device cpu] [--threads N] [--cache DIR] [--out DIR]
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { inRoot } from '../../scripts/lib.mjs';

/** Where the program's files are to be: at most this share of llama.cpp's added loss, up to 4.6 bits a weight. */
const TARGET = 2 / 3;
const TARGET_BITS = 4.6;

const shared = path.resolve('..', 'shared');
const { values } = parseArgs({
  options: {
    golden: { type: 'string', default: path.join(shared, 'golden', 'gguf-books-16m.json') },
    model: { type: 'string', default: path.join(shared, 'models', 'books-16m') },
    calibration: { type: 'string', default: path.join(shared, 'text', 'calib.txt') },
    text: { type: 'string', default: path.join(shared, 'text', 'eval.txt') },
    types: { type: 'string' },
    llama: { type: 'string' },
    windows: { type: 'string', default: '300' },
    samples: { type: 'string', default: '256' },
    device: { type: 'string', default: 'cpu' },
    threads: { type: 'string' },
    cache: { type: 'string' },
    out: { type: 'string' },
  },
});
const wanted = values.types?.split(',');
const work = values.out ?? mkdtempSync(path.join(os.tmpdir(), 'lq-gguf-bench-'));
mkdirSync(work, { recursive: true });
const common = {
  device: values.device,
  ...(values.threads !== undefined && { threads: values.threads }),
  cache: values.cache ?? path.join(work, 'cache'),
};
/** Runs the command line, and what it prints. */
function studio(words, flags) {
  const said = Object.entries({ ...flags, ...common }).flatMap(([name, value]) => [`--${name}`, value]);
  const options = { encoding: 'utf8', maxBuffer: 1e9, stdio: ['ignore', 'pipe', 'ignore'] };
  return JSON.parse(execFileSync(process.execPath, [inRoot('dist', 'cli.js'), ...words, ...said, '--json'], options));
}
const fileIn = folder =>
  path.join(
    folder,
    readdirSync(folder).find(name => name.endsWith('.gguf')),
  );
const rows = (values.llama === undefined ? recorded() : measured())
  .filter(row => row.imatrix && (wanted?.includes(row.type) ?? true))
  .sort((a, b) => a.file_bytes - b.file_bytes);
if (rows.length === 0) throw new Error(`No type of ${values.golden} is among ${values.types}.`);

function recorded() {
  return JSON.parse(readFileSync(values.golden, 'utf8')).rows;
}

function measured() {
  if (wanted === undefined) throw new Error('--llama needs --types.');
  const [source, peers] = ['source', 'llama.cpp'].map(name => path.join(work, name));
  studio(['export', values.model, '--overwrite'], { format: 'gguf', out: source });
  const imatrix = path.join(work, 'imatrix.gguf');
  const statistics = path.join(work, 'statistics.safetensors');
  studio(['calibrate', values.model], {
    ...{ calibration: values.calibration, samples: values.samples, out: statistics, imatrix },
  });
  mkdirSync(peers, { recursive: true });
  const script = inRoot('test', 'bench', 'llama_quantize.py');
  const sizes = JSON.parse(
    execFileSync(values.llama, [script, fileIn(source), imatrix, peers, ...wanted], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  );
  const evaluate = model => studio(['eval', model], { text: values.text, windows: values.windows }).perplexity;
  const dense = evaluate(values.model);
  return wanted.map(type => {
    const inspected = studio(['inspect', path.join(peers, `${type}.gguf`)], {});
    return {
      ...{ type, imatrix: true, file_bytes: sizes[type], dense_ppl: dense, windows: Number(values.windows) },
      ...{ ppl_all: evaluate(path.join(peers, `${type}.gguf`)), block_bpw: blockBits(inspected) },
    };
  });
}

/** Bits of a weight of the blocks' matrices. */
function blockBits({ layers }) {
  const blocks = layers.filter(({ layer, shape }) => layer >= 0 && shape.length > 1);
  const sum = key => blocks.reduce((total, each) => total + each[key], 0);
  return (8 * sum('bytes')) / sum('parameters');
}

const cells = (...texts) =>
  console.log(texts.map((text, i) => (i === 0 ? text.padEnd(8) : text.padStart(11))).join(' '));
let missed = 0;
try {
  cells('size of', 'bytes', 'llama.cpp', 'ours bytes', 'perplexity', 'added', 'theirs', 'ratio', 'seconds');
  for (const row of rows) {
    const started = performance.now();
    const out = path.join(work, row.type);
    const report = studio(['compress', values.model, '--overwrite'], {
      out,
      for: 'gguf',
      size: `${row.file_bytes}B`,
      calibration: values.calibration,
      samples: values.samples,
      'eval-text': values.text,
      windows: `${row.windows}`,
    });
    const { size } = statSync(fileIn(out));
    if (size !== report.bytes || size > row.file_bytes)
      throw new Error(`${row.type}: ${size} bytes, planned ${report.bytes}, allowed ${row.file_bytes}.`);
    const dense = report.before.perplexity;
    if (Math.abs(dense / row.dense_ppl - 1) > 1e-3)
      throw new Error(`The original has perplexity ${dense}, recorded is ${row.dense_ppl}: not the same windows.`);
    const added = Math.log(report.after.perplexity / dense);
    const theirs = Math.log(row.ppl_all / row.dense_ppl);
    const ratio = added / theirs;
    if (row.block_bpw <= TARGET_BITS && ratio > TARGET) missed++;
    cells(
      row.type,
      `${row.file_bytes}`,
      row.ppl_all.toFixed(3),
      `${size}`,
      report.after.perplexity.toFixed(3),
      added.toFixed(5),
      theirs.toFixed(5),
      ratio.toFixed(3),
      ((performance.now() - started) / 1000).toFixed(0),
    );
  }
} finally {
  if (values.out === undefined) rmSync(work, { recursive: true, force: true });
}
if (missed > 0) {
  console.error(`${missed} of ${rows.length} add more than ${TARGET.toFixed(2)} of llama.cpp's loss.`);
  process.exitCode = 1;
}
