/**
 * What the workers of one job tell of it, for whoever watches the folder that they share. Each has a post, `shard/<key>.json`, kept
 * under a claim of its own for as long as it works; what it says stays until the job's output is whole, so that pieces done by a
 * worker that has ended count too. Posts tell and guard nothing: one that cannot be written is let be.
 */
import type { PipelineContext, Post } from '../context';
import { joinPath } from '../files/paths';
import type { Stage } from '../progress';
import { cachePath, makeRoom, removeUnlessUsed } from './cache';
import { holdsEntries, type Watcher } from './cache-folder';
import { claimPath, mayBeAtWork, readClaim, takeClaim } from './claims';

const KIND = 'shard';
/** A post is written anew no more often than this. */
const INTERVAL_MS = 1000;

interface Said {
  /** Of the job, the same for all its workers. */
  readonly job: string;
  /** Of the model. */
  readonly label: string;
  /** Such as `2/8`. */
  readonly worker: string;
  readonly stage: Stage;
  /** Pieces of the stage, those done here and those found done. */
  readonly total: number;
  readonly computed: number;
  readonly found: number;
}

/** A request of a job: who makes it, with what and where to does not change what is shared. */
type JobRequest = object;

function jobOf(context: PipelineContext, request: JobRequest): string {
  const own = ['device', 'threads', 'cache', 'out', 'overwrite', 'costs', 'shard'];
  const shared = Object.entries(request).filter(([name]) => !own.includes(name));
  return context.digest(JSON.stringify(shared.sort(([a], [b]) => (a < b ? -1 : 1))));
}

/**
 * The context of a worker of a job, which tells how far it is until `close` is called.
 * @param request the worker's
 */
export async function withPost(
  context: PipelineContext,
  { request, label, worker }: { readonly request: JobRequest; readonly label: string; readonly worker: string },
): Promise<{ context: PipelineContext; close: () => Promise<void> }> {
  const job = jobOf(context, request);
  const path = cachePath(context, KIND, [job, context.self.id]);
  await makeRoom(context, path);
  const claim = await takeClaim(context, claimPath(path));
  let said: Said = { job, label, worker, stage: 'open', total: 0, computed: 0, found: 0 };
  let waiting = false;
  let writing = Promise.resolve();
  const write = (): Promise<void> => {
    waiting = false;
    return (writing = writing.then(() => context.files.writeAtomic(path, JSON.stringify(said)).catch(() => undefined)));
  };
  const say = (now: Said): void => {
    said = now;
    if (waiting) return;
    waiting = true;
    setTimeout(() => void (waiting && write()), INTERVAL_MS);
  };
  const post: Post = {
    begin: (stage, total) => say({ ...said, stage, total, computed: 0, found: 0 }),
    done: (how, pieces = 1) => say({ ...said, [how]: said[how] + pieces }),
  };
  return {
    context: { ...context, post },
    async close() {
      await write();
      await claim?.release();
    },
  };
}

/** A job that several workers are at. */
export interface SharedJob {
  readonly label: string;
  /** Where its workers are: most often one stage. */
  readonly stages: readonly { readonly stage: Stage; readonly done: number; readonly total: number }[];
  /** At work now. */
  readonly workers: readonly { readonly host: string; readonly pid: number; readonly worker: string }[];
}

/** The jobs whose workers share a folder and are at work; none in a folder that is absent or not ours. */
export async function sharedJobs(context: Watcher, folder: string): Promise<SharedJob[]> {
  const { files } = context;
  const room = joinPath(folder, KIND);
  if (!(await holdsEntries(files, folder)) || (await files.stat(room)) === undefined) return [];
  const jobs = new Map<string, { said: Said[]; workers: SharedJob['workers'][number][]; stages: Set<Stage> }>();
  for (const name of (await files.list(room)).filter(each => each.endsWith('.json'))) {
    const path = joinPath(room, name);
    const said = await readPost(context, path);
    if (said === undefined) continue;
    const job = jobs.get(said.job) ?? { said: [], workers: [], stages: new Set() };
    jobs.set(said.job, job);
    job.said.push(said);
    const holder = await readClaim(files, claimPath(path));
    if (holder === undefined || !(await mayBeAtWork(context, claimPath(path)))) continue;
    job.workers.push({ host: holder.host, pid: holder.pid, worker: said.worker });
    job.stages.add(said.stage);
  }
  return [...jobs.values()]
    .filter(({ workers }) => workers.length > 0)
    .map(({ said, workers, stages }) => ({
      label: said[0]!.label,
      stages: [...stages].map(stage => ({ stage, ...countOf(said.filter(each => each.stage === stage)) })),
      workers: workers.sort((a, b) => a.worker.localeCompare(b.worker, undefined, { numeric: true })),
    }));
}

/** Each piece is done by one worker, and what was done before the job began is found by every one in the end. */
function countOf(said: readonly Said[]): { done: number; total: number } {
  const total = Math.max(...said.map(each => each.total));
  const together = said.reduce((sum, { computed }) => sum + computed, 0);
  const known = Math.max(...said.map(({ computed, found }) => computed + found));
  return { done: Math.min(total, Math.max(together, known)), total };
}

async function readPost({ files }: Watcher, path: string): Promise<Said | undefined> {
  try {
    return JSON.parse(await files.readText(path)) as Said;
  } catch {
    // Removed since, or lost by the disk.
    return undefined;
  }
}

/** Removes what the workers of a job said: it is done. @param request of whoever gathers */
export async function forgetPosts(context: PipelineContext, request: JobRequest): Promise<void> {
  const { files } = context;
  const room = joinPath(context.cache, KIND);
  if ((await files.stat(room)) === undefined) return;
  const job = jobOf(context, request);
  for (const name of (await files.list(room)).filter(each => each.endsWith('.json'))) {
    const path = joinPath(room, name);
    const said = await readPost(context, path);
    if (said?.job === job && !(await mayBeAtWork(context, claimPath(path)))) await removeUnlessUsed(context, path);
  }
}
