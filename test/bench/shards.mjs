// Two GPUs of one host as lanes of one process and as two workers that share a cache: the same compression both ways, in turns.
//   node test/bench/shards.mjs CLI FOLDER [--layers 12] [--hidden 4096] [--inner 11008] [--rank 64] [--rounds 2] [--devices cuda:0,cuda:1]
// CLI is a built dist/cli.js. A model of LLaMA-2-7B's shapes with random weights is made in FOLDER, and in each round compressed by
// the paper's method on plain errors. Prints the seconds of either way and their ratio, and checks that the outputs are alike byte
// for byte and that the workers did each matrix once.
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    layers: { type: 'string', default: '12' },
    hidden: { type: 'string', default: '4096' },
    inner: { type: 'string', default: '11008' },
    rank: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '2' },
    devices: { type: 'string', default: 'cuda:0,cuda:1' },
  },
});
const [cli, folder] = positionals.map(each => path.resolve(each));
const [layers, hidden, inner, rounds] = ['layers', 'hidden', 'inner', 'rounds'].map(name => Number(values[name]));
const devices = values.devices.split(',');
const model = path.join(folder, 'model');

/** Upper halves of normal numbers in fp32: bf16, cut. Every matrix is another stretch of them, since equal ones would be done once. */
function normals(count) {
  const floats = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
    floats[i] = 0.02 * radius * Math.cos(2 * Math.PI * Math.random());
  }
  return Buffer.from(Uint16Array.from(new Uint32Array(floats.buffer), word => word >>> 16).buffer);
}

function writeModel() {
  mkdirSync(model, { recursive: true });
  const matrices = Array.from({ length: layers }, (_, layer) => [
    ...['q', 'k', 'v', 'o'].map(name => [`model.layers.${layer}.self_attn.${name}_proj.weight`, hidden, hidden]),
    ...['gate', 'up'].map(name => [`model.layers.${layer}.mlp.${name}_proj.weight`, inner, hidden]),
    [`model.layers.${layer}.mlp.down_proj.weight`, hidden, inner],
  ]).flat();
  const header = {};
  let end = 0;
  for (const [name, rows, cols] of matrices)
    header[name] = { dtype: 'BF16', shape: [rows, cols], data_offsets: [end, (end += 2 * rows * cols)] };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(path.join(model, 'model.safetensors'), 'w');
  writeSync(file, Buffer.concat([length, text]));
  const step = 4096;
  const pool = normals(hidden * inner + step * matrices.length);
  for (const [i, [, rows, cols]] of matrices.entries()) {
    const from = 2 * step * i;
    for (let at = from, to = from + 2 * rows * cols; at < to;) at += writeSync(file, pool, at, to - at);
  }
  closeSync(file);
  const config = {
    ...{ model_type: 'llama', architectures: ['LlamaForCausalLM'], hidden_size: hidden, intermediate_size: inner },
    ...{ num_hidden_layers: layers, num_attention_heads: 32, num_key_value_heads: 32, vocab_size: 32000 },
  };
  writeFileSync(path.join(model, 'config.json'), JSON.stringify(config));
  return matrices.length;
}

/** Runs the command line; its standard output, and the seconds it took. */
function run(out, device, ...more) {
  const words = ['compress', model, '--out', path.join(folder, out), '--cache', path.join(folder, `${out}-cache`)];
  const job = ['--method', 'lq-lora', '--plain', '--rank', values.rank, '--bits', '3', '--device', device];
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cli, ...words, ...job, ...more], { stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', data => (stdout += data));
    child.stderr.on('data', data => (stderr += data));
    child.on('close', code =>
      code === 0
        ? resolve({ stdout, seconds: (performance.now() - began) / 1000 })
        : reject(new Error(`${words.join(' ')} ended with ${code}: ${stdout.slice(-2000)}${stderr.slice(-2000)}`)),
    );
  });
}

/** All of the devices that are of one kind, as lanes of one process. */
const together = devices[0].replace(/:\d+$/, '');

/** Seconds of each stage that took any to speak of, as its report says. */
const stagesOf = stdout =>
  Object.entries(JSON.parse(stdout).seconds)
    .filter(([, seconds]) => seconds >= 0.05)
    .map(([stage, seconds]) => `${stage} ${seconds.toFixed(2)}`)
    .join(', ');

async function asLanes() {
  const { seconds, stdout } = await run('lanes', together, '--json');
  return { seconds, stages: stagesOf(stdout) };
}

async function asShards(matrices) {
  const began = performance.now();
  const workers = await Promise.all(
    devices.map((device, i) => run('shards', device, '--shard', `${i + 1}/${devices.length}`)),
  );
  const working = (performance.now() - began) / 1000;
  const reports = workers.map(({ stdout }) => JSON.parse(stdout));
  for (const done of [reports.flatMap(each => each.computed), reports.flatMap(each => each.encoded.computed)])
    if (done.length !== matrices || new Set(done).size !== matrices)
      throw new Error(`${matrices} matrices, of which ${new Set(done).size} were done, ${done.length} times in all`);
  const { seconds: gathering, stdout } = await run('shards', together, '--json');
  const stages = stagesOf(stdout);
  return { seconds: working + gathering, working, gathering, stages, split: reports.map(each => each.computed.length) };
}

function requireAlike() {
  const [one, other] = ['lanes', 'shards'].map(name => path.join(folder, name));
  for (const name of readdirSync(one))
    if (!readFileSync(path.join(one, name)).equals(readFileSync(path.join(other, name))))
      throw new Error(`${name} differs between the two`);
}

const clean = () => {
  for (const out of ['lanes', 'lanes-cache', 'shards', 'shards-cache'])
    rmSync(path.join(folder, out), { recursive: true, force: true });
};

const matrices = writeModel();
clean();
const sums = { lanes: 0, shards: 0, working: 0 };
for (let round = 0; round < rounds; round++) {
  const results = {};
  for (const way of round % 2 === 0 ? ['lanes', 'shards'] : ['shards', 'lanes'])
    results[way] = way === 'lanes' ? await asLanes() : await asShards(matrices);
  requireAlike();
  clean();
  const { lanes, shards } = results;
  sums.lanes += lanes.seconds;
  sums.shards += shards.seconds;
  sums.working += shards.working;
  console.log(
    `round ${round + 1}: lanes ${lanes.seconds.toFixed(1)} s (${lanes.stages}); shards ${shards.seconds.toFixed(1)} s ` +
      `(workers ${shards.working.toFixed(1)}, gathering ${shards.gathering.toFixed(1)}: ${shards.stages}), matrices ${shards.split.join(' + ')}; alike byte for byte`,
  );
}
console.log(
  `${matrices} matrices on ${devices.join(', ')}: shards take ${(sums.shards / sums.lanes).toFixed(3)} of the time of lanes, ` +
    `workers alone ${(sums.working / sums.lanes).toFixed(3)}`,
);
