/**
 * Scanning a warm 1 GB tensor for its statistics against `cat FILE > /dev/null`, for bf16 and fp32.
 *   npm run bench:statistics [-- --bytes N]
 * The statistics are validated before the times are printed: the tensor repeats a stretch whose moments are known.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { loadNative } from '../../extension/engine/load';
import type { DenseSource } from '../../extension/core/native';

const RUNS = 7;
const COLUMNS = 4096;
const at = process.argv.indexOf('--bytes');
const bytes = at >= 0 ? Number(process.argv[at + 1]) : 1 << 30;
const native = loadNative(path.resolve('dist/native'));

/** Values that both types hold exactly. */
const stretch = Float32Array.from(
  { length: COLUMNS * 64 },
  (_, i) => (((Math.imul(i, 40503) >>> 7) % 201) - 100) / 128,
);
const mean = stretch.reduce((a, b) => a + b, 0) / stretch.length;
const stddev = Math.sqrt(stretch.reduce((a, b) => a + (b - mean) ** 2, 0) / stretch.length);

function encode(dtype: 'F32' | 'BF16'): Buffer {
  if (dtype === 'F32') return Buffer.from(stretch.buffer);
  return Buffer.from(Uint16Array.from(new Uint32Array(stretch.buffer), bits => bits >>> 16).buffer);
}

/** The best of several runs, in seconds. */
async function best(run: () => Promise<void> | void): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < RUNS; i++) {
    const start = performance.now();
    await run();
    least = Math.min(least, (performance.now() - start) / 1000);
  }
  return least;
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'lq-bench-'));
try {
  for (const dtype of ['BF16', 'F32'] as const) {
    const block = encode(dtype);
    const repeats = Math.max(1, Math.floor(bytes / block.length));
    const file = path.join(folder, dtype);
    const handle = openSync(file, 'w');
    for (let i = 0; i < repeats; i++) writeSync(handle, block);
    closeSync(handle);
    const source: DenseSource = { kind: 'dense', path: file, offset: 0, dtype, rows: repeats * 64, cols: COLUMNS };

    const s = await native.statistics('cpu', source, 128, {});
    const wrong = Math.abs(s.mean - mean) / stddev > 1e-6 || Math.abs(s.stddev / stddev - 1) > 1e-6;
    if (wrong || s.count !== repeats * stretch.length || s.nans + s.infs !== 0)
      throw new Error('The statistics are wrong.');

    const cat = await best(() => {
      const run = spawnSync('sh', ['-c', `cat ${file} > /dev/null`]);
      if (run.status !== 0) throw new Error('cat failed');
    });
    const scan = await best(async () => {
      await native.statistics('cpu', source, 128, {});
    });
    const rate = (seconds: number): string => `${((repeats * block.length) / seconds / 1e9).toFixed(2)} GB/s`;
    console.log(
      `${dtype.padEnd(5)} cat ${rate(cat)}, statistics ${rate(scan)}: ${((100 * cat) / scan).toFixed(0)} % (histogram of ${s.histogram.sampled} elements)`,
    );
    rmSync(file);
  }
} finally {
  rmSync(folder, { recursive: true });
}
