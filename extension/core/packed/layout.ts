/** Where every byte of a packed checkpoint goes, decided before anything is computed or written. */
import type { EncodeDestination, EncodedSource, LqDestination, LqSource } from '../native';
import { baseName, joinPath } from '../files/paths';
import { serializeHeader, serializeIndex, type TensorSpec } from '../checkpoint/serialize';
import type { CheckpointIndex, TensorInfo } from '../checkpoint/types';
import { LqError } from '../errors';
import { elementTensor } from '../checkpoint/sources';
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
  /** Tensor bytes of the packed checkpoint. */
  readonly bytes: number;
}

/**
 * Lays a packed checkpoint out in `folder`, sharded like the source. File names are relative to the folder, ranges absolute.
 * @throws LqError 'tensor-not-found' or 'unsupported-dtype' for a target that is not a float matrix of the source.
 */
export function planPackedLayout(
  source: CheckpointIndex,
  targets: readonly PackedTarget[],
  { factors, seed }: { factors: FactorStorage; seed: number },
  folder: string,
): PackedLayout {
  const described = new Map(targets.map(({ name, option }) => [name, describeTarget(source, name, option)]));
  const planned = source.shards.map(shard => {
    const own = source.tensors.filter(tensor => tensor.file === shard.file);
    const packed = new Map(own.flatMap(({ name }) => (described.has(name) ? [[name, described.get(name)!]] : [])));
    const specs = own.flatMap((tensor): TensorSpec[] => {
      const matrix = packed.get(tensor.name);
      return matrix ? matrixParts(tensor.name, matrix, factors) : [elementTensor(tensor)];
    });
    const metadata = shardMetadata(describeShard(packed, factors, seed));
    const header = serializeHeader(aligned(specs), metadata);
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
  const bytes = written.reduce((sum, tensor) => sum + tensor.bytes, 0);
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
  return { dtype: elementTensor(tensor).dtype, shape: [rows, cols], option };
}
