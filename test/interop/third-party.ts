/**
 * A GGUF file that another program made: every tensor is there, and its statistics are those of the gguf package's dequantised
 * values, the mean to single precision. Run by scripts/test-gguf.mjs with the file and an interpreter that has the package.
 */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { weightLookup } from '../../extension/core/logical/lookup';
import { logicalTensors } from '../../extension/core/logical/logical';
import { openCheckpoint } from '../../extension/core/logical/open';
import { loadNative } from '../../extension/engine/load';
import { nodeFiles } from '../../extension/node/files';

interface Statistics {
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly absmax: number;
}

const [file = '', python = '', script = ''] = process.argv.slice(2);
const native = loadNative(path.resolve('dist', 'native'));
const index = await openCheckpoint(nodeFiles, file);
const parts = index.shards.map(shard => shard.file);
const printed = execFileSync(python, [script, ...parts], { encoding: 'utf8', maxBuffer: 1e9 });
const theirs = new Map(Object.entries(JSON.parse(printed) as Record<string, Statistics>));
const lookup = weightLookup(index);
const wrong: string[] = index.problems.map(({ message }) => message);
let [weights, tensors] = [0, 0];
for (const { name, parts: stored } of logicalTensors(index)) {
  const wanted = theirs.get(stored[0]!.name);
  theirs.delete(stored[0]!.name);
  // All experts, or each: what is looked up here is said.
  const [all, each] = stored[0]!.name.split('[');
  for (const other of each === undefined ? [...theirs.keys()].filter(key => key.startsWith(`${all}[`)) : [all!])
    theirs.delete(other);
  const source = lookup(name)!;
  // The package knows nothing of what norms count from.
  if (source.kind === 'gguf') delete source.plus;
  const ours = await native.statistics('cpu', source, 0, {});
  weights += ours.count;
  tensors++;
  const apart = wanted && Math.abs(ours.mean - wanted.mean);
  const same =
    wanted !== undefined &&
    (['count', 'min', 'max', 'absmax'] as const).every(key => ours[key] === wanted[key]) &&
    apart! <= 1e-7 * wanted.absmax;
  const { count, min, max, mean, absmax } = ours;
  if (!same) wrong.push(`${name}: ${JSON.stringify({ count, min, max, mean, absmax })}, not ${JSON.stringify(wanted)}`);
}
for (const name of theirs.keys()) wrong.push(`${name} is missing`);
for (const line of wrong.slice(0, 10)) console.error(line);
console.log(`${path.basename(file)}: ${tensors} tensors, ${weights} weights, ${wrong.length} otherwise`);
process.exitCode = wrong.length === 0 ? 0 : 1;
