// How far two backends are from each other, and how far one is from itself under another seed: sweep costs, plans and
// perplexities of a model. An LQ loop ends in one of many nearby minima, which one follows the last bit of a sum.
//   node test/bench/backends.mjs --model DIR --calibration FILE --text FILE [--device cuda:0] [--rank 16] [--out DIR]
// Passes when the second backend is as near to the first as the first is to itself: summed costs within 0.5 %, the spread
// of single costs at most 1.25 times the seeds', plans (priced by the first backend) within 1e-3 of its optimum or within
// what another seed loses, perplexities within 0.5 %, and the same output to 1e-4 on both.
import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { connectEngine } from '../../scripts/engine-client.mjs';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    calibration: { type: 'string' },
    text: { type: 'string' },
    device: { type: 'string', default: 'cuda:0' },
    rank: { type: 'string', default: '16' },
    windows: { type: 'string', default: '200' },
    out: { type: 'string', default: path.join('.artifacts', 'backends') },
  },
});
const engine = await connectEngine('backends');
const out = path.resolve(values.out);
const model = path.resolve(values.model);
const label = path.basename(model);
mkdirSync(out, { recursive: true });
const settings = (device, seed = 0) => ({ device, seed, cache: path.join(out, 'cache') });
const grid = [2, 3, 4].flatMap(b0 =>
  [2, 3, 4].flatMap(b1 => [16, 32, 64].flatMap(B0 => [16, 64, 256].map(B1 => ({ b0, b1, b2: 'bf16', B0, B1 })))),
);
const rank = Number(values.rank);

let passed = 0;
let failed = 0;
function check(what, value, limit, format = x => `${(100 * x).toFixed(3)} %`) {
  const good = value <= limit;
  good ? passed++ : failed++;
  console.log(`${good ? 'ok    ' : 'FAILED'} ${what}: ${format(value)}, limit ${format(limit)}`);
}

const fisher = path.join(out, `${label}.fisher.safetensors`);
if (!existsSync(fisher))
  await engine.request('fisher', {
    ...settings('cpu'),
    model,
    calibration: path.resolve(values.calibration),
    out: fisher,
  });
const sweep = (device, seed) => engine.request('sweep', { ...settings(device, seed), model, rank, grid, fisher });
const first = await sweep('cpu', 0);
const reseeded = await sweep('cpu', 1);
const second = await sweep(values.device, 0);
console.log(
  `${label}: sweep ${first.seconds.toFixed(1)} s on the CPU, ${second.seconds.toFixed(1)} s on ${second.device}`,
);

const total = table => table.matrices.reduce((sum, row) => sum + row.costs.reduce((a, b) => a + b, 0), 0);
const quantile = (sorted, q) => sorted[Math.round(q * (sorted.length - 1))];
/** Relative differences of single costs: their 5th to 95th percentile, and how many are within 0.5 %. */
function spread(table) {
  const differences = table.matrices
    .flatMap((row, i) => row.costs.map((cost, k) => cost / first.matrices[i].costs[k] - 1))
    .sort((a, b) => a - b);
  return {
    width: quantile(differences, 0.95) - quantile(differences, 0.05),
    near: differences.filter(x => Math.abs(x) <= 0.005).length / differences.length,
  };
}
const quantized = second.matrices.flatMap((row, i) =>
  row.quantizedCosts.map((cost, k) => Math.abs(cost / first.matrices[i].quantizedCosts[k] - 1)),
);
check('costs of quantisation alone, worst', Math.max(...quantized), 1e-5);
check('summed costs', Math.abs(total(second) / total(first) - 1), 0.005);
const [ofSeeds, ofBackends] = [spread(reseeded), spread(second)];
const percent = x => `${(100 * x).toFixed(1)} %`;
console.log(
  `within 0.5 %: ${percent(ofBackends.near)} of the costs, ${percent(ofSeeds.near)} between two seeds on the CPU`,
);
check('spread of single costs (5th to 95th percentile)', ofBackends.width, 1.25 * ofSeeds.width);

for (const value of [2.5, 2.75, 3, 3.5]) {
  const plans = await Promise.all(
    [first, reseeded, second].map(table => engine.request('plan', { sweep: table, budget: { kind: 'bits', value } })),
  );
  const price = plan => plan.matrices.reduce((sum, row, i) => sum + first.matrices[i].costs[row.option], 0);
  const [best, otherSeed, otherBackend] = plans.map(price);
  const loss = otherBackend / best - 1;
  check(`plan at ${value} bits, priced by the CPU's costs`, loss, Math.max(1e-3, otherSeed / best - 1));
}

const perplexities = [];
for (const device of ['cpu', values.device]) {
  const packed = path.join(out, `${label}-${device.replace(':', '')}`);
  const common = { model, out: packed, rank, grid, fisher, overwrite: true, budget: { kind: 'bits', value: 2.75 } };
  await engine.request('compress', { ...settings(device), ...common });
  const evaluate = on =>
    engine.request('evaluate', {
      ...settings(on),
      model: packed,
      text: path.resolve(values.text),
      windows: Number(values.windows),
    });
  const [here, there] = [await evaluate('cpu'), await evaluate(values.device)];
  check(
    `perplexity of what ${device} wrote, ${values.device} against CPU`,
    Math.abs(there.perplexity / here.perplexity - 1),
    1e-4,
  );
  perplexities.push(here.perplexity);
}
console.log(`perplexity at 2.75 bits: ${perplexities.map(x => x.toFixed(3)).join(' and ')}`);
check('perplexities of the two compressions', Math.abs(perplexities[1] / perplexities[0] - 1), 0.005);
engine.dispose();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
