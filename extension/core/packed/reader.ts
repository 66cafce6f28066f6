/** Reading packed checkpoints: from headers to sources the native module understands. */
import type {
  ByteRange,
  EncodedSource,
  FactorSource,
  LqSource,
  NativeBook,
  PackedTensor,
  QuantConfig,
} from '../native';
import type { TensorSpec } from '../checkpoint/serialize';
import { tensorSource } from '../checkpoint/sources';
import type { CheckpointIndex, TensorInfo } from '../checkpoint/types';
import type { Dtype } from '../dtypes';
import { LqError } from '../errors';
import { NF8_FACTORS, paperConfig } from '../options/config';
import { nativeOption } from '../options/native-option';
import { optionParts } from '../options/option';
import type { FactorStorage, Option } from '../options/types';
import { matrixParts, parseShardMetadata, partPrefix, type MatrixDescription, type ShardDescription } from './format';

/** One matrix of a packed checkpoint. */
export interface PackedMatrix {
  readonly name: string;
  /** Of the tensor it stands for. */
  readonly dtype: Dtype;
  readonly shape: readonly [number, number];
  /** That tensor is the transpose, [cols, rows]. */
  readonly transposed: boolean;
  readonly option: Option;
  readonly factors: FactorStorage;
  readonly source: LqSource | EncodedSource;
  /** The stored tensors, in the order of the format. */
  readonly parts: readonly TensorInfo[];
  /** Bytes of all parts. */
  readonly bytes: number;
}

/**
 * The packed matrices of a checkpoint by the names they stand for; none for a checkpoint of another kind. Every part is
 * checked for presence, dtype and size.
 * @throws LqError 'packed-format' naming file and tensor.
 */
export function readPacked(index: CheckpointIndex): Map<string, PackedMatrix> {
  const found = new Map<string, PackedMatrix>();
  const claimed = new Set<string>();
  for (const shard of index.shards) {
    const description = parseShardMetadata(shard.metadata, shard.file);
    if (!description) continue;
    const books = nativeBooks(description);
    for (const [name, matrix] of Object.entries(description.matrices)) {
      if (found.has(name) || index.byName.has(name)) throw fault(shard.file, name, 'is stored twice');
      const specs = matrixParts(name, matrix, description.factors);
      const parts = specs.map(spec => part(index, shard.file, name, spec));
      for (const { name: stored } of parts) claimed.add(stored);
      found.set(name, packedMatrix(name, matrix, description, books, parts));
    }
  }
  const stray =
    found.size > 0 && index.tensors.find(tensor => tensor.name.includes('.lq.') && !claimed.has(tensor.name));
  if (stray) throw fault(stray.file, stray.name, 'is a packed part that no matrix claims');
  return found;
}

function part(index: CheckpointIndex, file: string, matrix: string, spec: TensorSpec): TensorInfo {
  const tensor = index.byName.get(spec.name);
  if (!tensor || tensor.file !== file) throw fault(file, matrix, `lacks its part ${spec.name}`);
  const same = tensor.dtype === spec.dtype && tensor.shape.join() === spec.shape.join();
  if (!same) {
    const stored = `${tensor.dtype} [${tensor.shape.join(', ')}]`;
    throw fault(file, matrix, `has ${spec.name} as ${stored} instead of ${spec.dtype} [${spec.shape.join(', ')}]`);
  }
  return tensor;
}

function packedMatrix(
  name: string,
  { dtype, shape, transposed, option }: MatrixDescription,
  { factors, seed }: ShardDescription,
  books: ReadonlyMap<string, NativeBook>,
  parts: readonly TensorInfo[],
): PackedMatrix {
  const prefix = partPrefix(name);
  const byName = new Map(parts.map(tensor => [tensor.name, tensor]));
  const range = (stored: string): ByteRange => {
    const { file, offset, bytes } = byName.get(stored)!;
    return { path: file, offset, bytes };
  };
  const quantized = (at: string, config: QuantConfig, count: number): PackedTensor => ({
    config,
    book: books.get(`nf${config.b0}`)!,
    count,
    codes: range(`${at}.codes`),
    scales: range(`${at}.scales`),
    groups: range(`${at}.groups`),
    offset: range(`${at}.offset`),
  });
  const factor = (stored: string, height: number, width: number): FactorSource =>
    factors === 'nf8'
      ? { kind: 'packed', rows: height, cols: width, packed: quantized(stored, NF8_FACTORS, height * width) }
      : tensorSource(byName.get(stored)!);
  const [rows, cols] = shape;
  const lowRank = option.rank > 0 && {
    l1: factor(`${prefix}.l1`, rows, option.rank),
    l2: factor(`${prefix}.l2`, option.rank, cols),
  };
  const other = transposed && { transposed };
  const config = paperConfig(option);
  const source: LqSource | EncodedSource =
    config !== undefined
      ? { kind: 'lq', rows, cols, ...other, quantized: quantized(prefix, config, rows * cols), ...lowRank }
      : {
          kind: 'encoded',
          rows,
          cols,
          ...other,
          option: nativeOption(option, option.grid.kind === 'nf' ? books.get(`nf${option.grid.bits}`) : undefined),
          seed,
          parts: Object.fromEntries(
            optionParts(option, rows, cols).map(part => [part.name, range(`${prefix}.${part.name}`)]),
          ),
          ...lowRank,
        };
  const bytes = parts.reduce((sum, tensor) => sum + tensor.bytes, 0);
  return { name, dtype, shape, transposed: transposed === true, option, factors, source, parts, bytes };
}

function nativeBooks({ books }: ShardDescription): Map<string, NativeBook> {
  return new Map(
    Object.entries(books).map(([name, levels]) => [
      name,
      { bits: Math.log2(levels.length), levels: Float32Array.from(levels) },
    ]),
  );
}

function fault(file: string, tensor: string, what: string): LqError {
  return new LqError('packed-format', `${file}: ${tensor} ${what}.`, { file, tensor });
}
