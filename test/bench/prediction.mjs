// How near predicted costs are to measured ones: the frontier's options on a model, by option.
//   node test/bench/prediction.mjs MODEL --calibration FILE [--samples 64] [--include GLOB] [--cache DIR]
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { connectEngine } from '../../scripts/engine-client.mjs';

/** PREDICTION_ERROR of core/allocation/lazy.ts: plans are certified with costs no lower than this. */
const PROMISED = 0.3;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    calibration: { type: 'string' },
    samples: { type: 'string', default: '64' },
    include: { type: 'string', multiple: true },
    cache: { type: 'string' },
  },
});
const [model] = positionals;
if (model === undefined || values.calibration === undefined) throw new Error('MODEL and --calibration are required.');
const work = mkdtempSync(path.join(os.tmpdir(), 'lq-prediction-'));
const shared = {
  device: 'cpu',
  cache: values.cache ?? path.join(work, 'cache'),
  model: path.resolve(model),
  ...(values.include && { include: values.include }),
};
const engine = await connectEngine('prediction');
try {
  const fisher = path.join(work, 'statistics.safetensors');
  const calibration = path.resolve(values.calibration);
  await engine.request('calibrate', { ...shared, calibration, samples: Number(values.samples), out: fisher });
  // Predicted first: what is measured once is not predicted again.
  const predicted = await engine.request('sweep', { ...shared, fisher, costs: 'predicted' });
  const measured = await engine.request('sweep', { ...shared, fisher, costs: 'measured' });
  let lowest = Infinity;
  for (const [i, { grid }] of predicted.options.entries()) {
    const ratios = predicted.matrices
      .map((row, k) => (row.predicted.includes(i) ? measured.matrices[k].costs[i] / row.costs[i] : undefined))
      .filter(ratio => ratio !== undefined)
      .sort((a, b) => a - b);
    if (ratios.length === 0) continue;
    const at = share => ratios[Math.round(share * (ratios.length - 1))].toFixed(4);
    lowest = Math.min(lowest, ratios[0]);
    const name = grid.kind === 'trellis' ? `trellis ${grid.bits / grid.step}` : `int ${grid.bits}`;
    console.log(
      `${name.padEnd(12)} measured over predicted: least ${at(0)}, 5 % ${at(0.05)}, middle ${at(0.5)}, 95 % ${at(0.95)}, most ${at(1)}`,
    );
  }
  console.log(`predicting ${predicted.seconds.toFixed(1)} s, measuring ${measured.seconds.toFixed(1)} s`);
  if (lowest < 1 - PROMISED) {
    console.error(`A measured cost is ${lowest.toFixed(4)} of its prediction.`);
    process.exitCode = 1;
  }
} finally {
  engine.dispose();
  rmSync(work, { recursive: true, force: true });
}
