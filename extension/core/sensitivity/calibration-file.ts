/**
 * The file of calibration statistics: everything the frontier's metrics need of a text, from one forward and backward pass. One
 * safetensors file, fp32:
 *
 *   NAME.fisher_row_mean  [rows]        mean over a target's columns of F, its Fisher information
 *   NAME                  [rows, cols]  F itself, when asked for; the file is a Fisher file too then
 *   INPUT.second_moment   [n, n]        A = E[x x^T], mean over tokens, of an input that targets read
 *   INPUT.mean_square     [n]           its diagonal; alone where the metadata has `moments: diagonal`
 *
 * INPUT is the name of the first target that reads it: q, k and v share one, gate and up share one. `__metadata__` has the
 * map from targets to inputs and what was counted. F is the mean over sequences of the squared gradient of the sequence's
 * mean cross entropy (LQ-LoRA, arXiv 2311.12023); with A they are the two factors of K-FAC (arXiv 1503.05671).
 */
import { siblingOf } from '../storage/cache';
import type { InputPlace, WeightPlace } from '../native';
import { type TensorPlace, type TensorSpec } from '../checkpoint/serialize';
import type { CheckpointIndex, LogicalTensor, TensorInfo } from '../checkpoint/types';
import { callNative, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { BLOCK_INPUTS, inputKey, inputOf } from '../evaluation/weights';
import { openCheckpoint } from '../logical/open';
import { UNREACHED_UNDER_KFAC } from './metric';
import type { CalibrationReport } from './types';
import { unreachedWarning } from './unreached';

/** Under these keys of the file's `__metadata__`. */
export const CALIBRATION_FORMAT = 'lq-studio.calibration';
const FORMAT_VERSION = '1';

/** Mean over a target's columns of its Fisher information. */
export const rowMeanName = (target: string): string => `${target}.fisher_row_mean`;
/** Second moment of an input. */
export const secondMomentName = (input: string): string => `${input}.second_moment`;
/** Its diagonal. */
export const meanSquareName = (input: string): string => `${input}.mean_square`;

/** What a file was counted over. Files of one model may be added up, each weighing by its counts. */
export interface Counts {
  readonly samples: number;
  /** Tokens a sequence. */
  readonly context: number;
  readonly tokens: number;
}

/** A target's place in the network, and the input it reads. */
interface Reader {
  readonly name: string;
  readonly shape: readonly number[];
  readonly place: WeightPlace;
  readonly input: InputPlace;
  /** The input's name. */
  readonly source: string;
}

/** Each target with the input it reads, which is named after its first reader in the order of the network. */
export function readersOf(places: readonly WeightPlace[], targets: readonly LogicalTensor[]): readonly Reader[] {
  const order = [...BLOCK_INPUTS.keys()];
  const readers = targets.map(({ name, shape }, i) => {
    const place = places[i]!;
    return { name, shape, place, input: inputOf(place)! };
  });
  // An input is named after its first reader in the order of the network, whatever the targets' order.
  const named = new Map<string, (typeof readers)[number]>();
  for (const reader of readers) {
    const key = inputKey(reader.input);
    const known = named.get(key);
    if (known === undefined || order.indexOf(reader.place.kind) < order.indexOf(known.place.kind))
      named.set(key, reader);
  }
  return readers.map(reader => ({ ...reader, source: named.get(inputKey(reader.input))!.name }));
}

/** The tensors of a file, in its order. */
export function tensorsOf(readers: readonly Reader[], fisher: boolean): TensorSpec[] {
  return readers.flatMap(({ name, shape, source }): TensorSpec[] => {
    const [rows, cols] = shape as [number, number];
    return [
      { name: rowMeanName(name), dtype: 'F32', shape: [rows] },
      ...(fisher ? [{ name, dtype: 'F32', shape } as const] : []),
      ...(name === source
        ? [
            { name: secondMomentName(name), dtype: 'F32', shape: [cols, cols] } as const,
            { name: meanSquareName(name), dtype: 'F32', shape: [cols] } as const,
          ]
        : []),
    ];
  });
}

/** Bytes that the statistics of each layer take in memory. */
export function bytesByLayer(readers: readonly Reader[], fisher: boolean): Map<number, number> {
  const bytes = new Map<number, number>();
  for (const { name, shape, place, source } of readers) {
    const [rows, cols] = shape as [number, number];
    const own = (fisher ? 4 * rows * cols : 0) + (name === source ? 4 * cols * cols : 0);
    bytes.set(place.layer, (bytes.get(place.layer) ?? 0) + own);
  }
  return bytes;
}

/** Counts as the file's metadata has them. */
export const numbers = ({ samples, context, tokens }: Counts): Record<string, string> => ({
  samples: String(samples),
  context: String(context),
  tokens: String(tokens),
});

/** @param inputs the input of each target */
export const statisticsMetadata = (
  inputs: readonly (readonly [target: string, input: string])[],
  counts: Counts,
  recipe: Readonly<Record<string, string>> = {},
): Record<string, string> => ({
  format: CALIBRATION_FORMAT,
  format_version: FORMAT_VERSION,
  ...recipe,
  ...numbers(counts),
  inputs: JSON.stringify(Object.fromEntries(inputs)),
});

/** Tensors of a target that reads an input of its own, of which the diagonal alone is known. */
export const diagonalSpecs = (target: string, rows: number, cols: number): TensorSpec[] => [
  { name: rowMeanName(target), dtype: 'F32', shape: [rows] },
  { name: meanSquareName(target), dtype: 'F32', shape: [cols] },
];

/** Mean squares of every target's input, and what they were counted over. @throws LqError those of opening the file. */
export async function readDiagonals(
  context: PipelineContext,
  file: string,
): Promise<{ counts: Counts; diagonals: Map<string, Float64Array> }> {
  const { index, inputs, counts } = await openStatistics(context, file);
  const diagonals = new Map<string, Float64Array>();
  for (const [target, input] of inputs) {
    const tensor = index.byName.get(meanSquareName(input));
    if (tensor === undefined) throw mismatch(file, target, `The statistics have no ${meanSquareName(input)}.`);
    diagonals.set(target, diagonals.get(input) ?? (await readFloats(context, tensor)));
  }
  return { counts, diagonals };
}

/** Writes a file under another name and gives it its own when `fill` is done; nothing stays of one that failed. */
export async function writeWhole<T>(
  context: PipelineContext,
  out: string,
  header: { fileBytes: number; bytes: Uint8Array; tensors: readonly TensorPlace[] },
  fill: (partial: string, places: ReadonlyMap<string, TensorPlace>) => Promise<T>,
): Promise<T> {
  const partial = siblingOf(context, out);
  try {
    await context.files.allocate(partial, header.fileBytes, header.bytes);
    const result = await fill(partial, new Map(header.tensors.map(place => [place.name, place])));
    await context.files.sync(partial);
    await context.files.rename(partial, out);
    return result;
  } catch (error) {
    await context.files.remove(partial);
    throw error;
  }
}

export interface OpenedStatistics {
  readonly file: string;
  readonly index: CheckpointIndex;
  readonly metadata: Readonly<Record<string, string>>;
  /** The input of each target. */
  readonly inputs: ReadonlyMap<string, string>;
  readonly counts: Counts;
}

export async function openStatistics(context: PipelineContext, file: string): Promise<OpenedStatistics> {
  const index = await openCheckpoint(context.files, file);
  const metadata = index.shards[0]?.metadata ?? {};
  if (metadata['format'] !== CALIBRATION_FORMAT || metadata['format_version'] !== FORMAT_VERSION)
    throw new LqError('calibration-mismatch', `${file} has no calibration statistics of a version known here.`, {
      file,
    });
  const other = index.tensors.find(({ dtype }) => dtype !== 'F32');
  if (other !== undefined)
    throw mismatch(file, other.name, `The statistics have ${other.name} as ${other.dtype}, not F32.`);
  const count = (key: string): number => {
    const value = Number(metadata[key]);
    if (Number.isSafeInteger(value) && value > 0) return value;
    throw new LqError('calibration-mismatch', `${file} does not say its ${key}.`, { file });
  };
  return {
    file,
    index,
    metadata,
    inputs: readInputs(metadata['inputs'], file),
    counts: { samples: count('samples'), context: count('context'), tokens: count('tokens') },
  };
}

function readInputs(text: string | undefined, file: string): Map<string, string> {
  try {
    const value: unknown = JSON.parse(text ?? '');
    if (typeof value === 'object' && value !== null) {
      const entries = Object.entries(value);
      if (entries.every((entry): entry is [string, string] => typeof entry[1] === 'string')) return new Map(entries);
    }
  } catch {
    // Said below.
  }
  throw new LqError('calibration-mismatch', `${file} does not say which matrix reads which input.`, { file });
}

/** Throws 'calibration-mismatch' where two files cannot be added up. */
export function requireAlike(first: OpenedStatistics, other: OpenedStatistics): void {
  if (first.metadata['model'] !== other.metadata['model'])
    throw new LqError('calibration-mismatch', `${other.file} is of another model than ${first.file}.`, {
      file: other.file,
    });
  const names = new Set([...first.index.byName.keys(), ...other.index.byName.keys()]);
  for (const name of names) {
    const [a, b] = [first.index.byName.get(name), other.index.byName.get(name)];
    if (a?.shape.join() !== b?.shape.join() || a?.dtype !== b?.dtype)
      throw mismatch(other.file, name, `${first.file} and ${other.file} do not both have ${name} in one shape.`);
  }
}

/** A 'calibration-mismatch' of a file's tensor. */
export const mismatch = (file: string, tensor: string, message: string): LqError =>
  new LqError('calibration-mismatch', message, { file, tensor });

/** Hash of the content of a tensor. */
export const hashOf = (context: PipelineContext, { file, name, offset, bytes }: TensorInfo): Promise<string> =>
  callNative(context, { file, tensor: name }, control => context.native.hash({ path: file, offset, bytes }, control));

/** The values of a tensor. */
export async function readFloats(context: PipelineContext, { file, offset, bytes }: TensorInfo): Promise<Float64Array> {
  const raw = await context.files.read(file, offset, bytes);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return Float64Array.from({ length: bytes / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

export async function describe(
  context: PipelineContext,
  out: string,
  targets: readonly Pick<LogicalTensor, 'name'>[],
  known: Pick<CalibrationReport, 'samples' | 'context' | 'tokens' | 'losses' | 'precision' | 'warnings'>,
  start: number,
): Promise<CalibrationReport> {
  const { index, inputs } = await openStatistics(context, out);
  const matrices: CalibrationReport['matrices'] = [];
  const meanSquares = new Map<string, number>();
  for (const { name } of targets) {
    const input = inputs.get(name)!;
    const rows = await readFloats(context, index.byName.get(rowMeanName(name))!);
    if (!meanSquares.has(input)) {
      const diagonal = await readFloats(context, index.byName.get(meanSquareName(input))!);
      meanSquares.set(input, diagonal.reduce((sum, value) => sum + value, 0) / diagonal.length);
    }
    matrices.push({
      name,
      input,
      fisherMean: rows.reduce((sum, value) => sum + value, 0) / rows.length,
      inputMeanSquare: meanSquares.get(input)!,
    });
  }
  const unreached = matrices.filter(({ inputMeanSquare }) => inputMeanSquare === 0).map(({ name }) => name);
  const warnings = [...known.warnings, ...unreachedWarning(unreached, UNREACHED_UNDER_KFAC)];
  return { out, ...known, warnings, matrices, seconds: (context.now() - start) / 1000 };
}
