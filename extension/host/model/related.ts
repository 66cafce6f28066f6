import type { CompressReport } from '../../core/reports';
import { subjectOf, type Job, type JobOf } from './jobs';
import type { Model } from './models';

/** A finished compression: where from, where to, and what was done. */
export interface Compression {
  job: JobOf<'compress'>;
  original: string;
  output: string;
  report: CompressReport;
}

type Finished<M extends Job['method']> = JobOf<M> & { result: NonNullable<JobOf<M>['result']> };

const finished = <M extends Job['method']>(jobs: readonly Job[], method: M): Finished<M>[] =>
  jobs.filter((job): job is Job & Finished<M> => job.method === method && job.status === 'done' && Boolean(job.result));

/** All finished compressions, newest first. */
function compressions(jobs: readonly Job[]): Compression[] {
  return finished(jobs, 'compress').map(job => ({
    job,
    original: job.params.model,
    output: job.result.output,
    report: job.result,
  }));
}

/** Finished evaluations of the given checkpoints, newest first. */
export function evaluations(jobs: readonly Job[], models: ReadonlySet<string>): Finished<'evaluate'>[] {
  return finished(jobs, 'evaluate').filter(job => models.has(job.params.model));
}

/** What was made from a checkpoint, newest first and each output once. */
export function madeFrom(jobs: readonly Job[], model: string): Compression[] {
  const newest = new Map<string, Compression>();
  for (const each of compressions(jobs)) {
    if (each.original === model && !newest.has(each.output)) newest.set(each.output, each);
  }
  return [...newest.values()];
}

/** The compression that made a checkpoint. */
export function originOf(jobs: readonly Job[], model: string): Compression | undefined {
  return compressions(jobs).find(each => each.output === model);
}

/** A table of costs, written by a sweep or along with a compression. */
export interface SweepFile {
  file: string;
  /** When it was written, in milliseconds since 1970. */
  date: number;
  /** The Fisher information its costs are weighted by. */
  fisher?: string;
}

/** The tables of costs of a checkpoint as its files are now, newest first, each once. */
export function sweepsOf(jobs: readonly Job[], model: Pick<Model, 'path' | 'version'>): SweepFile[] {
  const newest = new Map<string, SweepFile>();
  for (const job of jobs) {
    if (job.status !== 'done' || subjectOf(job) !== model.path) continue;
    if (job.version !== undefined && job.version !== model.version) continue;
    const date = job.ended ?? job.created;
    const [file, fisher] =
      job.method === 'sweep'
        ? [job.params.out, job.params.fisher]
        : job.method === 'compress'
          ? [job.params.sweepOut, job.result?.fisher]
          : [];
    if (file !== undefined && !newest.has(file))
      newest.set(file, { file, date, ...(fisher !== undefined && { fisher }) });
  }
  return [...newest.values()];
}

/** Whether costs were measured of files that have changed since. */
export const hasOlderSweeps = (jobs: readonly Job[], model: Pick<Model, 'path' | 'version'>): boolean =>
  jobs.some(
    ({ method, status, version, ...job }) =>
      (method === 'sweep' || method === 'compress') &&
      status === 'done' &&
      version !== undefined &&
      version !== model.version &&
      subjectOf({ method, ...job }) === model.path,
  );

/**
 * Jobs that concern a checkpoint: those on it, on what was made from it, or on what it was made from; newest first when the
 * given ones are.
 */
export function concerning(jobs: readonly Job[], model: string): Job[] {
  const origin = originOf(jobs, model)?.original;
  const family = new Set([model, ...madeFrom(jobs, model).map(({ output }) => output)]);
  if (origin !== undefined) family.add(origin);
  return jobs.filter(job => family.has(subjectOf(job)) || (job.method === 'compare' && family.has(job.params.b)));
}
