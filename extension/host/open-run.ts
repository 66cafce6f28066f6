import type { Job } from './model/jobs';
import type { Studio } from './studio';

/** Shows a job: at work, or what came of it, or why nothing did. */
export async function openRun(studio: Pick<Studio, 'navigate'>, job: Job): Promise<void> {
  const { model } = job.params;
  if (job.method === 'compress') await studio.navigate({ to: 'compress', model, job: job.id });
  else if (job.method === 'evaluate') await studio.navigate({ to: 'perplexity', model });
  else if (job.method === 'sweep') await studio.navigate({ to: 'allocation', model });
  else await studio.navigate({ to: 'checkpoint', model: job.result?.out ?? model });
}
