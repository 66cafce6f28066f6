/**
 * Opens damaged checkpoints by the ten thousand: npm run fuzz [-- --count N --seed S --kind gguf].
 * Every outcome must be a report that makes sense or an error with a code; no case may take long; memory must not grow.
 */
import { damaged, outcome } from './outcome';
import { Random } from './mutate';

const argument = (name: string, fallback: number): number => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};
const kindAt = process.argv.indexOf('--kind');
const like = kindAt < 0 ? '' : process.argv[kindAt + 1];
const count = argument('count', 100_000);
const seed = argument('seed', 1);
const SLOW_MS = 2000;
const MEMORY_BYTES = 700e6;

const outcomes = new Map<string, number>();
const start = performance.now();
let slowest = 0;
for (let i = 0; i < count; i++) {
  const random = new Random(seed * 1_000_003 + i);
  const { kind, path, folder } = damaged(random, like);
  const before = performance.now();
  let result: string;
  try {
    result = await outcome(folder, path);
  } catch (error) {
    console.error(`case ${i} (${kind}) of seed ${seed} is not typed:`, error);
    process.exit(1);
  }
  const took = performance.now() - before;
  slowest = Math.max(slowest, took);
  const memory = process.memoryUsage().rss;
  if (took > SLOW_MS || memory > MEMORY_BYTES) {
    console.error(`case ${i} (${kind}) of seed ${seed} took ${Math.round(took)} ms and ${Math.round(memory / 1e6)} MB`);
    process.exit(1);
  }
  outcomes.set(result, (outcomes.get(result) ?? 0) + 1);
  if ((i + 1) % 10_000 === 0) {
    const seconds = (performance.now() - start) / 1000;
    console.log(
      `${i + 1} in ${seconds.toFixed(1)} s, slowest ${Math.round(slowest)} ms, ${Math.round(memory / 1e6)} MB`,
    );
  }
}
for (const [result, times] of [...outcomes].sort(([, a], [, b]) => b - a))
  console.log(`${String(times).padStart(8)}  ${result}`);
