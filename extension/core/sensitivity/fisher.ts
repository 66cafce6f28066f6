/**
 * Fisher information: for each matrix, the mean over calibration sequences of the elementwise squared gradient of the
 * sequence's mean cross entropy (docs: method, "Fisher"). One safetensors file, fp32, under the weights' own names.
 */
import type { FisherReport, FisherSource } from './types';
import { openCheckpoint } from '../logical/open';
import { serializeHeader, type TensorPlace } from '../checkpoint/serialize';
import { knownHash, tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor, TensorInfo } from '../checkpoint/types';
import type { FileSystem } from '../files/types';
import { callNative, stageReporter, type PipelineContext, type Where } from '../context';
import { LqError } from '../errors';
import type { ByteRange } from '../native';
import { forWindows, withLanguageModel } from '../evaluation/language-model';
import { readModelWindows } from '../evaluation/model-windows';
import { targetPlaces } from './places';
import { unreachedWarning } from './unreached';

/** Under these keys of the file's `__metadata__`. */
const FORMAT = 'lq-studio.fisher';
const FORMAT_VERSION = '1';

/** Sequences of a text, from `first` on. */
export interface Range {
  readonly first: number;
  readonly count: number;
}

export interface FisherInput {
  readonly index: CheckpointIndex;
  /** Matrices wanted, by name. */
  readonly targets: readonly LogicalTensor[];
  /** The calibration text's file; its first `samples` windows of `contextLength` tokens are the sequences. */
  readonly calibration: string;
  readonly samples: number;
  readonly contextLength: number;
  /** The first of them that is taken, with `count` from there on; absent: all. */
  readonly part?: Range;
  /** Hash of the weights that the network is made of, see `modelHash`. */
  readonly model: string;
  /** Where it is written: a name that the caller gives a finished file its own instead. */
  readonly out: string;
  /** Told of sequences done. */
  readonly onProgress?: (done: number) => void;
}

/** Identifies the weights of a model: every tensor's name and content. */
export async function modelHash(context: PipelineContext, tensors: readonly LogicalTensor[]): Promise<string> {
  const lines: string[] = [];
  for (const tensor of tensors) lines.push(`${tensor.name} ${await knownHash(context, tensor)}`);
  return context.digest(lines.join('\n'));
}

/**
 * Computes Fisher information and writes it to `out`, which is there only if that succeeds. Progress counts sequences.
 * @throws LqError 'no-targets', 'unsupported-model', 'tensor-not-found', 'tokenizer', 'text-too-short', 'disk-full',
 *   'not-finite', 'cancelled', 'io'.
 */
export async function computeFisher(context: PipelineContext, input: FisherInput): Promise<FisherReport> {
  const { index, targets, calibration, contextLength, out } = input;
  const { first, count: samples } = input.part ?? { first: 0, count: input.samples };
  const start = context.now();
  const wanted = { context: contextLength, windows: first + samples };
  const { model, tokenizer, windows } = await readModelWindows(context, index, calibration, wanted);
  const places = targetPlaces(model, targets, 'Fisher information');
  const tokens = windows.tokens.subarray(first * contextLength);
  const header = serializeHeader(
    targets.map(({ name, shape }) => ({ name, dtype: 'F32', shape })),
    {
      format: FORMAT,
      format_version: FORMAT_VERSION,
      model: input.model,
      text: context.digest(windows.text),
      tokenizer: context.digest(tokenizer.source),
      samples: String(samples),
      context: String(contextLength),
    },
  );
  const report = stageReporter(context, 'fisher', samples);
  let losses: Float64Array;
  try {
    await context.files.allocate(out, header.fileBytes, header.bytes);
    const gradients = header.tensors.map((place, i) => ({ ...places[i]!, fisher: rangeIn(out, place) }));
    losses = await withLanguageModel(context, forWindows(model, windows), opened =>
      callNative(
        context,
        { file: index.path },
        control => opened.calibrate(tokens, contextLength, { gradients, inputs: [] }, control),
        done => {
          report(done);
          input.onProgress?.(done);
        },
      ),
    );
    await context.files.sync(out);
  } catch (error) {
    await context.files.remove(out);
    throw error;
  }
  return describe(context, out, header.tensors, {
    ...{ samples, context: contextLength, losses: [...losses] },
    precision: context.precision.used,
    warnings: [...windows.notes, ...model.warnings],
    seconds: (context.now() - start) / 1000,
  });
}

/** A file and how many sequences it is the mean over. */
export interface FisherPart {
  readonly file: string;
  readonly report: FisherReport;
}

/**
 * Adds files of parts of one text up, as one pass over all of it would have given: means over sequences weigh by their number.
 * @param out a name that the caller gives a finished file its own instead
 * @throws LqError 'disk-full', 'cancelled', 'io'.
 */
export async function addFisher(
  context: PipelineContext,
  parts: readonly FisherPart[],
  out: string,
): Promise<FisherReport> {
  const start = context.now();
  const indices = await Promise.all(parts.map(({ file }) => openCheckpoint(context.files, file)));
  const [first] = indices as [CheckpointIndex];
  const samples = parts.reduce((sum, { report }) => sum + report.samples, 0);
  const header = serializeHeader(
    first.tensors.map(({ name, shape }) => ({ name, dtype: 'F32', shape })),
    { ...first.shards[0]!.metadata, samples: String(samples) },
  );
  const report = stageReporter(context, 'fisher', header.tensors.length);
  try {
    await context.files.allocate(out, header.fileBytes, header.bytes);
    for (const [i, place] of header.tensors.entries()) {
      const terms = parts.map((part, k) => {
        const { file: path, offset, bytes } = indices[k]!.byName.get(place.name)!;
        return { range: { path, offset, bytes }, weight: part.report.samples / samples };
      });
      await callNative(context, { file: out, tensor: place.name }, control =>
        context.native.weightedSum(terms, rangeIn(out, place), control),
      );
      report(i + 1, { item: place.name });
    }
    await context.files.sync(out);
  } catch (error) {
    await context.files.remove(out);
    throw error;
  }
  const reports = parts.map(each => each.report);
  const { warnings, precision } = reports[0]!;
  return describe(context, out, header.tensors, {
    ...{ samples, context: reports[0]!.context, precision },
    losses: reports.flatMap(({ losses }) => losses),
    // A sentence on the text is every part's; one on what a part did not reach is of that part.
    warnings: warnings.filter(warning => reports.every(each => each.warnings.includes(warning))),
    seconds: reports.reduce((sum, { seconds }) => sum + seconds, (context.now() - start) / 1000),
  });
}

/** The report of a file that is written, with what its matrices hold. */
async function describe(
  context: PipelineContext,
  out: string,
  tensors: readonly TensorPlace[],
  report: Omit<FisherReport, 'out' | 'hash' | 'matrices'>,
): Promise<FisherReport> {
  const matrices: FisherReport['matrices'] = [];
  const hashes: string[] = [];
  for (const place of tensors) {
    const matrix = tensorSource({ ...place, file: out });
    const where = { file: out, tensor: place.name };
    const { mean, count, max } = await callNative(context, where, control =>
      context.native.statistics(context.device, matrix, 0, control),
    );
    matrices.push({ name: place.name, sum: mean * count, max });
    hashes.push(await hashOf(context, { path: out, offset: place.offset, bytes: place.bytes }, where));
  }
  const unreached = matrices.filter(({ sum }) => sum === 0).map(({ name }) => name);
  return {
    ...{ out, hash: context.digest(hashes.join()), matrices },
    ...report,
    warnings: [
      ...report.warnings,
      ...unreachedWarning(unreached, 'have no Fisher information, and errors in them cost nothing under it'),
    ],
  };
}

/**
 * Opens a Fisher file, this product's or another's: any safetensors file with an fp32 tensor of each target's name and
 * shape. More tensors do no harm.
 * @throws LqError 'fisher-mismatch' naming the tensor, and those of opening a safetensors file.
 */
export async function openFisher(
  context: PipelineContext,
  file: string,
  targets: readonly LogicalTensor[],
): Promise<FisherSource> {
  const tensors = await fisherTensors(context.files, file, targets);
  const matrices = new Map(tensors.map(tensor => [tensor.name, tensorSource(tensor)]));
  const hashes = new Map<string, string>();
  for (const { name, file: path, offset, bytes } of tensors)
    hashes.set(name, await hashOf(context, { path, offset, bytes }, { file, tensor: name }));
  return { file, hash: context.digest([...hashes.values()].join()), matrices, hashes };
}

const hashOf = (context: PipelineContext, range: ByteRange, where: Where): Promise<string> =>
  callNative(context, where, control => context.native.hash(range, control));

const rangeIn = (path: string, { offset, bytes }: TensorPlace): { path: string; offset: number; bytes: number } => ({
  path,
  offset,
  bytes,
});

/**
 * The tensors of a Fisher file for these targets, from its header alone.
 * @throws LqError 'fisher-mismatch' when one is missing or of another shape, and those of `openCheckpoint`.
 */
export async function fisherTensors(
  files: FileSystem,
  file: string,
  targets: readonly LogicalTensor[],
): Promise<TensorInfo[]> {
  const index = await openCheckpoint(files, file);
  return targets.map(({ name, shape }) => {
    const tensor = index.byName.get(name);
    const where = { file, tensor: name };
    if (tensor === undefined)
      throw new LqError('fisher-mismatch', `The Fisher file has no matrix named ${name}.`, where);
    if (tensor.shape.join() !== shape.join() || tensor.dtype !== 'F32') {
      const found = `${tensor.dtype} [${tensor.shape.join(', ')}]`;
      const message = `The Fisher file has ${name} as ${found} where F32 [${shape.join(', ')}] is needed.`;
      throw new LqError('fisher-mismatch', message, where);
    }
    return tensor;
  });
}
