// Reproduces the recorded tables of perplexity by method and budget (golden.json, sweep.json) through the engine, as a user
// would: Fisher, sweep of 81 configurations, plan, packed checkpoint, perplexity.
//   npm run oracle -- [--model tiny-books-4m] [--device cpu] [--methods lq-fisher,lq] [--budgets 2.25,2.75] [--windows N]
// Passes when every sweep cost is within 2 % of the recorded one or lower, and every perplexity within 2 % or better.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { connectEngine } from '../../../scripts/engine-client.mjs';
import { inRoot } from '../../../scripts/lib.mjs';

const TOLERANCE = 0.02;
const METHODS = {
  qlora: { plain: true, rank: 0 },
  'qlora-fisher': { rank: 0 },
  lq: { plain: true },
  'lq-fisher': {},
  'lq-fisher-meansqrt': { scales: 'means-of-sqrt' },
};

const { values } = parseArgs({
  options: {
    shared: { type: 'string', default: path.resolve(inRoot(), '..', 'shared') },
    model: { type: 'string', default: 'tiny-books-4m' },
    device: { type: 'string', default: 'cpu' },
    methods: { type: 'string', default: Object.keys(METHODS).join() },
    budgets: { type: 'string', default: '2.25,2.5,2.75,3,3.25,3.5,4' },
    out: { type: 'string', default: inRoot('.artifacts', 'oracle') },
  },
});
if (!existsSync(values.shared)) {
  console.error(`The recorded oracles are not at ${values.shared}; give their folder with --shared.`);
  process.exit(1);
}
const engine = await connectEngine('oracle');
const model = path.join(values.shared, 'models', values.model);
const golden = JSON.parse(readFileSync(path.join(values.shared, 'golden', values.model, 'golden.json')));
const recorded = JSON.parse(readFileSync(path.join(values.shared, 'golden', values.model, 'sweep.json')));
const grid = recorded.grid.map(([b0, b1, b2, B0, B1]) => ({ b0, b1, b2, B0, B1 }));
mkdirSync(values.out, { recursive: true });
const cache = path.join(values.out, 'cache');
const settings = { device: values.device, cache };
let passed = 0;
let failed = 0;
const verdict = good => (good ? (passed++, 'ok') : (failed++, 'FAILED'));

const fisher = path.join(values.out, `${values.model}.fisher.safetensors`);
if (!existsSync(fisher))
  await engine.request('fisher', {
    ...settings,
    model,
    calibration: path.join(values.shared, 'text', 'calib.txt'),
    samples: golden.fisher_samples,
    context: golden.ctx,
    out: fisher,
  });

const rows = [];
for (const method of values.methods.split(',')) {
  const { plain, rank = golden.rank, scales } = METHODS[method];
  const common = {
    ...settings,
    model,
    method: 'lq-lora',
    ranks: [rank],
    grid,
    iterations: 25,
    ...(scales && { scales }),
    ...(!plain && { fisher }),
  };
  const table = await engine.request('sweep', common);
  if (recorded[method]) {
    let worst = 0;
    for (const row of table.matrices) {
      const expected = recorded[method][recorded.matrices.indexOf(row.name)];
      row.costs.forEach((cost, i) => (worst = Math.max(worst, cost / expected[i] - 1)));
    }
    console.log(
      `${method}: worst sweep cost +${(100 * worst).toFixed(2)} % (${table.seconds.toFixed(1)} s) ${verdict(worst <= TOLERANCE)}`,
    );
  }
  for (const budget of values.budgets.split(',').map(Number)) {
    const out = path.join(values.out, `${values.model}-${method}-${budget}`);
    const report = await engine.request('compress', {
      ...common,
      ...(plain && { plain: true }),
      out,
      overwrite: true,
      budget: { kind: 'bits', value: budget },
      factors: 'fp32',
    });
    const { perplexity, seconds } = await engine.request('evaluate', {
      ...settings,
      model: out,
      text: path.join(values.shared, 'text', 'eval.txt'),
      context: golden.ctx,
    });
    const expected = golden.table.find(row => row.method === method && row.budget === budget).eval;
    const ratio = perplexity / expected;
    const line = {
      model: values.model,
      device: values.device,
      method,
      budget,
      bits: report.bits,
      perplexity,
      expected,
      ratio,
    };
    rows.push(line);
    console.log(
      `${method} ${budget}: ${perplexity.toFixed(3)} recorded ${expected.toFixed(3)} (${(100 * (ratio - 1)).toFixed(2)} %, ` +
        `${seconds.toFixed(0)} s) ${verdict(ratio <= 1 + TOLERANCE)}`,
    );
  }
}
writeFileSync(path.join(values.out, `${values.model}-${values.device}.json`), JSON.stringify(rows, null, 1));
engine.dispose();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
