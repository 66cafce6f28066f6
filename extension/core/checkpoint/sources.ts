/** Tensors as the native module reads them, and the hashes that identify their content. */
import type { DenseSource } from '../native';
import { callNative, type PipelineContext } from '../context';
import { isDtype, type Dtype } from '../dtypes';
import { LqError } from '../errors';
import { readCached, writeCached } from '../storage/cache';
import { storedShape } from './slices';
import type { CheckpointIndex, LogicalTensor, TensorInfo } from './types';

/** A tensor of elements, as safetensors holds them. @throws LqError 'unsupported-dtype' for blocks of a GGUF file. */
export function elementTensor(tensor: TensorInfo): TensorInfo & { readonly dtype: Dtype } {
  const { transposed: _, ...stored } = tensor;
  const { name, dtype, file } = stored;
  if (isDtype(dtype)) return { ...stored, dtype, shape: storedShape(tensor) };
  throw new LqError('unsupported-dtype', `${name} is stored in blocks of ${dtype}.`, { file, tensor: name });
}

/** Where a stored tensor's bytes are. Rank 2 keeps its shape, anything else is [1, n]. */
export function tensorSource(tensor: TensorInfo): DenseSource {
  const [rows, cols] =
    tensor.shape.length === 2
      ? (tensor.shape as [number, number])
      : [1, tensor.shape.reduce((product, size) => product * size, 1)];
  const { file: path, offset, dtype } = elementTensor(tensor);
  return { kind: 'dense', path, offset, dtype, rows, cols, ...(tensor.transposed && { transposed: true }) };
}

/** The transpose of what is stored, whether it is given as stored or turned already. */
export const turnedSource = (source: DenseSource): DenseSource =>
  source.transposed ? source : { ...source, rows: source.cols, cols: source.rows, transposed: true };

/** The bytes of a logical tensor that is stored densely; `unsupported-dtype` names the format of one that is not. */
export function denseSource(target: LogicalTensor): DenseSource {
  const part = target.parts[0];
  if (target.format !== 'dense' || part === undefined)
    throw new LqError(
      'unsupported-dtype',
      `${target.name} is stored as ${target.dtype} (${target.format}); compression starts from a dense checkpoint.`,
      { tensor: target.name, ...(part !== undefined && { file: part.file }) },
    );
  return tensorSource(part);
}

/** Hash of a tensor's stored bytes, all its parts, and of what they are taken for. */
export async function contentHash(context: PipelineContext, tensor: LogicalTensor): Promise<string> {
  const hashes: string[] = [];
  for (const part of tensor.parts) {
    const range = { path: part.file, offset: part.offset, bytes: part.bytes };
    const hash = await callNative(context, { file: part.file, tensor: tensor.name }, control =>
      context.native.hash(range, control),
    );
    hashes.push(part.transposed ? context.digest(`transposed ${hash}`) : hash);
  }
  return hashes.length === 1 ? (hashes[0] as string) : context.digest(hashes.join());
}

/**
 * Identifies the content of a checkpoint's files of weights, whatever their folder is called. The hash of a file is found
 * again while it keeps size and time.
 */
export async function filesHash(
  context: PipelineContext,
  { shards }: Pick<CheckpointIndex, 'shards'>,
): Promise<string> {
  const hashes: string[] = [];
  for (const { file } of shards) {
    const stat = await context.files.stat(file);
    const key = { file, bytes: stat?.bytes, modified: stat?.modified };
    let hash = await readCached<string>(context, 'hash', key);
    if (hash === undefined) {
      const range = { path: file, offset: 0, bytes: stat?.bytes ?? 0 };
      hash = await callNative(context, { file }, control => context.native.hash(range, control));
      await writeCached(context, 'hash', key, hash);
    }
    hashes.push(hash);
  }
  return context.digest(hashes.join());
}

/** Identifies a checkpoint's files by size and time, without reading them. */
export async function filesStamp(
  { files }: Pick<PipelineContext, 'files'>,
  { shards }: Pick<CheckpointIndex, 'shards'>,
): Promise<unknown> {
  return Promise.all(
    shards.map(async ({ file }) => {
      const stat = await files.stat(file);
      return [file, stat?.bytes, stat?.modified];
    }),
  );
}
