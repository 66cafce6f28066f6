/**
 * A folder that appears whole or not at all. Work happens in `<out>.partial`: files are allocated with their final size,
 * items are recorded in a journal once their bytes are on the disk, and the last step renames the folder. A run that dies
 * leaves a partial folder that the same job continues from and any other job replaces. While a process is at it, it holds
 * the claim `<out>.claim`, and others that want to make the same folder wait.
 *
 * What takes long to make is made once, too, wherever it is to go: its fingerprint is claimed in the cache, and the files of a
 * finished folder of the same fingerprint are copied for as long as they are there unchanged.
 *
 * A folder that is replaced exchanges its name with the partial folder in one step where the file system has it. Elsewhere it
 * steps aside as `<out>.<owner>.replaced` for the moment between two renames; a run that dies in that moment leaves it there,
 * and the next one puts it back.
 */
import { joinPath, folderOf, trimPath } from '../files/paths';
import { baseName } from '../format';
import { backendOf, callNative, type PipelineContext } from '../context';
import type { WritableFileSystem } from '../files/types';
import { LqError } from '../errors';
import { cachePath, makeRoom, readCached, siblingOf, waitReporter, writeCached } from './cache';
import { waitForClaim, type Claim, type ClaimRecord } from './claims';

const JOURNAL = 'journal.json';
const JOURNAL_VERSION = 1;
/** A sibling name: a process's identity and a count, as `siblingOf` and the file system's atomic writes make them. */
const LEFT_BEHIND = /\.[\w-]+-\d+-[0-9a-f]{8}-[pw]\d+\.partial$/;
const REPLACED_SUFFIX = '.replaced';
const REPLACED = /^\.[\w-]+-\d+-[0-9a-f]{8}-p\d+\.replaced$/;

/** A file allocated at the start: its header, and room for what follows. */
export interface AllocatedFile {
  /** Relative to the folder. */
  readonly file: string;
  readonly bytes: number;
  readonly header: Uint8Array;
}

export interface OutputRequest<R> {
  /** Absolute path of the folder to make. */
  readonly out: string;
  /** Folder that is read from; it is never replaced. */
  readonly source: string;
  readonly overwrite: boolean;
  /**
   * Everything the bytes depend on beside names, sizes and headers of the files; only a partial folder with an equal one is
   * continued.
   */
  readonly fingerprint: string;
  /** Whether equal fingerprints mean equal content wherever the source is, and one process makes it for all. */
  readonly shared?: boolean;
  /** How many items will be marked done, for those who wait. */
  readonly items: number;
  readonly files: readonly AllocatedFile[];
  /**
   * The records of a finished folder at `out` when this very job made it, in another process: it is then the result. Absent:
   * a folder at `out` is in the way whatever it holds.
   */
  finished?(): Promise<Map<string, R> | undefined>;
}

export interface Output<R> {
  /** Where to write: the partial folder. Of a finished output, the folder itself, to which nothing is to be written. */
  readonly folder: string;
  readonly finished: boolean;
  /** Items finished by this run or one it continues. */
  readonly done: ReadonlyMap<string, R>;
  /** Throws `output-exists` when another process has taken over: nothing is to be written any more. */
  requireHeld(): Promise<void>;
  /** Flushes the files an item was written to and records it. */
  markDone(item: string, record: R, files: readonly string[]): Promise<void>;
  /** Flushes everything and gives the folder its name. Returns the names of its files. */
  finish(): Promise<string[]>;
  /** Ends without the folder: what is finished stays for the next run of the same job; nothing stays when nothing is. */
  keep(): Promise<void>;
  /** Ends without the folder and removes the partial one. */
  discard(): Promise<void>;
}

export const partialFolder = (out: string): string => `${trimPath(out)}.partial`;

/**
 * Throws `output-exists` when `out` is there and may not be replaced: without `overwrite`, or when it does not look like a
 * checkpoint. An empty folder counts as absent.
 */
export async function requireWritable(
  context: PipelineContext,
  { out, source, overwrite }: Pick<OutputRequest<unknown>, 'out' | 'source' | 'overwrite'>,
): Promise<void> {
  const { files } = context;
  if (isWithin(source, out)) throw new LqError('usage', `${out} holds the checkpoint that is read.`, { file: out });
  const stat = await files.stat(out);
  if (!stat) return;
  const names = stat.directory ? await files.list(out) : undefined;
  if (names?.length === 0) return;
  if (!overwrite) throw new LqError('output-exists', `${out} exists already.`, { file: out });
  if (!names?.some(name => /\.(?:safetensors|gguf)$/.test(name)))
    throw new LqError('output-exists', `${out} is not a checkpoint and is not overwritten.`, { file: out });
}

/** Starts an output or continues one. Throws `output-exists`, `usage`, `disk-full`, `io`. */
export async function openOutput<R>(context: PipelineContext, request: OutputRequest<R>): Promise<Output<R>> {
  const { files } = context;
  const out = trimPath(request.out);
  const folder = partialFolder(out);
  const journal = joinPath(folder, JOURNAL);
  const fingerprint = identify(context, request);
  if (request.finished === undefined) await requireWritable(context, request);
  await files.makeFolder(folderOf(out));
  const onWait = waitReporter(context, 'write', baseName(out));
  const claim = await waitForClaim(context, out, onWait);
  let work: Claim | undefined;
  const release = async (): Promise<void> => {
    await work?.release();
    await claim.release();
  };
  const requireHeld = async (): Promise<void> => {
    if (!(await claim.held()))
      throw new LqError('output-exists', `${out} was taken over by another process.`, { file: out });
  };
  let done: Map<string, R>;
  try {
    await recoverReplaced(context, out);
    const finished = claim.waited || !request.overwrite ? await request.finished?.() : undefined;
    if (finished !== undefined) {
      const names = await files.list(out);
      return {
        folder: out,
        finished: true,
        done: finished,
        requireHeld,
        markDone: () => Promise.resolve(),
        finish: () => release().then(() => names),
        keep: release,
        discard: release,
      };
    }
    // Another process may have made something else meanwhile.
    await requireWritable(context, request);
    if (request.shared) work = await claimWork(context, fingerprint, onWait);
    const kept = await readJournal<R>(context, journal, request, fingerprint);
    if (kept !== undefined) await removeLeftBehind();
    done = kept?.size === request.items ? kept : (request.shared && (await copyMade())) || (kept ?? (await begin()));
    tell();
  } catch (error) {
    await release();
    throw error;
  }

  /** Tells those who wait how far this is. */
  function tell(): void {
    const progress = { done: done.size, total: request.items };
    claim.progress(progress);
    work?.progress(progress);
  }

  /** The items of a folder that the same job made elsewhere, with copies of its files; undefined when there is none. */
  async function copyMade(): Promise<Map<string, R> | undefined> {
    const made = await readCached<Made<R>>(context, 'output', madeKey(context, fingerprint));
    if (made === undefined || !(await isUnchanged(files, made))) return undefined;
    await files.remove(folder);
    try {
      await files.makeFolder(folder);
      for (const [name] of made.files) {
        await files.makeFolder(folderOf(joinPath(folder, name)));
        await files.copyFile(joinPath(made.folder, name), joinPath(folder, name));
        await files.sync(joinPath(folder, name));
      }
      // Nobody keeps a finished folder from being changed or removed meanwhile.
      if (await isUnchanged(files, made)) {
        const items = new Map(made.items);
        await writeJournal(items);
        return items;
      }
    } catch (error) {
      await files.remove(folder);
      if (LqError.from(error).code !== 'file-not-found') throw error;
    }
    return undefined;
  }

  /** Files that a process died in the middle of writing, before it could give them their names. */
  async function removeLeftBehind(): Promise<void> {
    for (const name of await files.list(folder)) if (LEFT_BEHIND.test(name)) await files.remove(joinPath(folder, name));
  }

  async function begin(): Promise<Map<string, R>> {
    await files.remove(folder);
    try {
      await files.makeFolder(folder);
      const needed = request.files.reduce((sum, file) => sum + file.bytes, 0);
      const free = await files.freeBytes(folder);
      if (free < needed)
        throw new LqError('disk-full', `${out} needs ${needed} bytes, ${free} are free.`, {
          file: out,
          details: { needed, free },
        });
      for (const { file, bytes, header } of request.files) {
        const path = joinPath(folder, file);
        await files.makeFolder(folderOf(path));
        await files.allocate(path, bytes, header);
      }
      await writeJournal(new Map());
    } catch (error) {
      await files.remove(folder);
      throw error;
    }
    return new Map();
  }

  async function writeJournal(items: ReadonlyMap<string, R>): Promise<void> {
    const state: Journal<R> = { version: JOURNAL_VERSION, fingerprint, items: [...items] };
    await files.writeAtomic(journal, JSON.stringify(state));
  }

  /** Gives the folder its name. Returns where what had the name before is then, if anything had it. */
  async function takeName(): Promise<string | undefined> {
    if ((await files.stat(out)) === undefined) {
      await files.rename(folder, out);
      return undefined;
    }
    if (await callNative(context, { file: out }, control => context.native.exchange(folder, out, control)))
      return folder;
    const replaced = siblingOf(context, out, REPLACED_SUFFIX);
    await files.rename(out, replaced);
    await files.rename(folder, out);
    return replaced;
  }

  const finished: { item: string; record: R; touched: readonly string[] }[] = [];
  /** Flushes and records all that was finished by now. */
  async function record(): Promise<void> {
    const batch = finished.splice(0);
    if (batch.length === 0) return;
    await requireHeld();
    for (const file of new Set(batch.flatMap(({ touched }) => touched))) await files.sync(joinPath(folder, file));
    for (const { item, record } of batch) done.set(item, record);
    await writeJournal(done);
    tell();
  }

  let journalling = Promise.resolve();
  return {
    folder,
    finished: false,
    done,
    requireHeld,
    markDone(item, result, touched) {
      // One after the other: the journal is one file. What is finished while it is written goes into the next together.
      finished.push({ item, record: result, touched });
      journalling = journalling.then(record);
      return journalling;
    },
    async finish() {
      await requireHeld();
      for (const { file } of request.files) await files.sync(joinPath(folder, file));
      const names = (await files.list(folder)).filter(name => name !== JOURNAL);
      // A name must not outlive a power cut that its content does not.
      for (const name of names) await files.sync(joinPath(folder, name));
      await files.sync(folder);
      const replaced = await takeName();
      await files.sync(folderOf(out));
      // Not before: until then a run that dies is continued from it.
      await files.remove(joinPath(out, JOURNAL));
      if (replaced !== undefined) await files.remove(replaced);
      if (request.shared) await rememberMade(context, fingerprint, request, done);
      await release();
      return names;
    },
    async keep() {
      await journalling.catch(() => undefined);
      if (done.size === 0 && (await claim.held())) await files.remove(folder);
      await release();
    },
    async discard() {
      if (await claim.held()) await files.remove(folder);
      await release();
    },
  };
}

/** The whole of what the bytes of an output depend on. */
function identify({ digest }: PipelineContext, { fingerprint, files }: OutputRequest<unknown>): string {
  const headers = files.map(({ file, bytes, header }) => [
    file,
    bytes,
    digest(new TextDecoder('latin1').decode(header)),
  ]);
  return digest(JSON.stringify([fingerprint, headers]));
}

/** A finished folder of one fingerprint, as the cache remembers it. */
interface Made<R> {
  readonly folder: string;
  /** Name, bytes and time of its allocated files. */
  readonly files: readonly (readonly [name: string, bytes: number, modified: number])[];
  readonly items: readonly (readonly [string, R])[];
}

/** Results of two kinds of backend differ by rounding, so one is no copy of the other. */
const madeKey = (context: PipelineContext, fingerprint: string) => ({ fingerprint, backend: backendOf(context) });

async function claimWork(
  context: PipelineContext,
  fingerprint: string,
  onWait: (holder: ClaimRecord) => void,
): Promise<Claim> {
  const path = cachePath(context, 'output', madeKey(context, fingerprint));
  await makeRoom(context, path);
  return waitForClaim(context, path, onWait);
}

async function isUnchanged(files: WritableFileSystem, { folder, files: made }: Made<unknown>): Promise<boolean> {
  for (const [name, bytes, modified] of made) {
    const stat = await files.stat(joinPath(folder, name));
    if (stat?.bytes !== bytes || stat.modified !== modified) return false;
  }
  return true;
}

/** Nothing is thrown: the output is there, remembered or not. */
async function rememberMade<R>(
  context: PipelineContext,
  fingerprint: string,
  { out, files: allocated }: OutputRequest<R>,
  done: ReadonlyMap<string, R>,
): Promise<void> {
  try {
    const folder = trimPath(out);
    const made: [string, number, number][] = [];
    for (const { file } of allocated) {
      const stat = await context.files.stat(joinPath(folder, file));
      if (stat !== undefined) made.push([file, stat.bytes, stat.modified]);
    }
    const value: Made<R> = { folder, files: made, items: [...done] };
    await writeCached(context, 'output', madeKey(context, fingerprint), value);
  } catch (error) {
    context.log('warning', `The output is written but not noted in the cache: ${LqError.from(error).message}`);
  }
}

/**
 * Puts a folder back that a run left aside when it died between two renames; one whose replacement is in its place is removed.
 * Only for the holder of the claim on `out`, beside whom nobody renames.
 */
async function recoverReplaced({ files }: PipelineContext, out: string): Promise<void> {
  const parent = folderOf(out);
  const prefix = `${baseName(out)}.`;
  for (const name of await files.list(parent)) {
    if (!name.startsWith(prefix) || !REPLACED.test(name.slice(prefix.length - 1))) continue;
    const aside = joinPath(parent, name);
    if ((await files.stat(out)) === undefined) await files.rename(aside, out);
    else await files.remove(aside);
    await files.sync(parent);
  }
}

interface Journal<R> {
  readonly version: number;
  readonly fingerprint: string;
  readonly items: readonly (readonly [string, R])[];
}

/** The journal's items when it belongs to the same job and its files have their sizes, otherwise undefined. */
async function readJournal<R>(
  context: PipelineContext,
  path: string,
  request: OutputRequest<R>,
  fingerprint: string,
): Promise<Map<string, R> | undefined> {
  const { files } = context;
  if (!(await files.stat(path))) return undefined;
  let journal: Partial<Journal<R>>;
  try {
    journal = JSON.parse(await files.readText(path)) as Partial<Journal<R>>;
  } catch {
    context.log('warning', `Starting over: ${path} is damaged.`);
    return undefined;
  }
  if (journal.version !== JOURNAL_VERSION || journal.fingerprint !== fingerprint || !journal.items) return undefined;
  for (const { file, bytes } of request.files) {
    const stat = await files.stat(joinPath(folderOf(path), file));
    if (stat?.bytes !== bytes) return undefined;
  }
  return new Map(journal.items);
}

function isWithin(path: string, folder: string): boolean {
  const outer = trimPath(folder);
  const inner = trimPath(path);
  return inner === outer || inner.startsWith(`${outer}/`) || inner.startsWith(`${outer}\\`);
}
