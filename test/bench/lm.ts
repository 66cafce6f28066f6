/**
 * Language-model tokens a second, forward and with squared gradients, beside transformers on the CPU: the same windows, the
 * same two sums checked first, runs in turn, the best of each; in fp32, and in bf16 where the processor has it.
 *   npm run bench:lm [-- --model FOLDER] [--text FILE] [--windows 32] [--context 512] [--rounds 5]
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { openCheckpoint } from '../../extension/core/logical/open';
import { describeModel } from '../../extension/core/evaluation/language-model';
import { TextTokenizer } from '../../extension/core/evaluation/tokenizer';
import { GRADIENT_KINDS } from '../../extension/core/evaluation/weights';
import { readWindows } from '../../extension/core/evaluation/windows';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';

const LOSS_TOLERANCE = 2e-5;
/** Two bf16 terms are 16 bits of each operand: the worst matrix of SmolLM2-135M is 1e-4 off. */
const SUM_TOLERANCE = { fp32: 1e-4, bf16: 2e-4 };
const BATCHES = [1, 4, 16];

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'media/sample/tiny-books-4m' },
    text: { type: 'string', default: 'media/sample/calibration.txt' },
    windows: { type: 'string', default: '32' },
    context: { type: 'string', default: '512' },
    rounds: { type: 'string', default: '5' },
  },
});
// Settings that make OpenBLAS use an older processor's kernels would measure something else.
delete process.env['OPENBLAS_CORETYPE'];
delete process.env['OPENBLAS_L2_SIZE'];

const print = (line: string): void => void process.stdout.write(`${line}\n`);

interface Run {
  seconds: number;
  losses: number[];
  sums: Record<string, number>;
}

const native = loadNative(path.resolve('dist/native'));
const index = await openCheckpoint(nodeFiles, path.resolve(values.model));
const description = describeModel(index);
const tokenizer = await TextTokenizer.load({ files: nodeFiles, native }, index.folder);
const context = Number(values.context);
const { tokens, windows } = await readWindows(
  nodeFiles,
  tokenizer,
  description.config.vocab,
  path.resolve(values.text),
  { context, windows: Number(values.windows) },
);
const [device] = native.devices().devices;
const precisions = device!.bf16 === 'none' ? (['fp32'] as const) : (['fp32', 'bf16'] as const);
const open = (precision: (typeof precisions)[number]) =>
  native.openLanguageModel('cpu', { ...description.config, precision }, [...description.weights]);
let model = await open('fp32');
const folder = mkdtempSync(path.join(tmpdir(), 'lq-bench-'));
const accumulators = path.join(folder, 'fisher');
let end = 0;
const targets = description.weights
  .filter(({ kind }) => GRADIENT_KINDS.has(kind))
  .map(({ layer, kind, name, source }) => {
    const fisher = { path: accumulators, offset: end, bytes: 4 * source.rows * source.cols };
    end += fisher.bytes;
    return { layer, kind, name, fisher };
  });
writeFileSync(accumulators, '');
truncateSync(accumulators, end);

async function timed(work: () => Promise<Float64Array>): Promise<Run> {
  const start = performance.now();
  const losses = await work();
  return { seconds: (performance.now() - start) / 1000, losses: [...losses], sums: {} };
}
const ours = {
  forward: () => timed(() => model.losses(tokens, context, {})),
  async fisher(): Promise<Run> {
    const run = await timed(() => model.calibrate(tokens, context, { gradients: targets, inputs: [] }, {}));
    const file = readFileSync(accumulators);
    for (const { name, fisher } of targets) {
      const bytes = Uint8Array.from(file.subarray(fisher.offset, fisher.offset + fisher.bytes));
      run.sums[name] = new Float32Array(bytes.buffer).reduce((sum, value) => sum + value, 0);
    }
    return run;
  },
};

const peer = spawn(
  path.resolve('.deps/venv/bin/python'),
  ['test/bench/lm_transformers.py', index.folder, String(context)],
  {
    stdio: ['pipe', 'pipe', 'inherit'],
  },
);
const answers = createInterface({ input: peer.stdout })[Symbol.asyncIterator]();
async function ask(line: string): Promise<unknown> {
  peer.stdin.write(`${line}\n`);
  const { value, done } = await answers.next();
  if (done === true) throw new Error('the transformers process ended');
  return JSON.parse(value);
}
const theirs = {
  forward: async (batch: number) => (await ask(`forward ${batch}`)) as Run,
  fisher: async () => (await ask('fisher')) as Run,
  dtype: (name: string) => ask(`dtype ${name}`),
};
const versions = (await ask(JSON.stringify([...tokens]))) as Record<string, string | number>;

function validate(what: string, worst: number, allowed: number): void {
  const good = worst <= allowed;
  if (!good) process.exitCode = 1;
  print(`${what}: worst difference ${worst.toExponential(1)}, allowed ${allowed} ${good ? 'ok' : 'NOT ok'}`);
}
// Both of ours against theirs in double precision: in fp32 their own sums can be 2e-4 off those.
await theirs.dtype('float64');
const [theirForward, theirFisher] = [await theirs.forward(BATCHES[0]!), await theirs.fisher()];
for (const precision of precisions) {
  model.close();
  model = await open(precision);
  const [ourForward, ourFisher] = [await ours.forward(), await ours.fisher()];
  validate(
    `losses, ${precision}`,
    Math.max(...ourForward.losses.map((loss, i) => Math.abs(loss - theirForward.losses[i]!))),
    LOSS_TOLERANCE,
  );
  validate(
    `sums of squared gradients (relative), ${precision}`,
    Math.max(...Object.entries(theirFisher.sums).map(([name, sum]) => Math.abs(ourFisher.sums[name]! / sum - 1))),
    SUM_TOLERANCE[precision],
  );
}
if (process.exitCode === 1) process.exit();

const measure = async (): Promise<{ forward: number; fisher: number; peerForward: number; peerFisher: number }> => {
  const best = { forward: Infinity, fisher: Infinity, peerForward: Infinity, peerFisher: Infinity };
  for (let round = 0; round < Number(values.rounds); round++) {
    // As many tries on either side: on a busy machine the best of more runs would win by luck.
    for (const batch of BATCHES) {
      best.forward = Math.min(best.forward, (await ours.forward()).seconds);
      best.peerForward = Math.min(best.peerForward, (await theirs.forward(batch)).seconds);
    }
    best.fisher = Math.min(best.fisher, (await ours.fisher()).seconds);
    best.peerFisher = Math.min(best.peerFisher, (await theirs.fisher()).seconds);
  }
  return best;
};
const measured = [];
for (const precision of precisions) {
  model.close();
  model = await open(precision);
  await theirs.dtype(precision === 'fp32' ? 'float32' : 'bfloat16');
  measured.push({ precision, ...(await measure()) });
}
peer.stdin.end();
model.close();
rmSync(folder, { recursive: true });

const rate = (seconds: number): string => String(Math.round((windows * context) / seconds)).padStart(12);
print(`\n${index.label}, ${windows} windows of ${context}; ${device!.name}, ${device!.detail}`);
print(
  `torch ${versions['torch']!}, transformers ${versions['transformers']!}, ${versions['threads']!} threads, best batch of ${BATCHES.join(', ')}`,
);
print('tokens/s         LQ Studio  transformers   ratio');
const line = (name: string, our: number, their: number): void =>
  print(`${name.padEnd(14)}${rate(our)}  ${rate(their)}   ${(their / our).toFixed(2)}`);
for (const { precision, forward, fisher, peerForward, peerFisher } of measured) {
  line(`forward ${precision}`, forward, peerForward);
  line(`Fisher ${precision}`, fisher, peerFisher);
}
