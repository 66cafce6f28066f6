/** Writing safetensors: headers with exact offsets, and the index of several files. */
import { LqError } from '../errors';
import { dtypeBits, elementCount } from '../dtypes';
import { LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_KEY } from './safetensors';
import { quoteName } from '../text';
import type { Dtype } from '../dtypes';

/** A tensor to be written. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** Where a tensor goes: an absolute byte position in its file. */
export interface TensorPlace extends TensorSpec {
  readonly offset: number;
  readonly bytes: number;
}

export interface SerializedHeader {
  /** Length, JSON and padding: the first bytes of the file. */
  readonly bytes: Uint8Array;
  /** In the order given, which is the order of their data. */
  readonly tensors: readonly TensorPlace[];
  /** Size of the whole file. */
  readonly fileBytes: number;
}

/** Bytes a tensor takes. @throws LqError 'tensor-size' when a sub-byte dtype does not fill whole bytes. */
export function tensorBytes({ name, dtype, shape }: TensorSpec): number {
  const bits = elementCount(shape) * dtypeBits(dtype);
  if (bits % 8 !== 0 || !Number.isSafeInteger(bits)) {
    const message = `${quoteName(name)}: shape [${shape.join(', ')}] of ${dtype} is not a whole number of bytes`;
    throw new LqError('tensor-size', message, { tensor: name });
  }
  return bits / 8;
}

/**
 * The header of a file that holds `tensors` in the given order, padded with spaces so that data starts at a multiple of 8.
 * @param least bytes before the first tensor at least: more spaces, where the size must not depend on what is said
 * @throws LqError 'duplicate-tensor', 'tensor-size', 'header-too-large'.
 */
export function serializeHeader(
  tensors: readonly TensorSpec[],
  metadata: Readonly<Record<string, string>> = {},
  least = 0,
): SerializedHeader {
  // Entries are joined as text because an object would move names that look like integers to the front.
  const entries: string[] = [];
  if (Object.keys(metadata).length > 0) entries.push(`${JSON.stringify(METADATA_KEY)}:${JSON.stringify(metadata)}`);
  const seen = new Set<string>([METADATA_KEY]);
  const ranges: { spec: TensorSpec; begin: number; bytes: number }[] = [];
  let end = 0;
  for (const spec of tensors) {
    const { name, dtype, shape } = spec;
    if (seen.has(name)) throw new LqError('duplicate-tensor', `${quoteName(name)} is given twice`, { tensor: name });
    seen.add(name);
    const bytes = tensorBytes(spec);
    entries.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [end, end + bytes] })}`);
    ranges.push({ spec, begin: end, bytes });
    end += bytes;
  }
  const json = new TextEncoder().encode(`{${entries.join(',')}}`);
  const length = Math.ceil(Math.max(json.length, least - LENGTH_BYTES) / 8) * 8;
  if (length > MAX_HEADER_BYTES) {
    throw new LqError('header-too-large', `a header of ${length} bytes; at most ${MAX_HEADER_BYTES} are allowed`);
  }
  const bytes = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, LENGTH_BYTES);
  return {
    bytes,
    tensors: ranges.map(({ spec, begin, bytes: size }) => ({
      name: spec.name,
      dtype: spec.dtype,
      shape: spec.shape,
      offset: bytes.length + begin,
      bytes: size,
    })),
    fileBytes: bytes.length + end,
  };
}

/** One file of a sharded checkpoint: its name, its tensors and their bytes. */
export interface ShardContents {
  readonly file: string;
  readonly tensors: readonly Pick<TensorSpec, 'name'>[];
  readonly bytes: number;
}

/** Text of `model.safetensors.index.json` for the given shards. */
export function serializeIndex(shards: readonly ShardContents[]): string {
  const weightMap: [string, string][] = [];
  for (const shard of shards) for (const tensor of shard.tensors) weightMap.push([tensor.name, shard.file]);
  const totalSize = shards.reduce((sum, shard) => sum + shard.bytes, 0);
  const index = { metadata: { total_size: totalSize }, weight_map: Object.fromEntries(weightMap) };
  return `${JSON.stringify(index, undefined, 2)}\n`;
}
