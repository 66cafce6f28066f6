/** Where every byte of a packed checkpoint goes, decided before anything is computed or written. */
import { dtypeBits } from '../dtypes';
import type { ByteRange, DenseSource, EncodeDestination, EncodedSource, LqDestination, LqSource } from '../native';
import { joinPath } from '../files/paths';
import { baseName } from '../format';
import { serializeHeader, serializeIndex, type TensorSpec } from '../checkpoint/serialize';
import type { CheckpointIndex, TensorInfo } from '../checkpoint/types';
import { LqError } from '../errors';
import { elementTensor } from '../checkpoint/sources';
import { packedBytes } from '../options/option';
import type { FactorStorage, Option } from '../options/types';
import type { TensorCopy } from '../storage/copy';
import { indexFileOf, shardName } from '../checkpoint/shards';
import { aligned, describeShard, matrixParts, packedFile, shardMetadata, type MatrixDescription } from './format';
import { readPacked } from './reader';

/** A matrix to be packed and how. */
export interface PackedTarget {
  readonly name: string;
  readonly option: Option;
}

export interface PackedLayout {
  readonly shards: readonly { readonly file: string; readonly bytes: number; readonly header: Uint8Array }[];
  /** In the order of the targets. `source` is what reading the finished file gives. */
  readonly matrices: readonly {
    readonly name: string;
    readonly tensor: TensorInfo;
    readonly option: Option;
    readonly shard: string;
    readonly source: LqSource | EncodedSource;
  }[];
  /** Tensors kept bit for bit. */
  readonly copies: readonly TensorCopy[];
  /** The shard index: its file name and text, when the source has one. */
  readonly index?: { readonly file: string; readonly text: string };
  /** Bytes of all files of weights, headers included. */
  readonly bytes: number;
}

/**
 * Bytes of every shard's header that are enough whatever is chosen, so that the files' size is the same for all choices but for
 * the matrices themselves. Factors may be stored in any way.
 */
export function headerRoom(
  source: CheckpointIndex,
  targets: readonly { readonly name: string; readonly options: readonly Option[] }[],
): number[] {
  const [factors, seed] = ['nf8', Number.MAX_SAFE_INTEGER] as const; // what takes most room
  const all = [...new Set(targets.flatMap(({ options }) => options))];
  const largest = targets.map(({ name, options }) => {
    const [rows, cols] = source.byName.get(name)!.shape as [number, number];
    return Math.max(...options.map(option => packedBytes(option, rows, cols, 'fp32')));
  });
  // Behind a tensor of this size no offset has fewer digits than any there could be.
  const filler: TensorSpec = {
    name: '',
    dtype: 'U8',
    shape: [largest.reduce((sum, bytes) => sum + bytes, source.bytes)],
  };
  const lengthOf = (name: string, matrix: MatrixDescription): number => {
    const metadata = shardMetadata(describeShard(new Map([[name, matrix]]), factors, seed, []));
    return serializeHeader([filler, ...matrixParts(name, matrix, factors)], metadata).bytes.length;
  };
  const longest = new Map(
    targets.map(({ name, options }) => {
      let [most, widest] = [0, describeTarget(source, name, options[0]!)];
      for (const option of options) {
        const matrix = describeTarget(source, name, option);
        const length = lengthOf(name, matrix);
        if (length > most) [most, widest] = [length, matrix];
      }
      return [name, widest];
    }),
  );
  return source.shards.map(({ file }) => {
    const { specs, packed } = shardContents(source, file, longest, factors);
    const metadata = shardMetadata(describeShard(packed, factors, seed, packed.size === 0 ? [] : all));
    return serializeHeader([filler, ...aligned(specs)], metadata).bytes.length;
  });
}

/** The tensors of a shard, in the order of the source, and its packed matrices. */
function shardContents(
  source: CheckpointIndex,
  file: string,
  described: ReadonlyMap<string, MatrixDescription>,
  factors: FactorStorage,
): { specs: TensorSpec[]; packed: Map<string, MatrixDescription> } {
  const own = source.tensors.filter(tensor => tensor.file === file);
  const packed = new Map(own.flatMap(({ name }) => (described.has(name) ? [[name, described.get(name)!]] : [])));
  const specs = own.flatMap((tensor): TensorSpec[] => {
    const matrix = packed.get(tensor.name);
    return matrix ? matrixParts(tensor.name, matrix, factors) : [elementTensor(tensor)];
  });
  return { specs, packed };
}

/**
 * Lays a packed checkpoint out in `folder`, sharded like the source. File names are relative to the folder, ranges absolute.
 * @param headers bytes of the shards' headers at least, see `headerRoom`
 * @throws LqError 'tensor-not-found' or 'unsupported-dtype' for a target that is not a float matrix of the source.
 */
export function planPackedLayout(
  source: CheckpointIndex,
  targets: readonly PackedTarget[],
  { factors, seed, headers }: { factors: FactorStorage; seed: number; headers?: readonly number[] },
  folder: string,
): PackedLayout {
  const described = new Map(targets.map(({ name, option }) => [name, describeTarget(source, name, option)]));
  const planned = source.shards.map((shard, i) => {
    const { specs, packed } = shardContents(source, shard.file, described, factors);
    const metadata = shardMetadata(describeShard(packed, factors, seed));
    const header = serializeHeader(aligned(specs), metadata, headers?.[i]);
    return { file: packedFile(shardName(source, shard.file)), header, metadata };
  });

  // Reading the headers back gives the destinations, so writer and reader cannot disagree.
  const written = planned.flatMap(({ file, header }) =>
    header.tensors.map((place): TensorInfo => ({ ...place, file: joinPath(folder, file) })),
  );
  const byName = new Map(written.map(tensor => [tensor.name, tensor]));
  const shards = planned.map(({ file, header, metadata }) => ({
    file: joinPath(folder, file),
    bytes: header.fileBytes,
    headerBytes: header.bytes.length,
    metadata,
    tensors: header.tensors.length,
  }));
  const matrices = readPacked({ ...source, folder, shards, tensors: written, byName });
  const bytes = planned.reduce((sum, { header }) => sum + header.fileBytes, 0);
  const index = indexFileOf(source);
  return {
    shards: planned.map(({ file, header }) => ({ file, bytes: header.fileBytes, header: header.bytes })),
    matrices: targets.map(({ name, option }) => {
      const tensor = source.byName.get(name)!;
      return {
        name,
        tensor,
        option,
        shard: packedFile(shardName(source, tensor.file)),
        source: matrices.get(name)!.source,
      };
    }),
    copies: source.tensors
      .filter(({ name }) => !described.has(name))
      .map(tensor => {
        const to = byName.get(tensor.name)!;
        return {
          name: tensor.name,
          shard: packedFile(shardName(source, tensor.file)),
          from: { path: tensor.file, offset: tensor.offset, bytes: tensor.bytes },
          to: { path: to.file, offset: to.offset, bytes: to.bytes },
        };
      }),
    ...(index !== undefined && {
      index: {
        file: packedFile(baseName(index)),
        text: serializeIndex(
          planned.map(({ file, header }) => ({
            file,
            tensors: header.tensors,
            bytes: header.fileBytes - header.bytes.length,
          })),
        ),
      },
    }),
    bytes,
  };
}

/** Where the LQ iteration writes what `source` will read. */
export function lqDestination({ quantized, l1, l2 }: LqSource): LqDestination {
  const { codes, scales, groups, offset } = quantized;
  return { codes, scales, groups, offset, ...(l1 && { l1 }), ...(l2 && { l2 }) };
}

/** Where encoding writes what `source` will read. */
export function encodeDestination(source: LqSource | EncodedSource): EncodeDestination {
  const { l1, l2 } = source;
  const factors = { ...(l1 && { l1 }), ...(l2 && { l2 }) };
  if (source.kind === 'encoded') return { parts: source.parts, ...factors };
  const { codes, scales, groups, offset } = source.quantized;
  return { parts: { codes, scales, groups, offset }, ...factors };
}

type PackedMatrix = PackedLayout['matrices'][number];
type Part = ByteRange | DenseSource;

/** Where the parts of a matrix are, in an order that is the same for every layout. */
export function partsOf({ source }: PackedMatrix): ByteRange[] {
  const parts: ByteRange[] = [];
  mapParts(encodeDestination(source), part => {
    const { path, offset } = part;
    const bytes = 'bytes' in part ? part.bytes : (part.rows * part.cols * dtypeBits(part.dtype)) / 8;
    parts.push({ path, offset, bytes });
    return part;
  });
  return parts;
}

/** The matrix with its parts, in the order of `partsOf`, elsewhere. */
export function withParts(matrix: PackedMatrix, parts: readonly ByteRange[]): PackedMatrix {
  const placeOf = ({ path, offset }: Part): string => `${offset} ${path}`;
  const own = partsOf(matrix).map((part, i) => [placeOf(part), parts[i]!] as const);
  const moved = new Map(own.filter(([, { bytes }]) => bytes > 0));
  const source = mapParts(matrix.source, part => {
    const { path, offset } = moved.get(placeOf(part)) ?? part;
    return { ...part, path, offset };
  });
  return { ...matrix, source };
}

const isPart = (value: object): value is Part => 'path' in value && 'offset' in value;

/** A value with every part on a disk that it names replaced. */
function mapParts<T>(value: T, change: (part: Part) => Part): T {
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  if (isPart(value)) return change(value) as T;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, mapParts(part, change)])) as T;
}

function describeTarget(source: CheckpointIndex, name: string, option: Option): MatrixDescription {
  const tensor = source.byName.get(name);
  if (!tensor) throw new LqError('tensor-not-found', `${source.label} has no tensor named ${name}.`, { tensor: name });
  const [rows, cols] = tensor.shape;
  if (tensor.shape.length !== 2 || !rows || !cols || !/^(F64|F32|F16|BF16)$/.test(tensor.dtype))
    throw new LqError(
      'unsupported-dtype',
      `${name} is ${tensor.dtype} [${tensor.shape.join(', ')}], not a float matrix.`,
      {
        file: tensor.file,
        tensor: name,
      },
    );
  const { dtype } = elementTensor(tensor);
  return { dtype, shape: [rows, cols], ...(tensor.transposed && { transposed: true }), option };
}
