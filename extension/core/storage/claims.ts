/**
 * Claims: who makes what. Several processes, on several machines, share one cache; each piece of work is done by the one
 * that holds its claim, `<what>.claim`, while the others wait for the result or do something else.
 *
 * Only what a network folder does reliably is used: creating a file that must not exist, renaming, removing. A claim is
 * kept alive by a heartbeat, written to the file that was created and never to its name, so that a process that was
 * stopped and goes on cannot disturb the claim of whoever took over. A claim whose heartbeat stopped, or whose process
 * is gone from this machine, is removed by the one process that could create `<what>.claim.<owner>.removing`: one
 * claim is removed once, whatever the timing, and never a later one in its place.
 *
 * Claims save work; they do not guard it. What is made goes to a name of its own and is published only by a process that
 * still holds the claim, only where nothing is (`publish`), so that even two owners lose nothing but time.
 */
import type { HeldFile, ProcessIdentity, WritableFileSystem } from '../files/types';
import { LqError } from '../errors';

/** What claims need of a pipeline context. */
export interface Claimant {
  readonly files: WritableFileSystem;
  readonly self: ProcessIdentity;
  readonly signal: AbortSignal;
  /** Milliseconds without a heartbeat after which a claim may be taken over. */
  readonly claimTimeout: number;
  /** Milliseconds of a monotonic clock. */
  now(): number;
}

/** How far the holder of a claim is, in units of its own. */
interface ClaimProgress {
  readonly done: number;
  readonly total: number;
}

/** What a claim says. */
export interface ClaimRecord {
  readonly owner: string;
  readonly host: string;
  readonly space: string;
  readonly pid: number;
  readonly progress?: ClaimProgress;
}

/** The process that holds a claim, for people. */
export const describeHolder = ({ host, pid }: ClaimRecord): string => `${host} (process ${pid})`;

/** How much of its work the holder of a claim has done, from 0 to 1. */
export const shareOf = ({ progress }: ClaimRecord): number => (progress ? progress.done / progress.total : 0);

export interface Claim {
  /** False once another process has taken over: nothing made under the claim is to be published any more. */
  held(): Promise<boolean>;
  /** Tells those who wait; goes out with the next heartbeat. */
  progress(progress: ClaimProgress): void;
  release(): Promise<void>;
}

/** Heartbeats within the timeout. */
const BEATS = 12;
/** Between two looks at another's claim passes this share of the time waited so far, within these bounds and those of the timeout. */
const LOOK_SHARE = 0.1;
const SHORTEST_LOOK_MS = 20;
const LONGEST_LOOK_MS = 1000;
const LOOKS = 30;
/** Clocks of two machines may differ by this many timeouts before a claim is misjudged by its file's time. */
const SKEW_TIMEOUTS = 10;
/** Room for a record: a heartbeat overwrites the one before in place. */
const RECORD_BYTES = 512;

export const CLAIM_SUFFIX = '.claim';
export const claimPath = (what: string): string => what + CLAIM_SUFFIX;

let claims = 0;

/** Creates the claim at `path`; undefined when there is one. Its heart beats until it is released. */
export async function takeClaim(context: Claimant, path: string): Promise<Claim | undefined> {
  const { files, self } = context;
  const owner = `${self.id}-${++claims}`;
  let progress: ClaimProgress | undefined;
  let beat = 0;
  const record = (): string =>
    JSON.stringify({
      owner,
      host: self.host,
      space: self.space,
      pid: self.pid,
      beat: beat++,
      ...(progress && { progress }),
    }).padEnd(RECORD_BYTES - 1) + '\n';
  const file = await files.createExclusive(path, record());
  if (file === undefined) return undefined;
  const stopBeating = beatUntilStopped(file, record, context.claimTimeout / BEATS);
  return {
    held: async () => (await readClaim(files, path))?.owner === owner,
    progress: now => void (progress = now),
    async release() {
      await stopBeating();
      // What was done counts. A claim that cannot be removed is silent from now on and will be taken over.
      await removeClaim(context, path, owner).catch(() => undefined);
    },
  };
}

function beatUntilStopped(file: HeldFile, record: () => string, interval: number): () => Promise<void> {
  let stopped = false;
  let writing: Promise<void> = Promise.resolve();
  const beat = (): void => {
    if (stopped) return;
    // A heartbeat that cannot be written is a claim that may be lost, which `held` finds out.
    writing = file.write(record()).catch(() => undefined);
    void writing.then(() => setTimeout(beat, interval));
  };
  setTimeout(beat, interval);
  return async () => {
    stopped = true;
    await writing;
    await file.close();
  };
}

/** The claim at `path`, undefined when there is none. One that cannot be read yet is of an unknown owner. */
export async function readClaim(
  files: WritableFileSystem,
  path: string,
): Promise<(ClaimRecord & { text: string }) | undefined> {
  let text: string;
  try {
    text = await files.readText(path);
  } catch (error) {
    if (LqError.from(error).code === 'file-not-found') return undefined;
    throw error;
  }
  try {
    return { ...(JSON.parse(text) as ClaimRecord), text };
  } catch {
    return { owner: 'unknown', host: 'unknown', space: '', pid: 0, text };
  }
}

/**
 * Removes the claim of one owner, which no other process does at the same time and which leaves a later claim alone.
 * Nothing happens when another process is removing it.
 */
async function removeClaim(context: Claimant, path: string, owner: string): Promise<void> {
  const { files } = context;
  const token = `${path}.${owner}.removing`;
  // Empty: it has to be made on a full disk too.
  const right = await files.createExclusive(token, '');
  if (right === undefined) {
    // Left behind by a process that died in between.
    if (await isOld(context, token)) await files.remove(token);
    return;
  }
  try {
    await right.close();
    if ((await readClaim(files, path))?.owner === owner) await files.remove(path);
  } finally {
    await files.remove(token);
  }
}

/** Whether a file was last written so long ago that no difference of clocks explains it. */
async function isOld(
  { files, claimTimeout }: Pick<Claimant, 'files' | 'claimTimeout'>,
  path: string,
): Promise<boolean> {
  const stat = await files.stat(path);
  return stat !== undefined && Date.now() - stat.modified > SKEW_TIMEOUTS * claimTimeout;
}

/**
 * Whether the claim at `path` may belong to a process at work, judged at once: by its process on this machine, elsewhere
 * by the time of its last heartbeat.
 */
export async function mayBeAtWork(
  context: Pick<Claimant, 'files' | 'self' | 'claimTimeout'>,
  path: string,
): Promise<boolean> {
  const record = await readClaim(context.files, path);
  if (record === undefined) return false;
  if (record.space === context.self.space) return context.self.alive(record.pid);
  return !(await isOld(context, path));
}

/** Watches another's claim by this machine's clock: what counts is that it changes, not what time it names. */
class Watch {
  private text: string | undefined;
  private since = 0;

  constructor(
    private readonly context: Claimant,
    private readonly path: string,
  ) {}

  /** Looks once, and removes a claim that nobody keeps alive. Undefined when the claim is gone. */
  async look(): Promise<ClaimRecord | undefined> {
    const { context, path } = this;
    const record = await readClaim(context.files, path);
    if (record === undefined) return undefined;
    if (record.text !== this.text) {
      this.text = record.text;
      this.since = context.now();
    }
    const silent = context.now() - this.since >= context.claimTimeout;
    if (!silent && (await mayBeAtWork(context, path))) return record;
    await removeClaim(context, path, record.owner);
    return undefined;
  }
}

export interface OnceJob<T> {
  /** The result when it is there, made by whomever. */
  find(): Promise<T | undefined>;
  /**
   * Makes the result under the claim and publishes it. Undefined when the claim was lost meanwhile and the result is left
   * to the process that took over.
   */
  make(claim: Claim): Promise<T | undefined>;
  /** Told of the process that is waited for. Without it nothing is waited for. */
  onWait?: (holder: ClaimRecord) => void;
}

/**
 * Finds a result or makes it, once among all processes that ask: the first makes it, others wait, and take over when its
 * process dies or falls silent. Undefined when another is at it and there is no `onWait`. Errors: those of `find` and
 * `make`, cancelled.
 */
export async function once<T>(context: Claimant, what: string, job: OnceJob<T>): Promise<T | undefined> {
  const path = claimPath(what);
  const watch = new Watch(context, path);
  const start = context.now();
  for (;;) {
    if (context.signal.aborted) throw new LqError('cancelled', 'Cancelled.');
    const found = await job.find();
    if (found !== undefined) return found;
    const claim = await takeClaim(context, path);
    if (claim !== undefined) {
      try {
        // Another may have finished between the look and the claim.
        const made = (await job.find()) ?? (await job.make(claim));
        if (made !== undefined) return made;
      } finally {
        await claim.release();
      }
      continue;
    }
    const holder = await watch.look();
    if (holder === undefined) continue;
    if (job.onWait === undefined) return undefined;
    job.onWait(holder);
    await sleep(lookInterval(context, start), context.signal);
  }
}

/** Takes the claim, waiting for whoever has it and taking over from whoever fell silent. Errors: cancelled, io. */
export async function waitForClaim(
  context: Claimant,
  what: string,
  onWait: (holder: ClaimRecord) => void,
): Promise<Claim & { readonly waited: boolean }> {
  const path = claimPath(what);
  const watch = new Watch(context, path);
  const start = context.now();
  for (let waited = false; ;) {
    if (context.signal.aborted) throw new LqError('cancelled', 'Cancelled.');
    const claim = await takeClaim(context, path);
    if (claim !== undefined) return { ...claim, waited };
    const holder = await watch.look();
    if (holder === undefined) continue;
    waited = true;
    onWait(holder);
    await sleep(lookInterval(context, start), context.signal);
  }
}

/** @param since when the wait began */
const lookInterval = ({ claimTimeout, now }: Claimant, since: number): number =>
  Math.min(LONGEST_LOOK_MS, claimTimeout / LOOKS, Math.max(SHORTEST_LOOK_MS, LOOK_SHARE * (now() - since)));

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const wake = (): void => {
      signal.removeEventListener('abort', wake);
      resolve();
    };
    setTimeout(wake, milliseconds);
    signal.addEventListener('abort', wake);
  });
}
