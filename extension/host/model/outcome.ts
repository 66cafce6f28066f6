import * as path from 'node:path';
import type { CompressRequest } from '../../core/requests/requests';
import type { JobState, JobView } from '../../protocol/panels';
import type { Defaults } from '../settings';
import { isResumable, type Job, type JobOf } from './jobs';
import type { Model } from './models';

/** A job as every view shows it. */
export const jobView = (job: Job, elsewhere: boolean): JobView => ({
  id: job.id,
  method: job.method,
  title: job.title,
  model: job.params.model,
  state: job.status,
  elsewhere,
  resumable: isResumable(job),
  created: job.created,
  ...(job.started !== undefined && { started: job.started }),
  ...(job.ended !== undefined && { ended: job.ended }),
  ...(job.progress && { progress: job.progress }),
  ...(job.error && { error: job.error }),
});

/** A compression as its panel shows it. */
export const jobState = (job: JobOf<'compress'>, elsewhere: boolean): JobState => ({
  ...jobView(job, elsewhere),
  request: job.params,
  ...(job.result && { report: job.result }),
});

/** The form of a checkpoint that was never compressed here: the paper's 2.75 bits, beside the original. */
export function firstForm(model: Model, { rank, factors, grid }: Defaults): CompressRequest {
  const stem = model.path.replace(/(\.safetensors)?(\.index\.json)?$/, '');
  return {
    model: model.path,
    out: path.join(path.dirname(stem), `${path.basename(stem)}-lq`),
    budget: { kind: 'bits', value: 2.75 },
    method: 'lq-lora',
    ranks: [rank],
    factors,
    plain: true,
    format: 'packed',
    ...(grid && { grid }),
  };
}
