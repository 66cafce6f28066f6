/**
 * The cache folder: made ours by a tag, entered into by kind and key, and cleaned of nothing but that. A folder that a
 * setting names by mistake, one of models perhaps, is neither used nor emptied.
 *
 *   CACHEDIR.TAG                      says whose folder it is (https://bford.info/cachedir/)
 *   <kind>/<key>.json, .safetensors, .parts   an entry; `packed/<key>` is a folder
 *   <entry>.claim                     who makes the entry, `.claim.<owner>.removing` who removes that claim
 *   <entry>.<owner>.use               who needs the entry to stay
 *   <entry>.<owner>.partial           an entry in the making, renamed when it is whole
 */
import { joinPath } from '../files/paths';
import type { WritableFileSystem } from '../files/types';
import { LqError } from '../errors';
import { CLAIM_SUFFIX, mayBeAtWork, readClaim, shareOf, type Claimant } from './claims';

const CACHE_KINDS = [
  'hash',
  'sweep',
  'plan',
  'fisher',
  'calibration',
  'price',
  'statistics',
  'spectrum',
  'evaluation',
  'rates',
  'known',
  'packed',
  'encoded',
  'written',
  'output',
  'shard',
] as const;
export type CacheKind = (typeof CACHE_KINDS)[number];

const TAG = 'CACHEDIR.TAG';
const SIGNATURE = 'Signature: 8a477f597d28d172789f06886806bc55';
const OWNER_LINE = '# Made by LQ Studio, which removes what it keeps here when asked to: lq-studio cache --clear';
const TAG_TEXT = `${SIGNATURE}\n${OWNER_LINE}\n# Backup programs may leave this folder out; see https://bford.info/cachedir/\n`;

export const PARTIAL_SUFFIX = '.partial';
export const USE_SUFFIX = '.use';
/** Files and folders of one key; what follows the key. */
const KEYED = /^([0-9a-f]{64})(\..+)?$/;
const OWNED_PARTIAL = /[0-9a-f]{64}\..+\.partial$/;
const CONTENT = new Set([undefined, '.json', '.safetensors', '.parts']);
/** A partial file without a claim is being written if it changed within this time, and was left behind otherwise. */
const LEFT_BEHIND_MS = 3_600_000;

type Cleaner = Pick<Claimant, 'files' | 'self' | 'claimTimeout'>;
/** What it takes to look. */
export type Watcher = Cleaner;

/**
 * Makes `folder` a cache, or sees that it is one. A new or empty folder becomes one, so does one that holds nothing but
 * entries (of a version that wrote no tag).
 * @throws LqError 'cache-foreign' naming a folder that holds anything else.
 */
export async function openCacheFolder(files: WritableFileSystem, folder: string): Promise<void> {
  if (await isTagged(files, folder)) return;
  await files.makeFolder(folder);
  if (!(await holdsOnlyEntries(files, folder)) && !(await isTagged(files, folder))) throw foreign(folder, 'used');
  await files.writeAtomic(joinPath(folder, TAG), TAG_TEXT);
}

const foreign = (folder: string, done: string): LqError =>
  new LqError(
    'cache-foreign',
    `${folder} holds other files and is no cache of LQ Studio: it is not ${done}. Name a new or empty folder for the cache.`,
    { file: folder },
  );

async function isTagged(files: WritableFileSystem, folder: string): Promise<boolean> {
  const tag = joinPath(folder, TAG);
  if ((await files.stat(tag)) === undefined) return false;
  return (await files.readText(tag)).split('\n').slice(0, 2).join('\n') === `${SIGNATURE}\n${OWNER_LINE}`;
}

async function holdsOnlyEntries(files: WritableFileSystem, folder: string): Promise<boolean> {
  for (const name of await files.list(folder)) {
    // Another process may be writing the tag.
    if (name.startsWith(`${TAG}.`) && name.endsWith(PARTIAL_SUFFIX)) continue;
    if (!(CACHE_KINDS as readonly string[]).includes(name)) return false;
    const inside = joinPath(folder, name);
    if ((await files.stat(inside))?.directory !== true) return false;
    if (!(await files.list(inside)).every(entry => KEYED.test(entry))) return false;
  }
  return true;
}

/** Everything kept under one kind and key. */
interface Entry {
  readonly content: readonly string[];
  /** Claims, uses and partial files: beside the content or, of an entry in the making, instead of it. */
  readonly companions: readonly string[];
  readonly bytes: number;
  /** Milliseconds since 1970 of the last use. */
  readonly used: number;
}

export interface CacheUsage {
  readonly bytes: number;
  readonly entries: number;
}

/** What the cache keeps in a folder; nothing in a folder that is absent or not ours. */
export async function cacheUsage(files: WritableFileSystem, folder: string): Promise<CacheUsage> {
  if (!(await holdsEntries(files, folder))) return { bytes: 0, entries: 0 };
  const entries = await entriesOf(files, folder);
  return { bytes: entries.reduce((sum, { bytes }) => sum + bytes, 0), entries: entries.length };
}

const isOurs = async (files: WritableFileSystem, folder: string): Promise<boolean> =>
  (await isTagged(files, folder)) || (await holdsOnlyEntries(files, folder));

/** Whether a folder is there and ours. */
export const holdsEntries = async (files: WritableFileSystem, folder: string): Promise<boolean> =>
  (await files.stat(folder)) !== undefined && isOurs(files, folder);

/** A piece of work that a process has claimed. */
export interface AtWork {
  readonly kind: CacheKind;
  readonly host: string;
  readonly pid: number;
  /** How much of the piece is done, from 0 to 1, by the last heartbeat. */
  readonly share: number;
}

/** Who is making entries, on this machine and others, as their claims say; nobody in a folder that is absent or not ours. */
export async function atWork(context: Cleaner, folder: string): Promise<AtWork[]> {
  const { files } = context;
  const found: AtWork[] = [];
  if (!(await holdsEntries(files, folder))) return found;
  // A worker's claim on its post is no piece of work (posts.ts).
  for (const kind of CACHE_KINDS.filter(each => each !== 'shard')) {
    const room = joinPath(folder, kind);
    if ((await files.stat(room))?.directory !== true) continue;
    for (const name of await files.list(room)) {
      if (!KEYED.test(name) || !name.endsWith(CLAIM_SUFFIX)) continue;
      const path = joinPath(room, name);
      const record = await readClaim(files, path);
      if (record === undefined || !(await mayBeAtWork(context, path))) continue;
      found.push({ kind, host: record.host, pid: record.pid, share: shareOf(record) });
    }
  }
  return found;
}

export interface Cleaned extends CacheUsage {
  /** Removed. */
  readonly removedBytes: number;
  readonly removedEntries: number;
  /** Kept because a process makes or needs them. */
  readonly inUse: number;
}

/**
 * Removes the entries that were not used for longest until the rest is within `limit` bytes; with 0, all. What a process
 * is making or needs stays, and so does every file that is no entry.
 * @throws LqError 'cache-foreign' naming a folder that is not ours; an absent one has nothing to remove.
 */
export async function cleanCache(context: Cleaner, folder: string, limit: number): Promise<Cleaned> {
  const { files } = context;
  if ((await files.stat(folder)) === undefined)
    return { bytes: 0, entries: 0, removedBytes: 0, removedEntries: 0, inUse: 0 };
  if (!(await isOurs(files, folder))) throw foreign(folder, 'emptied');
  const entries = await entriesOf(files, folder);
  let bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  const before = bytes;
  let removedEntries = 0;
  let inUse = 0;
  for (const entry of [...entries].sort((a, b) => a.used - b.used)) {
    if (bytes <= limit && limit > 0) break;
    if (await isInUse(context, entry)) {
      inUse++;
      continue;
    }
    for (const path of [...entry.content, ...entry.companions]) await files.remove(path);
    bytes -= entry.bytes;
    removedEntries++;
  }
  return { bytes, entries: entries.length - removedEntries, removedBytes: before - bytes, removedEntries, inUse };
}

async function entriesOf(files: WritableFileSystem, folder: string): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (const kind of CACHE_KINDS) {
    const room = joinPath(folder, kind);
    if ((await files.stat(room))?.directory !== true) continue;
    const keys = new Map<string, { content: string[]; companions: string[] }>();
    for (const name of await files.list(room)) {
      const [, key, rest] = KEYED.exec(name) ?? [];
      if (key === undefined) continue;
      const entry = keys.get(key) ?? { content: [], companions: [] };
      keys.set(key, entry);
      (CONTENT.has(rest) ? entry.content : entry.companions).push(joinPath(room, name));
    }
    for (const entry of keys.values()) {
      const all = await Promise.all([...entry.content, ...entry.companions].map(each => measure(files, each)));
      entries.push({
        ...entry,
        bytes: all.reduce((sum, each) => sum + each.bytes, 0),
        used: Math.max(...all.map(each => each.used)),
      });
    }
  }
  return entries;
}

/** Bytes and last change of a file, or of a folder with all in it. */
async function measure(files: WritableFileSystem, path: string): Promise<{ bytes: number; used: number }> {
  const stat = await files.stat(path);
  // Renamed or removed since it was listed.
  if (stat === undefined) return { bytes: 0, used: 0 };
  if (!stat.directory) return { bytes: stat.bytes, used: stat.modified };
  const inside = await Promise.all((await files.list(path)).map(name => measure(files, joinPath(path, name))));
  return {
    bytes: inside.reduce((sum, each) => sum + each.bytes, 0),
    used: Math.max(stat.modified, ...inside.map(each => each.used)),
  };
}

async function isInUse(context: Cleaner, entry: Entry): Promise<boolean> {
  const claims = entry.companions.filter(path => path.endsWith(CLAIM_SUFFIX) || path.endsWith(USE_SUFFIX));
  for (const claim of claims) if (await mayBeAtWork(context, claim)) return true;
  if (claims.length > 0) return false;
  // Small entries are written without a claim, within moments. An output folder never is.
  for (const partial of entry.companions.filter(path => OWNED_PARTIAL.test(path)))
    if (Date.now() - (await measure(context.files, partial)).used < LEFT_BEHIND_MS) return true;
  return false;
}
