import { LqError, type ErrorData } from '../../core/errors';
import type { EngineClient } from '../../protocol/client';
import type { EngineParams, EngineResult } from '../../protocol/engine';
import type { Progress } from '../../core/progress';

/** Long work that outlives the panel it was started from. */
export type JobMethod = 'compress' | 'evaluate' | 'export' | 'sweep';

/** A sweep's table is megabytes and lies in the file the request names; its job keeps no result. */
export type JobResult<M extends JobMethod> = M extends 'sweep' ? null : EngineResult<M>;

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
}
export type Job = { [M in JobMethod]: JobOf<M> }[JobMethod];

export const isJob = (value: unknown): value is Job => {
  if (typeof value !== 'object' || value === null) return false;
  const job = value as Partial<Record<keyof Job, unknown>>;
  return (
    typeof job.id === 'string' &&
    /^[\w-]+$/.test(job.id) &&
    ['compress', 'evaluate', 'export', 'sweep'].includes(job.method as string) &&
    ['queued', 'running', 'done', 'failed', 'cancelled', 'interrupted'].includes(job.status as string) &&
    typeof job.title === 'string' &&
    typeof job.params === 'object' &&
    job.params !== null &&
    typeof job.created === 'number' &&
    typeof job.owner === 'number'
  );
};

/** Where jobs are remembered; RecordStore is the real one. */
export interface JobStore {
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
}

export const isActive = (job: Job): boolean => job.status === 'queued' || job.status === 'running';

/**
 * Runs jobs one after another (two at once would hold two models in memory), remembers them on disk, and tells its
 * listeners of every change. Jobs found unfinished after a restart are `interrupted` until resumed or removed.
 */
export class JobManager {
  private readonly jobs = new Map<string, Job>();
  private readonly listeners = new Set<(job: Job) => void>();
  private running: { id: string; controller: AbortController } | undefined;

  constructor(private readonly environment: JobEnvironment) {}

  /**
   * Reads the remembered jobs. Those left unfinished by a process that is gone become `interrupted`; those of a window
   * that still runs are left to it and returned, so that the caller can look again.
   */
  async restore(): Promise<{ interrupted: Job[]; elsewhere: Job[] }> {
    const interrupted: Job[] = [];
    const elsewhere: Job[] = [];
    for (const job of await this.environment.store.all()) {
      if (this.jobs.has(job.id)) continue;
      if (isActive(job) && this.environment.alive(job.owner)) {
        elsewhere.push(job);
        continue;
      }
      this.jobs.set(job.id, job);
      if (isActive(job)) this.change(job.id, { status: 'interrupted', ended: this.environment.now() });
      const now = this.jobs.get(job.id)!;
      if (now.status === 'interrupted') interrupted.push(now);
    }
    return { interrupted, elsewhere };
  }

  /** Newest first. */
  all(): Job[] {
    return [...this.jobs.values()].sort((a, b) => b.created - a.created);
  }

  get(id: string): Job | undefined {
    return this.jobs.get(id);
  }

  /** The job at work. */
  current(): Job | undefined {
    return this.running && this.jobs.get(this.running.id);
  }

  onChange(listener: (job: Job) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Queues a job; it starts at once when nothing runs. */
  start<M extends JobMethod>(method: M, params: EngineParams<M>, title: string): JobOf<M> {
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

  /** Stops a queued or running job. What was finished stays in the cache. */
  cancel(id: string): void {
    const job = this.known(id);
    if (this.running?.id === id) this.running.controller.abort();
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

  private known(id: string): Job {
    const job = this.jobs.get(id);
    if (!job) throw new LqError('usage', `There is no job ${id}.`);
    return job;
  }

  private change(
    id: string,
    fields: Partial<Pick<Job, 'status' | 'started' | 'ended' | 'progress' | 'error' | 'result'>>,
  ) {
    const job = { ...this.jobs.get(id)!, ...fields } as Job;
    this.jobs.set(id, job);
    // Progress is not worth a write; everything else must survive a crash.
    if (fields.progress === undefined) {
      const { progress: _, ...kept } = job;
      this.environment.store.put(kept as Job).catch((error: unknown) => {
        this.environment.warn(`${job.title} cannot be remembered: ${LqError.from(error).message}`);
      });
    }
    for (const listener of this.listeners) listener(job);
  }

  private async next(): Promise<void> {
    if (this.running) return;
    const job = [...this.jobs.values()]
      .filter(each => each.status === 'queued' && each.owner === this.environment.owner)
      .sort((a, b) => a.created - b.created)[0];
    if (!job) return;
    const { id } = job;
    const controller = new AbortController();
    this.running = { id, controller };
    this.change(id, { status: 'running', started: this.environment.now() });
    const outcome = await this.run(job, controller.signal);
    // Listeners look at what is at work, which this job is not any more.
    this.running = undefined;
    this.change(id, { ...outcome, ended: this.environment.now() });
    void this.next();
  }

  private async run(job: Job, signal: AbortSignal): Promise<Pick<Job, 'status' | 'result' | 'error'>> {
    try {
      const result = await this.environment.engine.request(job.method, job.params, {
        signal,
        onProgress: progress => this.change(job.id, { progress }),
      });
      return { status: 'done', result: job.method === 'sweep' ? null : (result as Exclude<Job['result'], undefined>) };
    } catch (thrown) {
      const error = LqError.from(thrown).toJSON();
      if (error.code === 'cancelled') return { status: 'cancelled', error };
      return { status: error.code === 'engine-died' ? 'interrupted' : 'failed', error };
    }
  }
}

function withoutOutcome(job: Job): Job {
  const { error: _error, ended: _ended, progress: _progress, result: _result, ...rest } = job;
  return rest;
}
