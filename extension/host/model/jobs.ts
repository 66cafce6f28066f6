import { LqError, type ErrorData } from '../../core/errors';
import type { EngineClient } from '../../protocol/client';
import type { EngineParams, EngineResult } from '../../protocol/engine';
import type { Progress } from '../../core/progress';

/** Long work that outlives the panel it was started from. */
export type JobMethod = 'compress' | 'evaluate' | 'export' | 'sweep' | 'statistics' | 'compare' | 'methods';

/**
 * A sweep's table is megabytes and lies in the file the request names; statistics are kept tensor by tensor as they come.
 * Their jobs keep no result.
 */
type JobResult<M extends JobMethod> = M extends 'sweep' | 'statistics' ? null : EngineResult<M>;

/** `interrupted`: the editor or the engine went away. What was finished is in the cache, so the same request goes on. */
export type JobStatus = 'queued' | 'running' | 'done' | 'failed' | 'cancelled' | 'interrupted';

export interface JobOf<M extends JobMethod> {
  readonly id: string;
  readonly method: M;
  readonly params: EngineParams<M>;
  /** Such as `Compress tiny-books-4m`. */
  readonly title: string;
  readonly status: JobStatus;
  /** Milliseconds since 1970. */
  readonly created: number;
  readonly started?: number;
  readonly ended?: number;
  readonly progress?: Progress;
  readonly error?: ErrorData;
  readonly result?: JobResult<M>;
  /** Process that runs it, to tell a job of another window from one left behind. */
  readonly owner: number;
  /** When its window last said that it is at work. */
  readonly seen?: number;
  /** Version of the checkpoint it works on, when it began: what comes of it is of those files. */
  readonly version?: string;
  /** Version of the checkpoint that it made, or that it compared with, when it ended. */
  readonly made?: string;
  /** Kept at the head of the list. */
  readonly pinned?: boolean;
}
export type Job = { [M in JobMethod]: JobOf<M> }[JobMethod];

const jobMethods = [
  ...(['compress', 'evaluate', 'export', 'sweep', 'statistics', 'compare', 'methods'] as const),
] as const satisfies JobMethod[];

export const isJob = (value: unknown): value is Job => {
  if (typeof value !== 'object' || value === null) return false;
  const job = value as Partial<Record<keyof Job, unknown>>;
  return (
    typeof job.id === 'string' &&
    /^[\w-]+$/.test(job.id) &&
    (jobMethods as readonly unknown[]).includes(job.method) &&
    ['queued', 'running', 'done', 'failed', 'cancelled', 'interrupted'].includes(job.status as string) &&
    typeof job.title === 'string' &&
    typeof job.params === 'object' &&
    job.params !== null &&
    typeof job.created === 'number' &&
    typeof job.owner === 'number'
  );
};

/** Where jobs are remembered; RecordStore is the real one. */
interface JobStore {
  all(): Promise<Job[]>;
  put(job: Job): Promise<void>;
  remove(id: string): Promise<void>;
}

export interface JobEnvironment {
  engine: Pick<EngineClient, 'request'>;
  store: JobStore;
  /** Process id of this window's host. */
  owner: number;
  /** Whether a process still runs. */
  alive(owner: number): boolean;
  now(): number;
  /** A new id that is a valid file name and sorts by time. */
  id(): string;
  warn(message: string): void;
  /** What changes with the files of a checkpoint; undefined where there is none. */
  version?(path: string): Promise<string | undefined>;
  /** How often a job at work is written with its progress, for other windows to see. */
  heartbeatMs?: number;
}

export const isActive = (job: Job): boolean => job.status === 'queued' || job.status === 'running';

/** Failures that the same request may survive another time: the machine was at fault, not the request. */
const passing: ReadonlySet<ErrorData['code']> = new Set([
  'engine-died',
  'disk-full',
  'io',
  'out-of-memory',
  'device-memory',
  'device-unavailable',
]);

/** Whether going on with the same request can lead to anything. */
export const isResumable = ({ status, error }: Pick<Job, 'status' | 'error'>): boolean =>
  status === 'interrupted' ||
  status === 'cancelled' ||
  (status === 'failed' && error !== undefined && passing.has(error.code));

/** The folder a job makes, or the file it writes. */
export const outputOf = (job: Pick<Job, 'method' | 'params'>): string | undefined =>
  (job.params as { out?: string }).out;

/** The checkpoint a job works on: of a comparison the first. */
export const subjectOf = (job: Pick<Job, 'method' | 'params'>): string => {
  const { model, a } = job.params as { model?: string; a?: string };
  return model ?? a ?? '';
};

/** Work that reads weights as they pass by goes on beside work that holds a model in memory. */
type Lane = 'model' | 'reading';
const laneOf = ({ method }: Pick<Job, 'method'>): Lane =>
  method === 'statistics' || method === 'compare' ? 'reading' : 'model';

/**
 * Runs jobs one after another in their lane (two models at once would not fit in memory), remembers them on disk, and tells
 * its listeners of every change. Jobs found unfinished after a restart are `interrupted` until resumed or removed. Jobs of
 * other windows on the same store are seen, not touched.
 */
export class JobManager {
  private readonly jobs = new Map<string, Job>();
  private readonly listeners = new Set<(job: Job) => void>();
  private readonly pieceListeners = new Set<(job: Job, piece: unknown) => void>();
  private readonly running = new Map<Lane, { id: string; controller: AbortController }>();

  constructor(private readonly environment: JobEnvironment) {}

  /**
   * Reads the remembered jobs, at the start and whenever another window may have changed them. Those left unfinished by a
   * process that is gone become `interrupted` and are returned; those at work in another window are returned as well, so
   * that the caller can look again.
   */
  async restore(): Promise<{ interrupted: Job[]; elsewhere: Job[] }> {
    const interrupted: Job[] = [];
    const elsewhere: Job[] = [];
    const stored = await this.environment.store.all();
    for (const job of stored) {
      if (this.isOurs(job.id)) continue;
      const known = this.jobs.get(job.id);
      if (isActive(job) && this.environment.alive(job.owner)) {
        elsewhere.push(job);
        this.take(job);
      } else if (isActive(job)) {
        this.jobs.set(job.id, job);
        this.change(job.id, { status: 'interrupted', ended: this.environment.now() });
        interrupted.push(this.jobs.get(job.id)!);
      } else {
        this.take(job);
        if (job.status === 'interrupted' && known === undefined) interrupted.push(job);
      }
    }
    this.forgetRemoved(new Set(stored.map(({ id }) => id)));
    return { interrupted, elsewhere };
  }

  /** Whether another window runs it. */
  isElsewhere(job: Job): boolean {
    return isActive(job) && job.owner !== this.environment.owner;
  }

  /** Newest first. */
  all(): Job[] {
    return [...this.jobs.values()].sort((a, b) => b.created - a.created);
  }

  get(id: string): Job | undefined {
    return this.jobs.get(id);
  }

  /** The job at work; of two the one that takes longer. */
  current(): Job | undefined {
    const running = this.running.get('model') ?? this.running.get('reading');
    return running && this.jobs.get(running.id);
  }

  onChange(listener: (job: Job) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Called with every finished piece of a job of this window, such as the statistics of one tensor. */
  onPiece(listener: (job: Job, piece: unknown) => void): () => void {
    this.pieceListeners.add(listener);
    return () => this.pieceListeners.delete(listener);
  }

  /**
   * Queues a job; it starts at once when nothing runs. Asked again for what is at work already, by a second click or from
   * another window, it is the job at work.
   * @throws LqError 'usage' when a different job at work writes the same output.
   */
  start<M extends JobMethod>(method: M, params: EngineParams<M>, title: string): JobOf<M> {
    const wanted = { method, params } as unknown as Pick<Job, 'method' | 'params'>;
    const same = this.all().find(job => isActive(job) && isSameWork(job, wanted));
    if (same) return same as unknown as JobOf<M>;
    const output = outputOf(wanted);
    const rival = output !== undefined && this.all().find(job => isActive(job) && outputOf(job) === output);
    if (rival)
      throw new LqError('usage', `${rival.title} is at work and writes ${output}. Choose another folder.`, {
        file: output,
      });
    const id = this.environment.id();
    const job = {
      id,
      method,
      params,
      title,
      status: 'queued',
      created: this.environment.now(),
      owner: this.environment.owner,
    } as JobOf<M>;
    this.jobs.set(id, job as Job);
    this.change(id, {});
    void this.next();
    return this.jobs.get(id) as JobOf<M>;
  }

  /** Issues the request of an interrupted, failed or cancelled job again; finished pieces come from the cache. */
  resume(id: string): Job {
    const job = this.known(id);
    if (isActive(job)) return job;
    if (job.status === 'done') throw new LqError('usage', `${job.title} is finished.`);
    const again = { ...job, status: 'queued', owner: this.environment.owner } as Job;
    this.jobs.set(id, withoutOutcome(again));
    this.change(id, {});
    void this.next();
    return this.known(id);
  }

  /** Stops a queued or running job of this window. What was finished stays in the cache. */
  cancel(id: string): void {
    const job = this.known(id);
    if (this.isElsewhere(job))
      throw new LqError('usage', `${job.title} runs in another window and is cancelled there.`);
    const running = [...this.running.values()].find(each => each.id === id);
    if (running) running.controller.abort();
    else if (job.status === 'queued') this.change(id, { status: 'cancelled', ended: this.environment.now() });
  }

  /** Forgets a job that is not at work; no output is touched. */
  async remove(id: string): Promise<void> {
    if (isActive(this.known(id))) throw new LqError('usage', 'A job at work is cancelled before it is removed.');
    const job = this.known(id);
    this.jobs.delete(id);
    await this.environment.store.remove(id);
    for (const listener of this.listeners) listener(job);
  }

  /** Keeps a job at the head of the list, or lets it go. */
  pin(id: string, pinned: boolean): void {
    this.known(id);
    this.change(id, { pinned });
  }

  /** Resolves with the finished job, whatever its outcome. */
  settled(id: string): Promise<Job> {
    return new Promise(resolve => {
      const job = this.known(id);
      if (!isActive(job)) return resolve(job);
      const stop = this.onChange(changed => {
        if (changed.id !== id || isActive(changed)) return;
        stop();
        resolve(changed);
      });
    });
  }

  /** Jobs of this window are as they are here; the store only follows. */
  private isOurs(id: string): boolean {
    const job = this.jobs.get(id);
    return job?.owner === this.environment.owner;
  }

  /** What another window, or an earlier session, says of a job. */
  private take(job: Job): void {
    const known = this.jobs.get(job.id);
    if (known && JSON.stringify(known) === JSON.stringify(job)) return;
    this.jobs.set(job.id, job);
    for (const listener of this.listeners) listener(job);
  }

  private forgetRemoved(stored: ReadonlySet<string>): void {
    for (const job of [...this.jobs.values()]) {
      if (stored.has(job.id) || this.isOurs(job.id)) continue;
      this.jobs.delete(job.id);
      for (const listener of this.listeners) listener(job);
    }
  }

  private known(id: string): Job {
    const job = this.jobs.get(id);
    if (!job) throw new LqError('usage', `There is no job ${id}.`);
    return job;
  }

  private change(id: string, fields: Partial<Omit<Job, 'id' | 'method' | 'params' | 'title' | 'created' | 'owner'>>) {
    const job = { ...this.jobs.get(id)!, ...fields } as Job;
    this.jobs.set(id, job);
    // Progress is written by the heartbeat; everything else must survive a crash.
    if (fields.progress === undefined) {
      const { progress: _, ...kept } = job;
      this.remember(kept);
    }
    for (const listener of this.listeners) listener(job);
  }

  private remember(job: Job): void {
    this.environment.store.put(job).catch((error: unknown) => {
      this.environment.warn(`${job.title} cannot be remembered: ${LqError.from(error).message}`);
    });
  }

  private async next(): Promise<void> {
    const job = [...this.jobs.values()]
      .filter(each => each.status === 'queued' && each.owner === this.environment.owner)
      .filter(each => !this.running.has(laneOf(each)))
      .sort((a, b) => a.created - b.created)[0];
    if (!job) return;
    const { id } = job;
    const lane = laneOf(job);
    const controller = new AbortController();
    this.running.set(lane, { id, controller });
    this.change(id, { status: 'running', started: this.environment.now() });
    const heartbeat = setInterval(
      () => this.remember({ ...this.jobs.get(id)!, seen: this.environment.now() }),
      this.environment.heartbeatMs ?? 3000,
    );
    void this.next();
    const outcome = await this.run(job, controller.signal);
    clearInterval(heartbeat);
    // Listeners look at what is at work, which this job is not any more.
    this.running.delete(lane);
    this.change(id, { ...outcome, ended: this.environment.now() });
    void this.next();
  }

  private async run(
    job: Job,
    signal: AbortSignal,
  ): Promise<Partial<Pick<Job, 'status' | 'result' | 'error' | 'made'>>> {
    try {
      const version = await this.environment.version?.(subjectOf(job));
      if (version !== undefined) this.change(job.id, { version });
      const result = await this.environment.engine.request(job.method, job.params, {
        signal,
        // A finished piece, such as a matrix's costs of all options, is told apart: it is no part of what is remembered.
        onProgress: ({ partial, ...progress }) => {
          this.change(job.id, { progress });
          if (partial !== undefined) for (const listener of this.pieceListeners) listener(job, partial);
        },
      });
      // Small pieces are told seldom; all of them are in the result.
      if (job.method === 'statistics') for (const listener of this.pieceListeners) listener(job, result);
      const other = job.method === 'compare' ? job.params.b : job.method === 'compress' ? job.params.out : undefined;
      const made = other === undefined ? undefined : await this.environment.version?.(other);
      const kept = job.method === 'sweep' || job.method === 'statistics' ? null : result;
      return {
        status: 'done',
        result: kept as Exclude<Job['result'], undefined>,
        ...(made !== undefined && { made }),
      };
    } catch (thrown) {
      const error = LqError.from(thrown).toJSON();
      // The user wanted that: there is nothing to explain.
      if (error.code === 'cancelled') return { status: 'cancelled' };
      return { status: error.code === 'engine-died' ? 'interrupted' : 'failed', error };
    }
  }
}

const isSameWork = (a: Pick<Job, 'method' | 'params'>, b: Pick<Job, 'method' | 'params'>): boolean =>
  a.method === b.method && canonical(a.params) === canonical(b.params);

/** Whatever the order of the fields: one of the two may have been read from disk. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_key, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([x], [y]) => (x < y ? -1 : 1)))
      : each,
  );

function withoutOutcome(job: Job): Job {
  const { id, method, params, title, status, created, owner, pinned } = job;
  return { id, method, params, title, status, created, owner, ...(pinned !== undefined && { pinned }) } as Job;
}
