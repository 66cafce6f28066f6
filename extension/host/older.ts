import type { Job } from './model/jobs';
import { subjectOf } from './model/jobs';
import type { Studio } from './studio';

/**
 * Whether the files that a job worked on, or the others it made or compared with, have changed since: what it found is of older ones. Files that
 * are gone have not changed, and of a job of an earlier version nothing is known.
 */
export async function isOlder({ models }: Pick<Studio, 'models'>, job: Job): Promise<boolean> {
  const differs = async (path: string, version: string | undefined): Promise<boolean> => {
    if (version === undefined) return false;
    const model = await models.open(path).catch(() => undefined); // gone, or not readable at the moment
    return model !== undefined && model.version !== version;
  };
  const other = job.method === 'compress' ? job.params.out : job.method === 'compare' ? job.params.b : undefined;
  return (await differs(subjectOf(job), job.version)) || (other !== undefined && (await differs(other, job.made)));
}
