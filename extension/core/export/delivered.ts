/** What was written, and what is known of it: read back from its files and held against what was meant. */
import { isCarried } from '../checkpoint/side-files';
import { joinSlices } from '../checkpoint/slices';
import type { CheckpointIndex } from '../checkpoint/types';
import { callNative, type PipelineContext } from '../context';
import type { Dtype } from '../dtypes';
import { LqError } from '../errors';
import { joinPath } from '../files/paths';
import { baseName } from '../format';
import { weightLookup } from '../logical/lookup';
import { openComplete } from '../opened';
import { loads, type Verdict } from './loads/loads';
import { storedModel, type StoredModel, type StoredWeight } from './loads/stored';
import type { Lines } from './readme';

export interface Delivered {
  /** For people: `GGUF`, `compressed-tensors`. */
  format: string;
  /** Of the folder, by name. */
  files: { name: string; bytes: number }[];
  /** What was held against what was meant and agreed, a sentence each. */
  checks: string[];
  /** What each program makes of the files as they are. */
  loads: Verdict[];
  /** Lines to paste that load it, run in the folder. */
  load: Lines[];
  /** Licence and model card of the original that lie beside it. */
  carried: string[];
}

/** What a folder is held against. */
export interface Meant {
  readonly format: string;
  readonly load: readonly Lines[];
  readonly stored: StoredModel;
  /** Squared errors of encoded matrices, as they were written, by name. */
  readonly squaredErrors: ReadonlyMap<string, number>;
  /** What the written files call a matrix, where it is called otherwise. */
  readonly written?: ReadonlyMap<string, string>;
  /** The model lies in this subfolder, beside an adapter to so many of its matrices. */
  readonly adapted?: { readonly base: string; readonly file: string; readonly matrices: readonly string[] };
}

/** Relative difference of two sums of the same squares in another order. */
const ROUNDING = 1e-4;

/**
 * Opens a folder that was just written and compares it with what was meant: names, shapes and types of all weights, and of
 * each encoded matrix the values.
 * @param source what the folder was made of
 * @throws LqError 'io' naming what differs: the disk does not hold what was written.
 */
export async function readBack(
  context: PipelineContext,
  folder: string,
  source: CheckpointIndex,
  { format, load, stored, squaredErrors, written, adapted }: Meant,
): Promise<Delivered> {
  const index = await openComplete(context.files, adapted ? joinPath(folder, adapted.base) : folder);
  const found = storedModel(index);
  requireSame(index.file, stored, found);
  await requireValues(context, source, index, squaredErrors, written);
  const adapter = adapted && storedModel(await openComplete(context.files, folder));
  if (adapter) requireAdapter(joinPath(folder, adapted.file), adapted.matrices, adapter);
  const files = await filesOf(context, folder);
  return {
    format,
    files,
    checks: [
      `All ${found.weights.length} weights read back with the names, shapes and types that were meant.`,
      ...(squaredErrors.size > 0
        ? [`The values of all ${squaredErrors.size} encoded matrices read back with the errors they were written with.`]
        : []),
      ...(adapter ? [`The adapter reads back with factors of ${adapter.weights.length} matrices.`] : []),
    ],
    loads: loads(adapter ?? found),
    load: [...load],
    carried: files.map(({ name }) => name).filter(name => isCarried(baseName(name))),
  };
}

function requireAdapter(file: string, meant: readonly string[], { weights }: StoredModel): void {
  const found = new Set(weights.filter(({ format }) => format === 'lora').map(({ name }) => name));
  for (const name of meant)
    if (!found.has(name))
      throw new LqError('io', `What was written reads back otherwise: ${name} has no factors.`, { file, tensor: name });
}

function requireSame(file: string, meant: StoredModel, found: StoredModel): void {
  const differ = (what: string, tensor?: string): never => {
    throw new LqError('io', `What was written reads back otherwise: ${what}.`, {
      file,
      ...(tensor !== undefined && { tensor }),
    });
  };
  if (found.container !== meant.container || found.architecture !== meant.architecture)
    differ(`${found.container} of ${found.architecture}, not ${meant.container} of ${meant.architecture}`);
  const left = new Map(found.weights.map(weight => [weight.name, weight]));
  for (const { name, shape, format, dtype } of joined(meant.weights)) {
    const weight = left.get(name);
    if (weight === undefined) return differ(`${name} is not there`, name);
    left.delete(name);
    const says = `${weight.dtype} [${weight.shape.join(', ')}] (${weight.format})`;
    const wanted = `${dtype} [${shape.join(', ')}] (${format})`;
    if (says !== wanted) differ(`${name} is ${says}, not ${wanted}`, name);
  }
  for (const name of left.keys()) differ(`${name} was not meant to be there`, name);
}

/** Slices that are all kept are stored as the tensor they are of. */
function joined(weights: readonly StoredWeight[]): Pick<StoredWeight, 'name' | 'shape' | 'format' | 'dtype'>[] {
  const kept = weights.filter(({ format }) => format === 'dense');
  const { specs } = joinSlices(kept.map(({ name, shape, dtype }) => ({ name, shape, dtype: dtype as Dtype })));
  return [
    ...specs.map(spec => ({ ...spec, format: 'dense' as const })),
    ...weights.filter(({ format }) => format !== 'dense'),
  ];
}

async function requireValues(
  context: PipelineContext,
  source: CheckpointIndex,
  written: CheckpointIndex,
  squaredErrors: ReadonlyMap<string, number>,
  names: Meant['written'],
): Promise<void> {
  if (squaredErrors.size === 0) return;
  const [from, to] = [weightLookup(source), weightLookup(written)];
  for (const [name, expected] of squaredErrors) {
    const [a, b] = [from(name), to(names?.get(name) ?? name)];
    if (!a || !b) throw new LqError('internal', `${name} has no values to compare.`, { tensor: name });
    const { squaredError } = await callNative(context, { file: written.file, tensor: name }, control =>
      context.native.difference(context.device, a, b, 1, 1, control),
    );
    if (Math.abs(squaredError - expected) > ROUNDING * expected)
      throw new LqError(
        'io',
        `What was written reads back otherwise: the squared error of ${name} is ${squaredError}, not ${expected}.`,
        { file: written.file, tensor: name },
      );
  }
}

async function filesOf(context: PipelineContext, folder: string, prefix = ''): Promise<Delivered['files']> {
  const { files } = context;
  const found: Delivered['files'] = [];
  for (const name of (await files.list(folder)).sort()) {
    const stat = await files.stat(joinPath(folder, name));
    if (stat?.directory) found.push(...(await filesOf(context, joinPath(folder, name), `${prefix}${name}/`)));
    else if (stat && `${prefix}${name}` !== 'journal.json') found.push({ name: `${prefix}${name}`, bytes: stat.bytes });
  }
  return found;
}
