/**
 * Results worth keeping, addressed by what they depend on: `<cache>/<kind>/<digest of the key>.json`. A key holds every
 * input that matters (content hashes, recipe, option list), so an entry never goes stale; it can only be unneeded.
 */
import type { PipelineContext } from '../context';
import { folderOf, joinPath } from '../files/paths';
import { openCacheFolder, PARTIAL_SUFFIX, USE_SUFFIX, type CacheKind } from './cache-folder';
import type { Stage } from '../progress';
import { describeHolder, mayBeAtWork, once, shareOf, takeClaim, type Claim, type ClaimRecord } from './claims';

/** An entry read now need not be marked as used again within this time. */
const MARK_INTERVAL_MS = 60_000;

/** Where an entry lives; the key is any JSON value. */
export function cachePath(context: PipelineContext, kind: CacheKind, key: unknown, extension = '.json'): string {
  return joinPath(joinPath(context.cache, kind), context.digest(JSON.stringify(key)) + extension);
}

let partials = 0;

/** A name beside `path` that no other process and no other call of this one uses. */
export function siblingOf(context: Pick<PipelineContext, 'self'>, path: string, suffix = PARTIAL_SUFFIX): string {
  return `${path}.${context.self.id}-p${++partials}${suffix}`;
}

/** The entry, or undefined when there is none or it cannot be read as JSON (a disk that lost a write is no reason to stop). */
export async function readCached<T>(context: PipelineContext, kind: CacheKind, key: unknown): Promise<T | undefined> {
  const path = cachePath(context, kind, key);
  if (!(await markUsed(context, path))) return undefined;
  try {
    return JSON.parse(await context.files.readText(path)) as T;
  } catch {
    context.log('warning', `Ignoring the damaged cache entry ${path}.`);
    return undefined;
  }
}

/** Notes that an entry is used, so that the size limit spares it; false when there is none. */
async function markUsed({ files }: PipelineContext, path: string): Promise<boolean> {
  const stat = await files.stat(path);
  if (stat === undefined) return false;
  // A cache on a read-only disk is still a cache.
  if (Date.now() - stat.modified > MARK_INTERVAL_MS) await files.touch(path).catch(() => undefined);
  return true;
}

export async function writeCached(
  context: PipelineContext,
  kind: CacheKind,
  key: unknown,
  value: unknown,
): Promise<void> {
  const path = cachePath(context, kind, key);
  await makeRoom(context, path);
  await context.files.writeAtomic(path, JSON.stringify(value));
}

/** The folder of an entry, in a cache that is ours. Throws `cache-foreign`. */
export async function makeRoom({ files, cache }: PipelineContext, path: string): Promise<void> {
  await openCacheFolder(files, cache);
  await files.makeFolder(folderOf(path));
}

export interface CachedJob<T> {
  /** Whether an entry that is there holds all that is wanted; every entry does unless said otherwise. */
  isComplete?(entry: T): boolean;
  /** `entry` is what is there, incomplete. */
  make(claim: Claim, entry?: T): Promise<T>;
  /** Told of the process that makes the entry and is waited for. Without it nothing is waited for. */
  onWait?: (holder: ClaimRecord) => void;
}

/**
 * The entry, made once among all processes that share the cache (`once`). Undefined when another is making it and there is
 * no `onWait`. Errors: those of `make`, cancelled, cache-foreign, disk-full, io.
 */
export async function cachedOnce<T>(
  context: PipelineContext,
  kind: CacheKind,
  key: unknown,
  { isComplete = () => true, make, onWait }: CachedJob<T>,
): Promise<T | undefined> {
  const path = cachePath(context, kind, key);
  await makeRoom(context, path);
  return once<T>(context, path, {
    async find() {
      const entry = await readCached<T>(context, kind, key);
      return entry !== undefined && isComplete(entry) ? entry : undefined;
    },
    async make(claim) {
      const value = await make(claim, await readCached<T>(context, kind, key));
      // Whoever took over publishes an equal value.
      if (await claim.held()) await context.files.writeAtomic(path, JSON.stringify(value));
      return value;
    },
    ...(onWait !== undefined && { onWait }),
  });
}

/** Of entries that are a file and what is said of it. */
type FileExtension = '.safetensors' | '.parts';

/** The file of an entry and what is said of it, when both are there. */
export async function findCachedFile<T>(
  context: PipelineContext,
  kind: CacheKind,
  key: unknown,
  extension: FileExtension,
): Promise<{ file: string; value: T } | undefined> {
  const file = cachePath(context, kind, key, extension);
  if (!(await markUsed(context, file))) return undefined;
  const value = await readCached<T>(context, kind, key);
  return value === undefined ? undefined : { file, value };
}

/**
 * As `cachedOnce` for a result that is a file and what is to be said of it: `<key><extension>` beside `<key>.json`. `make`
 * writes the file under the name it is given.
 */
export async function cachedFileOnce<T>(
  context: PipelineContext,
  kind: CacheKind,
  key: unknown,
  job: {
    readonly extension: FileExtension;
    make(partial: string, claim: Claim): Promise<T>;
    onWait?: (holder: ClaimRecord) => void;
  },
): Promise<{ file: string; value: T } | undefined> {
  const { files } = context;
  const file = cachePath(context, kind, key, job.extension);
  await makeRoom(context, file);
  return once<{ file: string; value: T }>(context, file, {
    find: () => findCachedFile<T>(context, kind, key, job.extension),
    async make(claim) {
      const partial = siblingOf(context, file);
      try {
        const value = await job.make(partial, claim);
        await files.sync(partial);
        if (!(await claim.held())) return undefined;
        await files.publish(partial, file);
        await writeCached(context, kind, key, value);
        return { file, value };
      } finally {
        await files.remove(partial);
      }
    },
    ...(job.onWait !== undefined && { onWait: job.onWait }),
  });
}

/** Keeps an entry from being cleaned away, by any process, until the returned function is called. */
export async function holdEntry(context: PipelineContext, path: string): Promise<() => Promise<void>> {
  const claim = await takeClaim(context, `${path}.${context.self.id}-u${++partials}${USE_SUFFIX}`);
  return () => claim?.release() ?? Promise.resolve();
}

/** Removes an entry that nobody holds. */
export const removeUnlessUsed = (context: PipelineContext, path: string): Promise<void> =>
  removeUnused(context, [path]);

/** Removes those of some entries of one kind that nobody holds. */
export async function removeUnused(context: PipelineContext, paths: readonly string[]): Promise<void> {
  const [first] = paths;
  if (first === undefined) return;
  const folder = folderOf(first);
  if ((await context.files.stat(folder)) === undefined) return;
  const there = new Set((await context.files.list(folder)).map(name => joinPath(folder, name)));
  const uses = [...there].filter(name => name.endsWith(USE_SUFFIX));
  for (const path of paths.filter(each => there.has(each))) {
    const held = await Promise.all(
      uses.filter(use => use.startsWith(`${path}.`)).map(use => mayBeAtWork(context, use)),
    );
    if (!held.includes(true)) await context.files.remove(path);
  }
}

/** Tells a request's listener that another process is at a stage's item, and how far it is. */
export function waitReporter(context: PipelineContext, stage: Stage, item: string): (holder: ClaimRecord) => void {
  return holder => context.report({ stage, item, done: shareOf(holder), total: 1, waitingFor: describeHolder(holder) });
}
