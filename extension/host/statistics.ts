import type { TensorStatistics } from '../core/analysis/types';
import { isActive, type Job, type JobManager } from './model/jobs';
import type { Model, Models } from './model/models';
import type { StatisticsCache } from './model/statistics';
import { jobSettings } from './settings';
import type { Studio } from './studio';

/** The statistics of one tensor, unless they are known already; told to whoever listens to the cache. */
export async function computeStatistics(
  studio: Pick<Studio, 'engine' | 'statistics'>,
  model: Model,
  tensor: string,
  signal?: AbortSignal,
): Promise<number> {
  if ((await studio.statistics.of(model)).has(tensor)) return 0;
  const request = { ...jobSettings(), model: model.path, tensors: [tensor] };
  const results = await studio.engine.request('statistics', request, { ...(signal && { signal }) });
  await studio.statistics.add(model, results);
  return results.length;
}

/**
 * A job that computes the statistics of the given tensors, of all when absent, that are not known yet, or one of the same
 * checkpoint that is at work already; undefined when all are known. Each is kept as soon as it is there, so that a job that is asked for again goes on where it was.
 */
export async function startStatistics(
  studio: Pick<Studio, 'jobs' | 'statistics'>,
  model: Model,
  tensors?: readonly string[],
): Promise<Job | undefined> {
  const known = await studio.statistics.of(model);
  const active = studio.jobs
    .all()
    .find(job => isActive(job) && job.method === 'statistics' && job.params.model === model.path);
  if (active) return active;
  const missing = (tensors ?? model.tensors.map(({ name }) => name)).filter(name => !known.has(name));
  if (missing.length === 0) return undefined;
  const all = missing.length === model.tensors.length;
  const request = { ...jobSettings(), model: model.path, ...(!all && { tensors: missing }) };
  return studio.jobs.start('statistics', request, `Statistics of ${model.header.label}`);
}

/** Keeps what jobs of statistics find, tensor by tensor. @returns stops listening. */
export function keepStatistics(jobs: JobManager, models: Models, statistics: StatisticsCache): () => void {
  return jobs.onPiece((job, piece) => {
    if (job.method !== 'statistics') return;
    void models.open(job.params.model).then(
      model => statistics.add(model, [piece as TensorStatistics | TensorStatistics[]].flat()),
      () => undefined, // the files went away, and with them what was found
    );
  });
}
