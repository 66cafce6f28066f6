/** Calibration statistics of a text: computed, added up, opened. What they are and how they are kept is calibration-file.ts's. */
import type { ByteRange, DenseSource, WantedGradient, WantedInput } from '../native';
import { serializeHeader } from '../checkpoint/serialize';
import { tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor, TensorInfo } from '../checkpoint/types';
import { callNative, stageReporter, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { forWindows, withLanguageModel } from '../evaluation/language-model';
import { readModelWindows } from '../evaluation/model-windows';
import { groupLayers } from './groups';
import { targetPlaces } from './places';
import type { CalibrationReport, CalibrationSource, MatrixStatistics } from './types';
import {
  rowMeanName,
  secondMomentName,
  meanSquareName,
  readersOf,
  tensorsOf,
  bytesByLayer,
  numbers,
  statisticsMetadata,
  writeWhole,
  openStatistics,
  requireAlike,
  mismatch,
  hashOf,
  readFloats,
  describe,
  type Counts,
  type OpenedStatistics,
} from './calibration-file';

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
  const { model, tokenizer, windows } = await readModelWindows(context, index, calibration, {
    context: contextLength,
    windows: firstWindow + samples,
  });
  const readers = readersOf(targetPlaces(model, targets, 'Calibration statistics'), targets);
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
