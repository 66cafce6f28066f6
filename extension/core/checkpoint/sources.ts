/** Tensors as the native module reads them, and the hashes that identify their content. */
import type { ByteRange, DenseSource } from '../native';
import { callNative, type PipelineContext } from '../context';
import { isDtype, type Dtype } from '../dtypes';
import { LqError } from '../errors';
import { readCached, writeCached } from '../storage/cache';
import { slicesOf, storedShape } from './slices';
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
  return hashOfParts(context, tensor, range => hashRange(context, range, tensor.name));
}

/**
 * `contentHash`, found again while the file keeps size and time: many processes ask for it many times, and one should have to
 * read the bytes.
 */
export async function knownHash(context: PipelineContext, tensor: LogicalTensor): Promise<string> {
  return hashOfParts(context, tensor, range => notedHash(context, range, tensor.name));
}

/** `knownHash` where next to nothing has to be read for it, else undefined. */
export async function foundHash(context: PipelineContext, tensor: LogicalTensor): Promise<string | undefined> {
  for (const { file: path, offset, bytes } of tensor.parts) {
    if (bytes < NOTED_BYTES) continue;
    if ((await readCached(context, 'hash', await rangeKey(context, { path, offset, bytes }))) === undefined)
      return undefined;
  }
  return knownHash(context, tensor);
}

async function hashOfParts(
  context: PipelineContext,
  { parts }: LogicalTensor,
  hashOf: (range: ByteRange) => Promise<string>,
): Promise<string> {
  const hashes: string[] = [];
  for (const { file: path, offset, bytes, transposed } of parts) {
    const hash = await hashOf({ path, offset, bytes });
    hashes.push(transposed ? context.digest(`transposed ${hash}`) : hash);
  }
  return hashes.length === 1 ? (hashes[0] as string) : context.digest(hashes.join());
}

const hashRange = (context: PipelineContext, range: ByteRange, tensor?: string): Promise<string> =>
  callNative(context, { file: range.path, ...(tensor !== undefined && { tensor }) }, control =>
    context.native.hash(range, control),
  );

/** Fewer bytes are read as soon as a note of their hash is. */
const NOTED_BYTES = 1 << 16;

async function notedHash(context: PipelineContext, range: ByteRange, tensor?: string): Promise<string> {
  if (range.bytes < NOTED_BYTES) return hashRange(context, range, tensor);
  const key = await rangeKey(context, range);
  const known = await readCached<string>(context, 'hash', key);
  if (known !== undefined) return known;
  const hash = await hashRange(context, range, tensor);
  await writeCached(context, 'hash', key, hash);
  return hash;
}

async function rangeKey({ files }: PipelineContext, { path, offset, bytes }: ByteRange) {
  const stat = await files.stat(path);
  return { path, bytes: stat?.bytes, modified: stat?.modified, offset, length: bytes };
}

/**
 * Identifies the content of a checkpoint's files of weights, whatever their folder is called: by the hashes of its tensors, most of
 * which are known where costs were measured, and of what lies between them. That of a file is found again while it keeps size
 * and time.
 */
export async function filesHash(
  context: PipelineContext,
  { shards, tensors }: Pick<CheckpointIndex, 'shards' | 'tensors'>,
): Promise<string> {
  const hashes: string[] = [];
  for (const { file } of shards) {
    const stat = await context.files.stat(file);
    const key = { file, bytes: stat?.bytes, modified: stat?.modified, version: 2 };
    let hash = await readCached<string>(context, 'hash', key);
    if (hash === undefined) {
      const own = tensors.filter(tensor => tensor.file === file);
      const found: string[] = [];
      for (const range of rangesOf(file, stat?.bytes ?? 0, own)) found.push(await notedHash(context, range));
      hash = context.digest(found.join());
      await writeCached(context, 'hash', key, hash);
    }
    hashes.push(hash);
  }
  return context.digest(hashes.join());
}

/** A file in ranges: those of its tensors, of three dimensions their matrices, and what is between and after them. */
function rangesOf(path: string, bytes: number, tensors: readonly TensorInfo[]): ByteRange[] {
  const matrices = tensors.flatMap(tensor => (tensor.shape.length === 3 ? slicesOf(tensor) : [tensor]));
  const ranges: ByteRange[] = [];
  let end = 0;
  const upTo = (offset: number): void => {
    if (offset > end) ranges.push({ path, offset: end, bytes: offset - end });
    end = Math.max(end, offset);
  };
  for (const { offset, bytes: own } of [...matrices].sort((a, b) => a.offset - b.offset)) {
    if (offset < end) continue;
    upTo(offset);
    upTo(offset + own);
  }
  upTo(bytes);
  return ranges;
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
