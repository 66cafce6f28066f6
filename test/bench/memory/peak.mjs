// Peak memory of sweep, decomposition and export, the sum over all processes, against the promise of three times the
// largest matrix in fp32 plus 300 MB, whatever the checkpoint's size.
//   npm run bench:memory -- [--model DIR]      without --model: a synthetic checkpoint of 2 GB is made and removed
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { connectEngine } from '../../../scripts/engine-client.mjs';

const { values } = parseArgs({ options: { model: { type: 'string' } } });
const work = mkdtempSync(path.join(tmpdir(), 'lq-memory-'));
const ROWS = 11008;
const COLS = 4096;
const MATRICES = 22;

/** 22 bf16 matrices of 11008 x 4096 in one file: random signs, exponents and mantissas around 0.02. */
function synthetic() {
  const header = { __metadata__: { format: 'pt' } };
  const bytes = ROWS * COLS * 2;
  for (let layer = 0; layer < MATRICES; layer++)
    header[`model.layers.${layer}.mlp.up_proj.weight`] = {
      dtype: 'BF16',
      shape: [ROWS, COLS],
      data_offsets: [layer * bytes, (layer + 1) * bytes],
    };
  let text = JSON.stringify(header);
  text = text.padEnd(Math.ceil(text.length / 8) * 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = path.join(work, 'model.safetensors');
  const out = openSync(file, 'w');
  writeSync(out, Buffer.concat([length, Buffer.from(text)]));
  const block = new Uint16Array(bytes / 2 / 43);
  let state = 1;
  for (let i = 0; i < MATRICES * 43; i++) {
    for (let j = 0; j < block.length; j++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      block[j] = ((state >>> 31) << 15) | 0x3c00 | ((state >>> 8) & 0xff);
    }
    writeSync(out, block);
  }
  closeSync(out);
  return file;
}

/** Peak resident bytes of a process. */
const peakOf = pid => Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
const MB = bytes => `${(bytes / 1e6).toFixed(0)} MB`;

const model = values.model ?? synthetic();
const engine = await connectEngine('memory');
const settings = { device: 'cpu', cache: path.join(work, 'cache') };
const include = values.model ? [] : ['*layers.0.*', '*layers.1.*'];
const grid = [
  { b0: 3, b1: 4, b2: 'bf16', B0: 64, B1: 256 },
  { b0: 4, b1: 4, b2: 'fp32', B0: 32, B1: 64 },
];
let failed;
try {
  const report = await engine.request('compress', {
    ...settings,
    model,
    out: path.join(work, 'packed'),
    budget: { kind: 'bits', value: 4 },
    method: 'lq-lora',
    ranks: [32],
    plain: true,
    iterations: 3,
    grid,
    ...(include.length > 0 && { include }),
  });
  await engine.request('export', { ...settings, model: report.output, format: 'dense', out: path.join(work, 'dense') });
  const table = await engine.request('sweep', {
    ...settings,
    model,
    method: 'lq-lora',
    ranks: [32],
    iterations: 3,
    grid,
    ...(include.length > 0 && { include }),
  });
  const largest = Math.max(...table.matrices.map(row => row.rows * row.cols)) * 4;
  const peak = peakOf(engine.pid) + peakOf(process.pid);
  const promise = 3 * largest + 300e6;
  failed = peak > promise;
  const result = {
    model: values.model ?? 'synthetic 2 GB',
    bytes: report.before.bytes,
    largestMatrix: largest,
    peak,
    promise,
  };
  console.log(JSON.stringify(result));
  console.log(
    `peak ${MB(peak)} of ${MB(promise)} promised, checkpoint ${MB(report.before.bytes)}: ${failed ? 'FAILED' : 'ok'}`,
  );
} finally {
  engine.dispose();
  rmSync(work, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;
