/**
 * A plan carried out by several workers. Each encodes matrices that no other has encoded or is at, into the cache that they
 * share: `encoded/<key>.safetensors` is a packed checkpoint of the one matrix, `<key>.json` its errors. Whoever writes the output
 * copies the parts from there, encodes what is missing, and removes what it took once the output is whole.
 */
import type { Plan } from '../allocation/types';
import type { CheckpointIndex } from '../checkpoint/types';
import { backendOf, callNative, type PipelineContext } from '../context';
import { dtypeBits } from '../dtypes';
import { LqError } from '../errors';
import { BUSY, overLanes, type ItemReport } from '../lanes';
import type { ByteRange, DenseSource } from '../native';
import { encodeDestination, planPackedLayout, type PackedLayout } from '../packed/layout';
import type { MatrixErrors } from '../packed/writer';
import type { Metric } from '../sensitivity/metric';
import type { SweepTable } from '../sensitivity/types';
import { shardOrder, type Shard } from '../shards';
import { cachedFileOnce, cachePath, findCachedFile, removeUnlessUsed } from '../storage/cache';
import { claimPath, describeHolder, mayBeAtWork, once, shareOf } from '../storage/claims';

/** Raised when what an encoding gives changes, so that older ones are not taken. */
const ENCODED_VERSION = 1;
const KIND = 'encoded';
const EXTENSION = '.safetensors';

/** What is encoded, and how. */
export interface Encoding {
  readonly index: CheckpointIndex;
  readonly table: SweepTable;
  readonly plan: Plan;
  /** The one the table was measured under. */
  readonly metric: Metric;
}

type Matrix = PackedLayout['matrices'][number];

/** Encodes a matrix to where its `source` is. */
export type EncodeOne = (lane: PipelineContext, matrix: Matrix, report: ItemReport) => Promise<MatrixErrors>;

/** What one worker did of a plan. */
export interface EncodedShare {
  /** Names of the matrices encoded here. */
  readonly computed: readonly string[];
  /** Matrices that were encoded before. */
  readonly found: number;
  /** Matrices that other workers were at. */
  readonly left: number;
}

/** Everything that the bytes of an encoded matrix depend on. */
function keyOf(lane: PipelineContext, { table, plan, metric }: Encoding, { name, option }: Matrix) {
  const row = table.matrices.find(each => each.name === name);
  if (row === undefined) throw new LqError('internal', `The plan's ${name} is not in the table.`, { tensor: name });
  const { hash, rows, cols } = row;
  const { loop, seed, metric: recipe } = table.recipe;
  return {
    version: ENCODED_VERSION,
    backend: backendOf(lane),
    ...{ hash, rows, cols, option, factors: plan.factors, loop, seed },
    metric: { ...recipe, statistics: metric.of(name).hash },
  };
}

/** One worker's part of a plan. Errors: those of `encode`, tensor-not-found, disk-full, io, cancelled. */
export async function encodeShard(
  context: PipelineContext,
  encoding: Encoding,
  shard: Shard,
  encode: EncodeOne,
): Promise<EncodedShare> {
  const { index, plan } = encoding;
  const sizeOf = (name: string): number => index.byName.get(name)!.shape.reduce((product, size) => product * size, 1);
  const order = shardOrder(
    plan.matrices.map(({ name }) => sizeOf(name)),
    shard,
  );
  const computed: string[] = [];
  const outcomes = await overLanes(context, {
    stage: 'decompose',
    items: order.map(i => plan.matrices[i]!),
    nameOf: ({ name }) => name,
    weightOf: ({ name }) => sizeOf(name),
    async work(lane, { name, option }, report) {
      const alone = layoutAlone(encoding, { name, option }, 'alone');
      const found = await cachedFileOnce<MatrixErrors>(lane, KIND, keyOf(lane, encoding, alone.matrices[0]!), {
        extension: EXTENSION,
        async make(partial, claim) {
          const [file] = alone.shards;
          await lane.files.allocate(partial, file!.bytes, file!.header);
          const matrix = inFile(alone.matrices[0]!, partial);
          const errors = await encode(lane, matrix, share => {
            claim.progress({ done: share, total: 1 });
            report(share);
          });
          computed.push(name);
          return errors;
        },
      });
      return found === undefined ? 'left' : 'done';
    },
  });
  const left = outcomes.filter(outcome => outcome === 'left').length;
  return { computed, found: plan.matrices.length - computed.length - left, left };
}

/** What workers encoded of a plan, for the output that is written. */
export interface Gathering {
  /**
   * Puts a matrix where its `source` is: as a worker encoded it, or encoded now. BUSY while a worker is at it and `patient` is
   * not set.
   */
  place(
    lane: PipelineContext,
    matrix: Matrix,
    report: ItemReport,
    patient: boolean,
  ): Promise<MatrixErrors | typeof BUSY>;
  /** Removes from the cache what was taken: the output is whole. */
  release(): Promise<void>;
}

export function gatherEncoded(context: PipelineContext, encoding: Encoding, encode: EncodeOne): Gathering {
  const taken: string[] = [];
  return {
    async place(lane, matrix, report, patient) {
      const key = keyOf(lane, encoding, matrix);
      const file = cachePath(lane, KIND, key, EXTENSION);
      const find = async (): Promise<MatrixErrors | undefined> => {
        const found = await findCachedFile<MatrixErrors>(lane, KIND, key, EXTENSION);
        if (found === undefined) return undefined;
        taken.push(found.file);
        const [shard] = layoutAlone(encoding, matrix, 'alone').shards;
        if ((await lane.files.stat(found.file))?.bytes !== shard!.bytes) return undefined;
        await copyParts(lane, encoding, matrix, found.file);
        return found.value;
      };
      // Without a worker there is nothing to claim: the output itself is.
      const claimed = await mayBeAtWork(lane, claimPath(file));
      if (!claimed) return (await find()) ?? (await encode(lane, matrix, report));
      const placed = await once<MatrixErrors>(lane, file, {
        find,
        make: () => encode(lane, matrix, report),
        ...(patient && { onWait: holder => report(shareOf(holder), { waitingFor: describeHolder(holder) }) }),
      });
      return placed ?? BUSY;
    },
    async release() {
      for (const file of taken) {
        await removeUnlessUsed(context, file);
        await removeUnlessUsed(context, `${file.slice(0, -EXTENSION.length)}.json`);
      }
    },
  };
}

/** The packed checkpoint of one matrix of a plan. */
function layoutAlone(
  { index, table, plan }: Encoding,
  { name, option }: Pick<Matrix, 'name' | 'option'>,
  folder: string,
): PackedLayout {
  const tensor = index.byName.get(name)!;
  const alone: CheckpointIndex = {
    ...index,
    shards: index.shards.filter(({ file }) => file === tensor.file),
    tensors: [tensor],
    byName: new Map([[name, tensor]]),
  };
  const { factors } = plan;
  return planPackedLayout(alone, [{ name, option }], { factors, seed: table.recipe.seed }, folder);
}

/** The matrix with its parts in another file, at the same places. */
const inFile = (matrix: Matrix, path: string): Matrix => ({
  ...matrix,
  source: mapParts(matrix.source, part => ({ ...part, path })),
});

/** Copies every part of an encoded matrix from a file of its own to where the matrix is to be. */
async function copyParts(lane: PipelineContext, encoding: Encoding, matrix: Matrix, file: string): Promise<void> {
  const from = rangesOf(inFile(layoutAlone(encoding, matrix, 'alone').matrices[0]!, file));
  const to = rangesOf(matrix);
  for (const [i, range] of to.entries())
    await callNative(lane, { file, tensor: matrix.name }, control => lane.native.copy(from[i]!, range, control));
}

/** Where a matrix's parts are, in an order that is the same for every place. */
function rangesOf({ source }: Matrix): ByteRange[] {
  const ranges: ByteRange[] = [];
  mapParts(encodeDestination(source), part => {
    const { path, offset } = part;
    ranges.push({
      path,
      offset,
      bytes: 'bytes' in part ? part.bytes : (part.rows * part.cols * dtypeBits(part.dtype)) / 8,
    });
    return part;
  });
  return ranges;
}

type Part = ByteRange | DenseSource;
const isPart = (value: object): value is Part => 'path' in value && 'offset' in value;

/** A value with every part on a disk that it names replaced. */
function mapParts<T>(value: T, change: (part: Part) => Part): T {
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  if (isPart(value)) return change(value) as T;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, mapParts(part, change)])) as T;
}
