/**
 * A folder that appears whole or not at all. Work happens in `<out>.partial`: files are allocated with their final size,
 * items are recorded in a journal once their bytes are on the disk, and the last step renames the folder. A run that dies
 * leaves a partial folder that the same job continues from and any other job replaces. While a process is at it, it holds
 * the claim `<out>.claim`, and others that want to make the same folder wait.
 */
import { baseName, joinPath, folderOf, trimPath } from '../files/paths';
import type { PipelineContext } from '../context';
import { LqError } from '../errors';
import { siblingOf, waitReporter } from './cache';
import { waitForClaim } from './claims';

const JOURNAL = 'journal.json';
const JOURNAL_VERSION = 1;
/** A sibling name: a process's identity and a count, as `siblingOf` and the file system's atomic writes make them. */
const LEFT_BEHIND = /\.[\w-]+-\d+-[0-9a-f]{8}-[pw]\d+\.partial$/;

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
  /** Everything the bytes depend on; only a partial folder with an equal one is continued. */
  readonly fingerprint: string;
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
  if (request.finished === undefined) await requireWritable(context, request);
  await files.makeFolder(folderOf(out));
  const claim = await waitForClaim(context, out, waitReporter(context, 'write', baseName(out)));
  const requireHeld = async (): Promise<void> => {
    if (!(await claim.held()))
      throw new LqError('output-exists', `${out} was taken over by another process.`, { file: out });
  };
  let done: Map<string, R>;
  try {
    const finished = claim.waited || !request.overwrite ? await request.finished?.() : undefined;
    if (finished !== undefined) {
      const names = await files.list(out);
      return {
        folder: out,
        finished: true,
        done: finished,
        requireHeld,
        markDone: () => Promise.resolve(),
        finish: () => claim.release().then(() => names),
        keep: () => claim.release(),
        discard: () => claim.release(),
      };
    }
    // Another process may have made something else meanwhile.
    await requireWritable(context, request);
    const kept = await readJournal<R>(context, journal, request);
    if (kept !== undefined) await removeLeftBehind();
    done = kept ?? (await begin());
  } catch (error) {
    await claim.release();
    throw error;
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
    const state: Journal<R> = { version: JOURNAL_VERSION, fingerprint: request.fingerprint, items: [...items] };
    await files.writeAtomic(journal, JSON.stringify(state));
  }

  let journalling = Promise.resolve();
  return {
    folder,
    finished: false,
    done,
    requireHeld,
    markDone(item, record, touched) {
      // One after the other: items may be finished at the same time, and the journal is one file.
      journalling = journalling.then(async () => {
        await requireHeld();
        for (const file of touched) await files.sync(joinPath(folder, file));
        done.set(item, record);
        await writeJournal(done);
      });
      return journalling;
    },
    async finish() {
      await requireHeld();
      for (const { file } of request.files) await files.sync(joinPath(folder, file));
      const names = (await files.list(folder)).filter(name => name !== JOURNAL);
      // A name must not outlive a power cut that its content does not.
      for (const name of names) await files.sync(joinPath(folder, name));
      await files.sync(folder);
      const replaced = siblingOf(context, out);
      const existed = (await files.stat(out)) !== undefined;
      await files.remove(replaced);
      if (existed) await files.rename(out, replaced);
      await files.rename(folder, out);
      await files.sync(folderOf(out));
      // Not before: until then a run that dies is continued from it.
      await files.remove(joinPath(out, JOURNAL));
      if (existed) await files.remove(replaced);
      await claim.release();
      return names;
    },
    async keep() {
      await journalling.catch(() => undefined);
      if (done.size === 0 && (await claim.held())) await files.remove(folder);
      await claim.release();
    },
    async discard() {
      if (await claim.held()) await files.remove(folder);
      await claim.release();
    },
  };
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
  if (journal.version !== JOURNAL_VERSION || journal.fingerprint !== request.fingerprint || !journal.items)
    return undefined;
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
