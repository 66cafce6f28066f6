/**
 * A plan carried out by several workers, for whatever format. Each encodes matrices that no other has encoded or is at, into the
 * cache that they share: `encoded/<key>.parts` is what the output has of a matrix, one part after another, `<key>.json` what is
 * kept of its encoding. Whoever writes the output copies the parts from there, encodes what is missing, and removes the entries
 * once the output is whole.
 */
import { backendOf, callNative, type PipelineContext } from '../context';
import { folderOf } from '../files/paths';
import { BUSY, overLanes, type ItemReport } from '../lanes';
import type { ByteRange } from '../native';
import type { Stage } from '../progress';
import { shardOrder, type Shard } from '../shards';
import { cachedFileOnce, cachePath, findCachedFile, makeRoom, removeUnused, siblingOf } from '../storage/cache';
import { claimPath, describeHolder, mayBeAtWork, once, shareOf } from '../storage/claims';

/** Raised when what an encoding gives changes, so that older ones are not taken. */
const ENCODED_VERSION = 2;
const KIND = 'encoded';
const EXTENSION = '.parts';
/** Parts begin at multiples of this in an entry. */
const ALIGNMENT = 64;
/** Entries that are copied at a time; they are flushed and recorded together. */
const COPIES_AT_ONCE = 8;

/** A matrix of a plan as one process can encode it for another. */
export interface Piece<R = unknown> {
  readonly name: string;
  readonly weights: number;
  /** Everything that its bytes depend on beside the kind of backend. */
  readonly key: unknown;
  /** Where the output has it, in an order and of lengths that are the same wherever that is. */
  readonly parts: readonly ByteRange[];
  /**
   * Writes it to ranges like `parts`, there or in another file.
   * @returns what is kept of it, a JSON value
   */
  encode(lane: PipelineContext, parts: readonly ByteRange[], report: ItemReport): Promise<R>;
}

/** What one worker did of a plan. */
export interface EncodedShare {
  /** Names of the matrices encoded here. */
  readonly computed: readonly string[];
  /** Matrices that were encoded before. */
  readonly found: number;
  /** Matrices that other workers were at. */
  readonly left: number;
}

const keyOf = (context: PipelineContext, { key }: Pick<Piece, 'key'>) => ({
  version: ENCODED_VERSION,
  backend: backendOf(context),
  key,
});
const entryOf = (context: PipelineContext, piece: Pick<Piece, 'key'>, extension = EXTENSION): string =>
  cachePath(context, KIND, keyOf(context, piece), extension);

/** The parts of a piece in a file of their own, and its size. */
export function apart({ parts }: Pick<Piece, 'parts'>, path: string): { parts: ByteRange[]; bytes: number } {
  let bytes = 0;
  const moved = parts.map(part => {
    const offset = bytes;
    bytes += Math.ceil(part.bytes / ALIGNMENT) * ALIGNMENT;
    return { path, offset, bytes: part.bytes };
  });
  return { parts: moved, bytes };
}

/** The whole entry of a piece, or undefined. */
export async function findApart(context: PipelineContext, piece: Piece): Promise<string | undefined> {
  const found = await findCachedFile(context, KIND, keyOf(context, piece), EXTENSION);
  return found !== undefined && (await isWhole(context, piece, found.file)) ? found.file : undefined;
}

const isWhole = async ({ files }: PipelineContext, piece: Piece, file: string): Promise<boolean> =>
  (await files.stat(file))?.bytes === apart(piece, file).bytes;

/**
 * The entry of a piece, encoded now unless there is one. Undefined while another process is at it and the caller is not `patient`.
 * @throws LqError those of `encode`, 'disk-full', 'io', 'cancelled'.
 */
export async function encodeApart<R>(
  lane: PipelineContext,
  piece: Piece<R>,
  report: ItemReport,
  patient: boolean,
): Promise<{ file: string; value: R } | undefined> {
  const file = entryOf(lane, piece);
  // A disk that lost its end.
  if ((await lane.files.stat(file)) !== undefined && !(await isWhole(lane, piece, file))) await lane.files.remove(file);
  return cachedFileOnce<R>(lane, KIND, keyOf(lane, piece), {
    extension: EXTENSION,
    async make(partial, claim) {
      const { parts, bytes } = apart(piece, partial);
      await lane.files.allocate(partial, bytes, new Uint8Array(0));
      return piece.encode(lane, parts, (share, extra) => {
        claim.progress({ done: share, total: 1 });
        report(share, extra);
      });
    },
    ...(patient && { onWait: holder => report(shareOf(holder), { waitingFor: describeHolder(holder) }) }),
  });
}

/** A name beside the entry of a piece for a file that is of use while it is encoded. */
export async function scratchFile(context: PipelineContext, piece: Piece): Promise<string> {
  const file = entryOf(context, piece);
  await makeRoom(context, file);
  return siblingOf(context, file);
}

/** The piece; its name is noted once it was encoded. */
export const counted = <R>(piece: Piece<R>, computed: string[]): Piece<R> => ({
  ...piece,
  async encode(...args) {
    const record = await piece.encode(...args);
    computed.push(piece.name);
    return record;
  },
});

/** One worker's part of a plan. Errors: those of `encodeApart`. */
export async function encodeShard(
  context: PipelineContext,
  pieces: readonly Piece[],
  shard: Shard,
): Promise<EncodedShare> {
  const order = shardOrder(
    pieces.map(({ weights }) => weights),
    shard,
  );
  const computed: string[] = [];
  const outcomes = await overLanes(context, {
    stage: 'decompose',
    items: order.map(i => pieces[i]!),
    nameOf: ({ name }) => name,
    weightOf: ({ weights }) => weights,
    async work(lane, piece, report) {
      if ((await encodeApart(lane, counted(piece, computed), report, false)) === undefined) return 'left';
      context.post?.done(computed.includes(piece.name) ? 'computed' : 'found');
      return 'done';
    },
  });
  const left = outcomes.filter(outcome => outcome === 'left').length;
  return { computed, found: pieces.length - computed.length - left, left };
}

/** An output that pieces are put into. */
export interface Placing<R> {
  readonly stage: Stage;
  readonly pieces: readonly Piece<R>[];
  isDone(name: string): boolean;
  /** Throws when another process has taken the output over. */
  requireHeld(): Promise<void>;
  /** Records a piece whose parts are in their places. */
  markDone(name: string, record: R): Promise<void>;
}

/**
 * Puts every piece that is not done where its parts are to be: as a worker encoded it, or encoded now. What a worker is at is waited
 * for. Errors: those of `encode` and `markDone`, cancelled.
 */
export async function placePieces<R>(context: PipelineContext, job: Placing<R>): Promise<void> {
  const { stage, pieces, isDone, requireHeld, markDone } = job;
  await takeEncoded(context, job);
  await overLanes(context, {
    stage,
    items: pieces.filter(({ name }) => !isDone(name)),
    nameOf: ({ name }) => name,
    weightOf: ({ weights }) => weights,
    async work(lane, piece, report, patient) {
      await requireHeld();
      const record = await place(lane, piece, report, patient);
      if (record === BUSY) return BUSY;
      await markDone(piece.name, record);
      return undefined;
    },
  });
}

/** Copies all that workers encoded, which takes no device. */
export async function takeEncoded<R>(context: PipelineContext, job: Placing<R>): Promise<void> {
  const { pieces, isDone, requireHeld, markDone } = job;
  const [first] = pieces;
  if (first === undefined || (await context.files.stat(folderOf(entryOf(context, first)))) === undefined) return;
  const queue = pieces.filter(({ name }) => !isDone(name));
  const take = async (): Promise<void> => {
    for (let piece; (piece = queue.shift()) !== undefined;) {
      await requireHeld();
      const record = await copyEncoded(context, piece);
      if (record !== undefined) await markDone(piece.name, record);
    }
  };
  const done = await Promise.allSettled(Array.from({ length: COPIES_AT_ONCE }, take));
  for (const each of done) if (each.status === 'rejected') throw each.reason;
}

/** Copies a piece from its entry to its places; undefined where there is no whole one. */
async function copyEncoded<R>(context: PipelineContext, piece: Piece<R>): Promise<R | undefined> {
  const found = await findCachedFile<R>(context, KIND, keyOf(context, piece), EXTENSION);
  if (found === undefined) return undefined;
  const { file, value } = found;
  if (!(await isWhole(context, piece, file))) return undefined;
  const { parts } = apart(piece, file);
  for (const [i, range] of piece.parts.entries())
    await callNative(context, { file, tensor: piece.name }, control => context.native.copy(parts[i]!, range, control));
  return value;
}

/** Puts a piece in its places: as a worker encoded it, or encoded now. BUSY while one is at it and the caller is not `patient`. */
export async function place<R>(
  lane: PipelineContext,
  piece: Piece<R>,
  report: ItemReport,
  patient: boolean,
): Promise<R | typeof BUSY> {
  const file = entryOf(lane, piece);
  const find = (): Promise<R | undefined> => copyEncoded(lane, piece);
  const make = (): Promise<R> => piece.encode(lane, piece.parts, report);
  // Without a worker there is nothing to claim: the output itself is.
  if (!(await mayBeAtWork(lane, claimPath(file)))) return (await find()) ?? make();
  const placed = await once<R>(lane, file, {
    find,
    make,
    ...(patient && { onWait: holder => report(shareOf(holder), { waitingFor: describeHolder(holder) }) }),
  });
  return placed ?? BUSY;
}

/** Removes from the cache what workers encoded of an output that is whole. */
export async function forgetEncoded(context: PipelineContext, pieces: readonly Pick<Piece, 'key'>[]): Promise<void> {
  await removeUnused(
    context,
    pieces.flatMap(piece => [EXTENSION, '.json'].map(extension => entryOf(context, piece, extension))),
  );
}
