/**
 * Calibration statistics: everything the frontier's metrics need of a text, from one forward and backward pass. One
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
import type { ByteRange, DenseSource, InputPlace, WantedGradient, WantedInput, WeightPlace } from '../native';
import { serializeHeader, type TensorPlace, type TensorSpec } from '../checkpoint/serialize';
import { tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor, TensorInfo } from '../checkpoint/types';
import { callNative, stageReporter, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { describeModel, forWindows, withLanguageModel } from '../evaluation/language-model';
import { TextTokenizer } from '../evaluation/tokenizer';
import { BLOCK_INPUTS, inputKey, inputOf } from '../evaluation/weights';
import { readWindows } from '../evaluation/windows';
import { openCheckpoint } from '../logical/open';
import { groupLayers } from './groups';
import { UNREACHED_UNDER_KFAC } from './metric';
import { targetPlaces } from './places';
import type { CalibrationReport, CalibrationSource, MatrixStatistics } from './types';
import { unreachedWarning } from './unreached';

/** Under these keys of the file's `__metadata__`. */
export const CALIBRATION_FORMAT = 'lq-studio.calibration';
const FORMAT_VERSION = '1';

/** Mean over a target's columns of its Fisher information. */
export const rowMeanName = (target: string): string => `${target}.fisher_row_mean`;
const secondMomentName = (input: string): string => `${input}.second_moment`;
const meanSquareName = (input: string): string => `${input}.mean_square`;

/** What a file was counted over. Files of one model may be added up, each weighing by its counts. */
export interface Counts {
  readonly samples: number;
  /** Tokens a sequence. */
  readonly context: number;
  readonly tokens: number;
}

export interface CalibrationInput {
  readonly index: CheckpointIndex;
  /** Matrices wanted. */
  readonly targets: readonly LogicalTensor[];
  /** The calibration text's file; its first `samples` windows of `contextLength` tokens are the sequences. */
  readonly calibration: string;
  readonly samples: number;
  readonly contextLength: number;
  /** The first of them that is taken, with `count` from there on; absent: all. */
  readonly part?: { readonly first: number; readonly count: number };
  /** Hash of the weights that the network is made of, see `modelHash`. */
  readonly model: string;
  /** Whether F is kept elementwise too. */
  readonly fisher: boolean;
  /** Bytes of second moments and of F that are held at a time: layers are gone through in groups, each in a pass. */
  readonly held: number;
  readonly out: string;
  /** Told of sequences done. */
  readonly onProgress?: (done: number) => void;
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

/**
 * Computes calibration statistics and writes them to `out`, which appears when it is complete. Progress counts sequences of all
 * passes.
 * @throws LqError 'no-targets', 'unsupported-model', 'tensor-not-found', 'tokenizer', 'text-too-short', 'disk-full',
 *   'not-finite', 'cancelled', 'io'.
 */
export async function computeCalibration(
  context: PipelineContext,
  input: CalibrationInput,
): Promise<CalibrationReport> {
  const { index, targets, calibration, contextLength, out } = input;
  const { first: firstWindow, count: samples } = input.part ?? { first: 0, count: input.samples };
  const start = context.now();
  const model = describeModel(index, { context: contextLength });
  const readers = readersOf(targetPlaces(model, targets, 'Calibration statistics'), targets);
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const windows = await readWindows(
    context.files,
    tokenizer,
    model.config.vocab,
    calibration,
    { context: contextLength, windows: firstWindow + samples, masked: model.masked },
    context.signal,
  );
  const tokens = windows.tokens.subarray(firstWindow * contextLength);
  const counts: Counts = { samples, context: contextLength, tokens: samples * contextLength };
  const header = serializeHeader(
    tensorsOf(readers, input.fisher),
    statisticsMetadata(
      readers.map(({ name, source }) => [name, source]),
      counts,
      { model: input.model, text: context.digest(windows.text), tokenizer: context.digest(tokenizer.source) },
    ),
  );
  const { groupOf, groups } = groupLayers(bytesByLayer(readers, input.fisher), input.held);
  const report = stageReporter(context, 'calibrate', samples * groups);
  const losses = await writeWhole(context, out, header, async (partial, places) => {
    const range = (name: string): ByteRange | undefined => {
      const place = places.get(name);
      return place && { path: partial, offset: place.offset, bytes: place.bytes };
    };
    const gradients = readers.map(({ place, name }): WantedGradient => {
      const fisher = input.fisher ? range(name) : undefined;
      return { ...place, rowMean: range(rowMeanName(name))!, ...(fisher !== undefined && { fisher }) };
    });
    const inputs = readers
      .filter(({ name, source }) => name === source)
      .map(({ input: which, source }): WantedInput => ({
        ...which,
        secondMoment: range(secondMomentName(source))!,
        meanSquare: range(meanSquareName(source))!,
      }));
    const ofGroup = <T extends { layer: number }>(all: readonly T[], group: number): T[] =>
      all.filter(({ layer }) => groupOf.get(layer) === group);
    return withLanguageModel(context, forWindows(model, windows), async opened => {
      let first: Float64Array | undefined;
      for (let group = 0; group < groups; group++) {
        const wanted = { gradients: ofGroup(gradients, group), inputs: ofGroup(inputs, group) };
        const found = await callNative(
          context,
          { file: index.path },
          control => opened.calibrate(tokens, contextLength, wanted, control),
          done => {
            report(group * samples + done);
            input.onProgress?.((group * samples + done) / groups);
          },
        );
        first ??= found;
      }
      return first!;
    });
  });
  const warnings = [...windows.notes, ...model.warnings];
  const { used: precision } = context.precision;
  return describe(context, out, targets, { ...counts, losses: [...losses], precision, warnings }, start);
}

/**
 * Adds files up: gradients weigh by their sequences, second moments by their tokens, as one pass over all texts would have
 * given them. The files hold the same matrices of the same model.
 * @param model its hash, see `modelHash`
 * @throws LqError 'calibration-mismatch', 'disk-full', 'cancelled', 'io'.
 */
export async function mergeCalibration(
  context: PipelineContext,
  files: readonly string[],
  model: string,
  out: string,
): Promise<CalibrationReport> {
  const start = context.now();
  if (files.length < 2) throw new LqError('usage', 'Adding statistics up takes at least two files.');
  const opened = await Promise.all(files.map(file => openStatistics(context, file)));
  const [first, ...others] = opened as [OpenedStatistics, ...OpenedStatistics[]];
  if (first.metadata['model'] !== model)
    throw new LqError('calibration-mismatch', `${first.file} is of another model.`, { file: first.file });
  for (const other of others) requireAlike(first, other);
  const total = (of: (counts: Counts) => number): number => opened.reduce((sum, { counts }) => sum + of(counts), 0);
  const counts: Counts = {
    samples: total(({ samples }) => samples),
    context: first.counts.context,
    tokens: total(({ tokens }) => tokens),
  };
  const texts = opened.map(({ metadata }) => metadata['text'] ?? '');
  const header = serializeHeader(
    first.index.tensors.map(({ name, shape }) => ({ name, dtype: 'F32', shape })),
    { ...first.metadata, ...numbers(counts), text: context.digest(texts.join()) },
  );
  const report = stageReporter(context, 'calibrate', header.tensors.length);
  await writeWhole(context, out, header, async (partial, places) => {
    let done = 0;
    for (const [name, place] of places) {
      const byTokens = name.endsWith('.second_moment') || name.endsWith('.mean_square');
      const sources = opened.map(({ index, counts: own }) => {
        const { file: path, offset, bytes } = index.byName.get(name)!;
        const weight = byTokens ? own.tokens / counts.tokens : own.samples / counts.samples;
        return { range: { path, offset, bytes }, weight };
      });
      const { offset, bytes } = place;
      await callNative(context, { file: out, tensor: name }, control =>
        context.native.weightedSum(sources, { path: partial, offset, bytes }, control),
      );
      report(++done, { item: name });
    }
  });
  const targets = [...first.inputs.keys()].map(name => ({ name }));
  return describe(context, out, targets, { ...counts, losses: [], warnings: [] }, start);
}

/**
 * Opens a statistics file for use.
 * @throws LqError 'calibration-mismatch' naming the tensor that is missing or has another shape, and those of opening a
 *   safetensors file.
 */
export async function openCalibration(
  context: PipelineContext,
  file: string,
  targets: readonly Pick<LogicalTensor, 'name' | 'shape'>[],
): Promise<CalibrationSource> {
  const { index, inputs, counts, metadata } = await openStatistics(context, file);
  const diagonal = metadata['moments'] === 'diagonal';
  const need = (name: string, shape: readonly number[]): TensorInfo => {
    const tensor = index.byName.get(name);
    if (tensor === undefined) throw mismatch(file, name, `The statistics have no ${name}.`);
    if (tensor.dtype !== 'F32' || tensor.shape.join() !== shape.join()) {
      const found = `${tensor.dtype} [${tensor.shape.join(', ')}]`;
      throw mismatch(file, name, `The statistics have ${name} as ${found} where F32 [${shape.join(', ')}] is needed.`);
    }
    return tensor;
  };
  const momentsOf = new Map<string, { source: DenseSource; meanSquare: number; hash: string }>();
  const matrices = new Map<string, MatrixStatistics>();
  for (const { name, shape } of targets) {
    const input = inputs.get(name);
    if (input === undefined) throw mismatch(file, name, `The statistics have no matrix named ${name}.`);
    const [rows, cols] = shape as [number, number];
    const rowMean = need(rowMeanName(name), [rows]);
    let moment = momentsOf.get(input);
    if (moment === undefined) {
      const meanSquares = need(meanSquareName(input), [cols]);
      const tensor = diagonal ? meanSquares : need(secondMomentName(input), [cols, cols]);
      const values = await readFloats(context, meanSquares);
      const meanSquare = values.reduce((sum, value) => sum + value, 0) / cols;
      moment = { source: tensorSource(tensor), meanSquare, hash: await hashOf(context, tensor) };
      momentsOf.set(input, moment);
    } else if (moment.source.cols !== cols) {
      throw mismatch(file, name, `${name} has ${cols} columns; the input ${input} has ${moment.source.cols}.`);
    }
    const elementwise = index.byName.get(name);
    const means = await readFloats(context, rowMean);
    matrices.set(name, {
      rowMean: tensorSource(rowMean),
      secondMoment: moment.source,
      meanSquare: moment.meanSquare,
      fisherMean: means.reduce((sum, value) => sum + value, 0) / rows,
      input,
      hash: context.digest(`${await hashOf(context, rowMean)} ${moment.hash}`),
      ...(elementwise !== undefined && { fisher: tensorSource(need(name, shape)) }),
    });
  }
  const hash = context.digest([...matrices].map(([name, matrix]) => `${name} ${matrix.hash}`).join('\n'));
  return { file, hash, ...counts, matrices, diagonal };
}

// --- The file -----------------------------------------------------------------------------------------------------------

function readersOf(places: readonly WeightPlace[], targets: readonly LogicalTensor[]): readonly Reader[] {
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

function tensorsOf(readers: readonly Reader[], fisher: boolean): TensorSpec[] {
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
function bytesByLayer(readers: readonly Reader[], fisher: boolean): Map<number, number> {
  const bytes = new Map<number, number>();
  for (const { name, shape, place, source } of readers) {
    const [rows, cols] = shape as [number, number];
    const own = (fisher ? 4 * rows * cols : 0) + (name === source ? 4 * cols * cols : 0);
    bytes.set(place.layer, (bytes.get(place.layer) ?? 0) + own);
  }
  return bytes;
}

const numbers = ({ samples, context, tokens }: Counts): Record<string, string> => ({
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
async function writeWhole<T>(
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

interface OpenedStatistics {
  readonly file: string;
  readonly index: CheckpointIndex;
  readonly metadata: Readonly<Record<string, string>>;
  /** The input of each target. */
  readonly inputs: ReadonlyMap<string, string>;
  readonly counts: Counts;
}

async function openStatistics(context: PipelineContext, file: string): Promise<OpenedStatistics> {
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

function requireAlike(first: OpenedStatistics, other: OpenedStatistics): void {
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

const mismatch = (file: string, tensor: string, message: string): LqError =>
  new LqError('calibration-mismatch', message, { file, tensor });

const hashOf = (context: PipelineContext, { file, name, offset, bytes }: TensorInfo): Promise<string> =>
  callNative(context, { file, tensor: name }, control => context.native.hash({ path: file, offset, bytes }, control));

async function readFloats(context: PipelineContext, { file, offset, bytes }: TensorInfo): Promise<Float64Array> {
  const raw = await context.files.read(file, offset, bytes);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return Float64Array.from({ length: bytes / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

async function describe(
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
