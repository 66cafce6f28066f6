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
import { callNative, stageReporter, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { describeModel, withLanguageModel } from '../evaluation/language-model';
import { TextTokenizer } from '../evaluation/tokenizer';
import { targetPlaces } from './places';
import { readWindows } from '../evaluation/windows';

const PARTIAL_SUFFIX = '.partial';
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
  readonly out: string;
}

/** Identifies the weights of a model: every tensor's name and content. */
export async function modelHash(context: PipelineContext, tensors: readonly LogicalTensor[]): Promise<string> {
  const lines: string[] = [];
  for (const tensor of tensors) lines.push(`${tensor.name} ${await contentHash(context, tensor)}`);
  return context.digest(lines.join('\n'));
}

/**
 * Computes Fisher information and writes it to `out`, which appears when it is complete. Progress counts sequences.
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
    { context: contextLength, windows: samples },
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
  const partial = out + PARTIAL_SUFFIX;
  const report = stageReporter(context, 'fisher', samples);
  let losses: Float64Array;
  try {
    await context.files.allocate(partial, header.fileBytes, header.bytes);
    const gradients = header.tensors.map((place, i) => ({ ...places[i]!, fisher: rangeIn(partial, place) }));
    losses = await withLanguageModel(context, model, opened =>
      callNative(
        context,
        { file: index.path },
        control => opened.calibrate(windows.tokens, contextLength, { gradients, inputs: [] }, control),
        done => report(done),
      ),
    );
    await context.files.sync(partial);
    await context.files.rename(partial, out);
  } catch (error) {
    await context.files.remove(partial);
    throw error;
  }
  const source = await openFisher(context, out, targets);
  const matrices: FisherReport['matrices'] = [];
  for (const [name, matrix] of source.matrices) {
    const { mean, count, max } = await callNative(context, { file: out, tensor: name }, control =>
      context.native.statistics(context.device, matrix, 0, control),
    );
    matrices.push({ name, sum: mean * count, max });
  }
  return {
    out,
    hash: source.hash,
    samples,
    context: contextLength,
    losses: [...losses],
    matrices,
    seconds: (context.now() - start) / 1000,
    warnings: [...windows.notes, ...model.warnings],
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
    hashes.set(
      name,
      await callNative(context, { file, tensor: name }, control =>
        context.native.hash({ path, offset, bytes }, control),
      ),
    );
  return { file, hash: context.digest([...hashes.values()].join()), matrices, hashes };
}

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
