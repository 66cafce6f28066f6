/**
 * Fisher information: for each matrix, the mean over calibration sequences of the elementwise squared gradient of the
 * sequence's mean cross entropy (docs: method, "Fisher"). One safetensors file, fp32, under the weights' own names.
 */
import type { FisherReport, FisherSource } from './types';
import { openCheckpoint } from '../logical/open';
import { serializeHeader, type TensorPlace } from '../checkpoint/serialize';
import { contentHash, tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor, TensorInfo } from '../checkpoint/types';
import type { FileSystem } from '../files/types';
import { callNative, stageReporter, type PipelineContext, type Where } from '../context';
import { LqError } from '../errors';
import type { ByteRange } from '../native';
import { describeModel, forWindows, withLanguageModel } from '../evaluation/language-model';
import { TextTokenizer } from '../evaluation/tokenizer';
import { targetPlaces } from './places';
import { unreachedWarning } from './unreached';
import { readWindows } from '../evaluation/windows';

/** Under these keys of the file's `__metadata__`. */
const FORMAT = 'lq-studio.fisher';
const FORMAT_VERSION = '1';

export interface FisherInput {
  readonly index: CheckpointIndex;
  /** Matrices wanted, by name. */
  readonly targets: readonly LogicalTensor[];
  /** The calibration text's file; its first `samples` windows of `contextLength` tokens are the sequences. */
  readonly calibration: string;
  readonly samples: number;
  readonly contextLength: number;
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
  for (const tensor of tensors) lines.push(`${tensor.name} ${await contentHash(context, tensor)}`);
  return context.digest(lines.join('\n'));
}

/**
 * Computes Fisher information and writes it to `out`, which is there only if that succeeds. Progress counts sequences.
 * @throws LqError 'no-targets', 'unsupported-model', 'tensor-not-found', 'tokenizer', 'text-too-short', 'disk-full',
 *   'not-finite', 'cancelled', 'io'.
 */
export async function computeFisher(context: PipelineContext, input: FisherInput): Promise<FisherReport> {
  const { index, targets, calibration, samples, contextLength, out } = input;
  const start = context.now();
  const model = describeModel(index, { context: contextLength });
  const places = targetPlaces(model, targets, 'Fisher information');
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const windows = await readWindows(
    context.files,
    tokenizer,
    model.config.vocab,
    calibration,
    { context: contextLength, windows: samples, masked: model.masked },
    context.signal,
  );
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
        control => opened.calibrate(windows.tokens, contextLength, { gradients, inputs: [] }, control),
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
  const matrices: FisherReport['matrices'] = [];
  const hashes: string[] = [];
  for (const place of header.tensors) {
    const matrix = tensorSource({ ...place, file: out });
    const where = { file: out, tensor: place.name };
    const { mean, count, max } = await callNative(context, where, control =>
      context.native.statistics(context.device, matrix, 0, control),
    );
    matrices.push({ name: place.name, sum: mean * count, max });
    hashes.push(await hashOf(context, { path: out, offset: place.offset, bytes: place.bytes }, where));
  }
  return {
    out,
    hash: context.digest(hashes.join()),
    samples,
    context: contextLength,
    losses: [...losses],
    matrices,
    seconds: (context.now() - start) / 1000,
    precision: context.precision.used,
    warnings: [
      ...windows.notes,
      ...model.warnings,
      ...unreachedWarning(
        matrices.filter(({ sum }) => sum === 0).map(({ name }) => name),
        'have no Fisher information, and errors in them cost nothing under it',
      ),
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
