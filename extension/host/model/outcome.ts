import * as path from 'node:path';
import { LqError } from '../../core/errors';
import { hubRepository } from '../../core/files/hub-cache';
import type { CompressRequest } from '../../core/requests/requests';
import type { JobState, JobView, TargetMatrix } from '../../protocol/panels';
import type { Defaults } from '../settings';
import { isResumable, subjectOf, type Job, type JobOf } from './jobs';
import { targetMatrices } from './header';
import type { Model } from './models';

/** What of a job is not in its record: whether another window runs it, and whether its files have changed since. */
export interface Standing {
  elsewhere: boolean;
  older: boolean;
}

/** A job as every view shows it. */
export const jobView = (job: Job, { elsewhere, older }: Standing): JobView => ({
  id: job.id,
  method: job.method,
  title: job.title,
  model: subjectOf(job),
  ...(job.method === 'compare' && { other: job.params.b }),
  state: job.status,
  elsewhere,
  ...(older && { older }),
  resumable: isResumable(job),
  created: job.created,
  ...(job.started !== undefined && { started: job.started }),
  ...(job.ended !== undefined && { ended: job.ended }),
  ...(job.progress && { progress: job.progress }),
  ...(job.error && { error: job.error }),
});

/** A compression as its panel shows it. */
export const jobState = (job: JobOf<'compress'>, standing: Standing): JobState => ({
  ...jobView(job, standing),
  request: job.params,
  ...(job.result && { report: job.result }),
});

/**
 * Where something made from a checkpoint is written unless told otherwise: beside it, or for one in the cache of the
 * Hugging Face hub, which holds only what is downloaded, in `place` by the repository's name.
 */
export function outputBeside(model: Pick<Model, 'path'>, suffix: string, place: string): string {
  const hub = hubRepository(model.path);
  const stem = hub
    ? path.join(place, [hub.name.split('/').at(-1)!, ...hub.inside.split('/').filter(Boolean)].join('-'))
    : model.path;
  return `${stem.replace(/\.gguf$|(?:\.safetensors)?(?:\.index\.json)?$/, '')}-${suffix}`;
}

/** Effective bits of the size that the form of a new checkpoint begins with. */
const FIRST_BITS = 2.5;

/** The form of a checkpoint that was never compressed here: the default method at a size, beside the original. */
export function firstForm(model: Model, { factors }: Defaults, place: string): CompressRequest {
  return {
    model: model.path,
    out: outputBeside(model, 'lq', place),
    budget: { kind: 'bytes', value: firstSize(model) },
    factors,
    plain: true,
    format: 'packed',
  };
}

/** Bytes of the checkpoint with the weights of its blocks at `FIRST_BITS`, and everything else as it is. */
function firstSize({ index, tensors }: Model): number {
  const targets = new Set(targetsOrNone(tensors).map(({ name }) => name));
  const chosen = tensors.filter(({ name }) => targets.has(name));
  const weights = chosen.reduce((sum, { parameters }) => sum + parameters, 0);
  const stored = chosen.reduce((sum, { bytes }) => sum + bytes, 0);
  return roundUp(index.bytes - stored + (weights * FIRST_BITS) / 8);
}

/** The next number of three digits. */
function roundUp(value: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(value, 1))) - 2);
  return Math.ceil(value / unit) * unit;
}

/** A checkpoint in which nothing is recognised has a form too: patterns can still choose. */
export function targetsOrNone(tensors: Model['tensors']): TargetMatrix[] {
  try {
    return targetMatrices(tensors);
  } catch (error) {
    if (LqError.from(error).code === 'no-targets') return [];
    throw error;
  }
}
