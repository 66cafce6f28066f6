import * as path from 'node:path';
import type { CompressRequest } from '../../core/requests/requests';
import type { JobState } from '../../protocol/panels';
import type { Defaults } from '../settings';
import type { JobOf } from './jobs';
import type { Model } from './models';

/** A compression as its panel shows it; one that waits for another is shown at work without progress. */
export function jobState(job: JobOf<'compress'>): JobState {
  return {
    id: job.id,
    state: job.status === 'queued' ? 'running' : job.status,
    request: job.params,
    started: job.started ?? job.created,
    ...(job.ended !== undefined && { ended: job.ended }),
    ...(job.progress && { progress: job.progress }),
    ...(job.error && { error: job.error }),
    ...(job.result && { report: job.result }),
  };
}

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
