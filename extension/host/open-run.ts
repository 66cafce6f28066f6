import type { Destination } from '../protocol/panels';
import { subjectOf, type Job } from './model/jobs';
import type { Studio } from './studio';

/** Where a job is shown: at work, or what came of it, or why nothing did. */
export function placeOf(job: Job): Destination {
  const model = subjectOf(job);
  switch (job.method) {
    case 'compress':
      return { to: 'compress', model, job: job.id };
    case 'evaluate':
      return { to: 'perplexity', model };
    case 'sweep':
      return { to: 'allocation', model };
    case 'export':
      return { to: 'checkpoint', model: job.result?.out ?? model };
    case 'statistics':
      return { to: 'checkpoint', model };
    case 'methods':
      return { to: 'methods', model };
    case 'compare':
      return { to: 'compare', model, other: job.params.b };
  }
}

/** Shows a job. */
export const openRun = (studio: Pick<Studio, 'navigate'>, job: Job): Promise<void> => studio.navigate(placeOf(job));
