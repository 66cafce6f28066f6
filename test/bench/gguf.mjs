// GGUF files of the sizes that llama.cpp's quantiser makes, beside them: the added loss ln(perplexity / dense) of both on the
// first 300 windows of the evaluation text, and their ratio. llama.cpp's figures are recorded with what they were made of.
//   node test/bench/gguf.mjs [--types Q2_K,IQ2_XS,...] [--golden FILE] [--model DIR] [--calibration FILE] [--text FILE]
//                            [--samples 256] [--device cpu] [--threads N] [--cache DIR] [--out DIR]
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
    samples: { type: 'string', default: '256' },
    device: { type: 'string', default: 'cpu' },
    threads: { type: 'string' },
    cache: { type: 'string' },
    out: { type: 'string' },
  },
});
const wanted = values.types?.split(',');
const rows = JSON.parse(readFileSync(values.golden, 'utf8'))
  .rows.filter(row => row.imatrix && (wanted?.includes(row.type) ?? true))
  .sort((a, b) => a.file_bytes - b.file_bytes);
if (rows.length === 0) throw new Error(`No type of ${values.golden} is among ${values.types}.`);
const work = values.out ?? mkdtempSync(path.join(os.tmpdir(), 'lq-gguf-bench-'));
mkdirSync(work, { recursive: true });
const cells = (...texts) =>
  console.log(texts.map((text, i) => (i === 0 ? text.padEnd(8) : text.padStart(11))).join(' '));
let missed = 0;
try {
  cells('size of', 'bytes', 'llama.cpp', 'ours bytes', 'perplexity', 'added', 'theirs', 'ratio', 'seconds');
  for (const row of rows) {
    const started = performance.now();
    const out = path.join(work, row.type);
    const words = {
      out,
      for: 'gguf',
      size: `${row.file_bytes}B`,
      calibration: values.calibration,
      samples: values.samples,
      'eval-text': values.text,
      windows: `${row.windows}`,
      device: values.device,
      ...(values.threads !== undefined && { threads: values.threads }),
      cache: values.cache ?? path.join(work, 'cache'),
    };
    const flags = Object.entries(words).flatMap(([name, value]) => [`--${name}`, value]);
    const cli = [inRoot('dist', 'cli.js'), 'compress', values.model, ...flags, '--overwrite', '--json'];
    const report = JSON.parse(
      execFileSync(process.execPath, cli, { encoding: 'utf8', maxBuffer: 1e9, stdio: ['ignore', 'pipe', 'ignore'] }),
    );
    const file = readdirSync(out).find(name => name.endsWith('.gguf'));
    const { size } = statSync(path.join(out, file));
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
