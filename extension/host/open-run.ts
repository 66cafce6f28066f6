import { subjectOf, type Job } from './model/jobs';
import type { Studio } from './studio';

/** Shows a job: at work, or what came of it, or why nothing did. */
export async function openRun(studio: Pick<Studio, 'navigate'>, job: Job): Promise<void> {
  const model = subjectOf(job);
  switch (job.method) {
    case 'compress':
      return studio.navigate({ to: 'compress', model, job: job.id });
    case 'evaluate':
      return studio.navigate({ to: 'perplexity', model });
    case 'sweep':
      return studio.navigate({ to: 'allocation', model });
    case 'export':
      return studio.navigate({ to: 'checkpoint', model: job.result?.out ?? model });
    case 'statistics':
      return studio.navigate({ to: 'checkpoint', model });
    case 'methods':
      return studio.navigate({ to: 'methods', model });
    case 'compare':
      return studio.navigate({ to: 'compare', model, other: job.params.b });
  }
}
