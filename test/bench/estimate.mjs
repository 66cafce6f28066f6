// Estimate against actual: size, peak memory and time of compressions, for several models and ranks, each from an empty
// cache of costs but with the paces of this machine's earlier runs, as a user's second model has them.
// The paper's method at several ranks, and the default one at several sizes.
//   npm run bench:estimate -- [--models DIR,DIR] [--ranks 0,8,16,32] [--bits 2.25,3] [--samples 8] [--windows 20]
// Size is to be exact or within 5 %, memory and time within 25 % on an idle machine; the exit status tells.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { connectEngine } from '../../scripts/engine-client.mjs';
import { inRoot } from '../../scripts/lib.mjs';

const folder = process.env['LQ_MODELS'] ?? inRoot('..', 'shared', 'models');
const { values } = parseArgs({
  options: {
    models: {
      type: 'string',
      default: ['tiny-books-4m', 'books-16m', 'books-20m'].map(m => path.join(folder, m)).join(),
    },
    ranks: { type: 'string', default: '0,8,16,32' },
    bits: { type: 'string', default: '2.25,3' },
    samples: { type: 'string', default: '8' },
    windows: { type: 'string', default: '20' },
  },
});
const texts = { calibration: inRoot('media/sample/calibration.txt'), evalText: inRoot('media/sample/evaluation.txt') };
const work = mkdtempSync(path.join(tmpdir(), 'lq-estimate-'));
const grid = [2, 3, 4].flatMap(b0 => [32, 64].map(B0 => ({ b0, b1: 4, b2: 'bf16', B0, B1: 256 })));

/** Peak resident bytes of a process since it began. */
const peakOf = pid => Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;

const atRank = rank => ({
  name: `lq-lora, rank ${rank}`,
  ...{ method: 'lq-lora', ranks: [rank], grid, iterations: 20, budget: { kind: 'bits', value: 3 } },
});
const atBits = value => ({ name: `frontier, ${value} bits`, budget: { kind: 'effective-bits', value } });
let seed = 0;

/** What a compression is estimated and found to take, in an engine of its own: a peak is of a process's whole life. */
async function measure(model, { name, ...wanted }, cache) {
  const engine = await connectEngine('estimate');
  const request = {
    ...{ device: 'cpu', cache, model, out: path.join(work, `${path.basename(model)} ${name}`), overwrite: true },
    ...{ ...texts, samples: Number(values.samples), windows: Number(values.windows) },
    ...wanted,
    // Costs differ with the seed, so that none is found in the cache, and take as long.
    seed: ++seed,
  };
  try {
    const estimate = await engine.request('estimate', request);
    const start = performance.now();
    const report = await engine.request('compress', request);
    const seconds = (performance.now() - start) / 1000;
    return {
      size: [estimate.outputBytes, report.after.bytes],
      memory: [estimate.peakMemory, peakOf(engine.pid)],
      time: [Object.values(estimate.seconds).reduce((sum, one) => sum + one, 0), seconds],
      again: Object.values((await engine.request('estimate', request)).seconds).reduce((sum, one) => sum + one, 0),
    };
  } finally {
    engine.dispose();
  }
}

const limits = { size: 0.05, memory: 0.25, time: 0.25 };
const off = ([estimated, actual]) => estimated / actual - 1;
const percent = share => `${share > 0 ? '+' : ''}${(100 * share).toFixed(1)} %`;
const MB = bytes => (bytes / 1e6).toFixed(2);
let failed = false;
console.log('| model | method | size, MB: estimate / actual | memory, MB | time, s | estimated again |');
console.log('|---|---|---|---|---|---|');
try {
  const cache = path.join(work, 'cache');
  const models = values.models.split(',');
  // The first run of a kind has only defaults to go by.
  for (const wanted of [atRank(0), atRank(4), atBits(2.5)]) await measure(models[0], wanted, cache);
  const all = [...values.ranks.split(',').map(Number).map(atRank), ...values.bits.split(',').map(Number).map(atBits)];
  for (const model of models)
    for (const wanted of all) {
      const found = await measure(model, wanted, cache);
      const { size, memory, time } = found;
      for (const [what, limit] of Object.entries(limits)) failed ||= Math.abs(off(found[what])) > limit;
      const cells = [
        ...[path.basename(model), wanted.name],
        `${MB(size[0])} / ${MB(size[1])} (${percent(off(size))})`,
        `${MB(memory[0])} / ${MB(memory[1])} (${percent(off(memory))})`,
        `${time[0].toFixed(1)} / ${time[1].toFixed(1)} (${percent(off(time))})`,
        `${found.again.toFixed(1)} s`,
      ];
      console.log(`| ${cells.join(' | ')} |`);
    }
} finally {
  rmSync(work, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;
