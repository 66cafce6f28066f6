/**
 * The full sweep, 243 configurations at rank 8 of every target of tiny-books-4m, natively and in PyTorch on the same CPU.
 *   npm run bench:sweep [-- --matrices N]   only the first N, for a quick look
 * Costs are validated before times are printed: their sum for each matrix agrees within 2 %.
 */
import { spawnSync } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { tensorSource } from '../../extension/core/checkpoint/sources';
import { logicalTensors } from '../../extension/core/logical/logical';
import { openCheckpoint } from '../../extension/core/logical/open';
import { selectTargets } from '../../extension/core/logical/targets';
import { nativeBook } from '../../extension/core/options/books/registry';
import { paperGrid } from '../../extension/core/options/config';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';

const RANK = 8;
const RECIPE = { iterations: 25, patience: 3, oversampling: 10, powerIterations: 2 };

interface ReferenceRow {
  name: string;
  seconds: number;
  costs: number[];
}

const at = process.argv.indexOf('--matrices');
const limit = at >= 0 ? Number(process.argv[at + 1]) : Infinity;

// Set where processors are emulated; a library that picks its kernels by them would be measured with the wrong ones.
delete process.env.OPENBLAS_CORETYPE;
const index = await openCheckpoint(nodeFiles, path.resolve('media/sample/tiny-books-4m'));
const targets = selectTargets(logicalTensors(index)).slice(0, limit);
const native = loadNative(path.resolve('dist/native'));
const threads = os.availableParallelism();
native.setThreads(threads);
const grid = paperGrid();
const books = Object.fromEntries([2, 3, 4].map(bits => [bits, nativeBook('nf', bits)]));
const options = grid.map(config => ({ config, book: books[config.b0]!, rank: RANK }));

const sources = targets.map(target => {
  const part = target.parts[0]!;
  return {
    name: target.name,
    part,
    source: tensorSource(part),
  };
});

const nativeRows: ReferenceRow[] = [];
for (const { name, source } of sources) {
  const start = performance.now();
  const { costs } = await native.sweep('cpu', source, options, { ...RECIPE, scales: 'sqrt-of-means', seed: 0 }, {});
  nativeRows.push({ name, seconds: (performance.now() - start) / 1000, costs: [...costs] });
}

console.error(`Native done; PyTorch sweeps ${sources.length} matrices with ${threads} threads...`);
const request = {
  threads,
  rank: RANK,
  ...RECIPE,
  books: Object.fromEntries(Object.entries(books).map(([bits, book]) => [bits, [...book.levels]])),
  options: grid.map(c => [c.b0, c.b1, c.b2, c.B0, c.B1]),
  matrices: sources.map(({ name, part }) => ({ name, file: part.file })),
};
const python = spawnSync(process.execPath, [path.resolve('scripts/python-venv.mjs')], {
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
}).stdout.trim();
const run = spawnSync(python, [path.resolve('test/bench/sweep/reference.py')], {
  input: JSON.stringify(request),
  encoding: 'utf8',
  maxBuffer: 1 << 28,
  stdio: ['pipe', 'pipe', 'inherit'],
});
if (run.status !== 0) process.exit(run.status ?? 1);
const reference = run.stdout
  .trim()
  .split('\n')
  .map(line => JSON.parse(line) as ReferenceRow);

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
let worst = 0;
console.log('matrix'.padEnd(44), 'native s', 'torch s', ' ratio', ' cost');
nativeRows.forEach((row, i) => {
  const other = reference[i]!;
  const deviation = sum(row.costs) / sum(other.costs) - 1;
  worst = Math.max(worst, Math.abs(deviation));
  console.log(
    row.name.padEnd(44),
    row.seconds.toFixed(3).padStart(8),
    other.seconds.toFixed(2).padStart(7),
    (other.seconds / row.seconds).toFixed(1).padStart(6),
    `${(100 * deviation).toFixed(2)} %`,
  );
});
const [ours, theirs] = [sum(nativeRows.map(r => r.seconds)), sum(reference.map(r => r.seconds))];
console.log(
  `${nativeRows.length} matrices x ${grid.length} options: native ${ours.toFixed(2)} s, PyTorch ${theirs.toFixed(1)} s, ${(theirs / ours).toFixed(1)} times faster; costs within ${(100 * worst).toFixed(2)} %`,
);
if (worst > 0.02) {
  console.error('The costs disagree by more than 2 %.');
  process.exitCode = 1;
}
