// How far two backends are from each other, and how far one is from itself under other seeds: sweep costs, plans and
// perplexities of a model. An LQ loop ends in one of many nearby minima, which one follows the last bit of a sum.
//   node test/bench/backends.mjs --model DIR [--calibration FILE] [--text FILE] [--device cuda:0] [--rank 16] [--out DIR]
//     without --calibration errors are plain, without --text there are no perplexities; --include GLOB picks matrices,
//     --groups 64 thins the grid (B1), --seeds N are tried beside the first, --windows N of the text
// Passes when the second backend is as near to the first as the first is to itself: summed costs within 0.5 %, the spread
// of single costs at most 1.25 times the seeds', plans (priced by the first backend) within 1e-3 of its optimum or within
// 1.25 times what other seeds lose, perplexities within 0.5 % or the seeds' range, the same output to 1e-4 on both.
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
    include: { type: 'string', multiple: true },
    groups: { type: 'string', default: '16,64,256' },
    seeds: { type: 'string', default: '3' },
    out: { type: 'string', default: path.join('.artifacts', 'backends') },
  },
});
const engine = await connectEngine('backends');
const out = path.resolve(values.out);
const model = path.resolve(values.model);
const label = path.basename(model);
mkdirSync(out, { recursive: true });
const settings = (device, seed = 0) => ({ device, seed, cache: path.join(out, 'cache') });
const groups = values.groups.split(',').map(Number);
const grid = [2, 3, 4].flatMap(b0 =>
  [2, 3, 4].flatMap(b1 => [16, 32, 64].flatMap(B0 => groups.map(B1 => ({ b0, b1, b2: 'bf16', B0, B1 })))),
);
const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => i + 1);

let passed = 0;
let failed = 0;
function check(what, value, limit, format = x => `${(100 * x).toFixed(3)} %`) {
  const good = value <= limit;
  if (good) passed++;
  else failed++;
  console.log(`${good ? 'ok    ' : 'FAILED'} ${what}: ${format(value)}, limit ${format(limit)}`);
}

const fisher = values.calibration && path.join(out, `${label}.fisher.safetensors`);
if (fisher && !existsSync(fisher))
  await engine.request('fisher', {
    ...settings('cpu'),
    model,
    calibration: path.resolve(values.calibration),
    out: fisher,
  });
const work = {
  model,
  method: 'lq-lora',
  ranks: [Number(values.rank)],
  grid,
  ...(fisher && { fisher }),
  ...(values.include && { include: values.include }),
};
const sweep = (device, seed) => engine.request('sweep', { ...settings(device, seed), ...work });
const first = await sweep('cpu', 0);
const reseeded = [];
for (const seed of seeds) reseeded.push(await sweep('cpu', seed));
const second = await sweep(values.device, 0);
console.log(
  `${label}: sweep ${first.seconds.toFixed(1)} s on the CPU, ${second.seconds.toFixed(1)} s on ${second.device}`,
);

const total = table => table.matrices.reduce((sum, row) => sum + row.costs.reduce((a, b) => a + b, 0), 0);
const quantile = (sorted, q) => sorted[Math.round(q * (sorted.length - 1))];
/** Relative differences of single costs: their 5th to 95th percentile, and how many are within 0.5 %. */
function spread(...tables) {
  const differences = tables
    .flatMap(table =>
      table.matrices.flatMap((row, i) => row.costs.map((cost, k) => cost / first.matrices[i].costs[k] - 1)),
    )
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
const [ofSeeds, ofBackends] = [spread(...reseeded), spread(second)];
const percent = x => `${(100 * x).toFixed(1)} %`;
console.log(
  `within 0.5 %: ${percent(ofBackends.near)} of the costs, ${percent(ofSeeds.near)} between two seeds on the CPU`,
);
check('spread of single costs (5th to 95th percentile)', ofBackends.width, 1.25 * ofSeeds.width);

for (const value of [2.5, 2.75, 3, 3.5]) {
  const plans = await Promise.all(
    [first, second, ...reseeded].map(table =>
      engine.request('plan', { sweep: table, budget: { kind: 'bits', value } }),
    ),
  );
  const price = plan => plan.matrices.reduce((sum, row, i) => sum + first.matrices[i].costs[row.option], 0);
  const [best, otherBackend, ...otherSeeds] = plans.map(price);
  const limit = Math.max(1e-3, 1.25 * (Math.max(best, ...otherSeeds) / best - 1));
  check(`plan at ${value} bits, priced by the CPU's costs`, otherBackend / best - 1, limit);
}

/** Compresses on a device and measures there and on the CPU. */
async function perplexities(device, seed) {
  const packed = path.join(out, `${label}-${device.replace(':', '')}-${seed}`);
  await engine.request('compress', {
    ...settings(device, seed),
    ...work,
    ...(!fisher && { plain: true }),
    out: packed,
    overwrite: true,
    budget: { kind: 'bits', value: 2.75 },
  });
  const text = { model: packed, text: path.resolve(values.text), windows: Number(values.windows) };
  const [here, there] = [
    await engine.request('evaluate', { ...settings('cpu'), ...text }),
    await engine.request('evaluate', { ...settings(values.device), ...text }),
  ];
  const apart = Math.abs(there.perplexity / here.perplexity - 1);
  check(`perplexity of what ${device} wrote, ${values.device} against CPU`, apart, 1e-4);
  return here.perplexity;
}
if (values.text) {
  const own = await perplexities('cpu', 0);
  const others = [];
  for (const seed of seeds) others.push(await perplexities('cpu', seed));
  const other = await perplexities(values.device, 0);
  console.log(
    `perplexity at 2.75 bits: CPU ${[own, ...others].map(x => x.toFixed(3)).join(', ')}; other ${other.toFixed(3)}`,
  );
  const range = Math.max(...others.map(x => Math.abs(x / own - 1)));
  check('perplexities of the two compressions', Math.abs(other / own - 1), Math.max(0.005, 1.25 * range));
}
engine.dispose();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
