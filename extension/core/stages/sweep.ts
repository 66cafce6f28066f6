/** Costs of every option for every matrix, of a whole checkpoint or one worker's part of it. */
import type { IsMeasured } from '../allocation/lazy';
import type { PipelineContext } from '../context';
import type { PreparedTarget, Target } from '../export/target';
import { targetOf } from '../export/targets';
import { chooseMethod, type ChosenMethod } from '../method';
import { open, type Opened } from '../opened';
import { DEFAULTS } from '../requests/defaults';
import type { CompressRequest, SweepRequest, SweepShardRequest } from '../requests/requests';
import { LqError } from '../errors';
import type { LqLoop } from '../options/recipe';
import type { Metric } from '../sensitivity/metric';
import {
  sweep as sweepMatrices,
  sweepShard as sweepMatricesOf,
  unmeasured,
  type SweepInput,
  type Unmeasured,
} from '../sensitivity/sweep';
import type { ShardReport, SweepTable } from '../sensitivity/types';
import { formatShard, type Shard } from '../shards';
import { forgetPosts, withPost } from '../storage/posts';
import { calibrationWindows, metricOf } from './statistics';

/** What a request is about: the method, the target and the matrices it holds. */
export interface Subject {
  readonly method: ChosenMethod;
  readonly target: Target;
  readonly prepared: PreparedTarget;
}

type SubjectRequest = Parameters<typeof chooseMethod>[1] &
  Pick<
    CompressRequest,
    | 'model'
    | 'include'
    | 'exclude'
    | 'embeddings'
    | 'for'
    | 'format'
    | 'factors'
    | 'splitSize'
    | 'calibration'
    | 'parts'
  >;

/** Whether embedding and head are among the targets: not where the format's own program has them. */
function embeddingsOf({ embeddings }: Target, asked: boolean): boolean {
  if (asked && embeddings === 'never')
    throw new LqError('usage', 'Embeddings and heads stay as they are in what is asked for: leave out --embeddings.');
  return asked && embeddings === 'asked';
}

/** @throws LqError those of `chooseMethod`, `open` and the target's `prepare`. */
export async function subjectOf({ files }: PipelineContext, request: SubjectRequest): Promise<Subject> {
  const method = await chooseMethod(files, request);
  if (request.parts !== undefined && (method.metric === 'plain' || request.calibration === undefined))
    throw new LqError('usage', 'Parts are of the windows of a calibration text: leave out --parts.');
  const target = targetOf(request);
  const embeddings = embeddingsOf(target, request.embeddings ?? false);
  const found = await open(files, { ...request, embeddings }, method.options);
  return { method, target, prepared: await target.prepare(files, found, method.options, request) };
}

export async function sweep(context: PipelineContext, request: SweepRequest): Promise<SweepTable> {
  const { method, prepared } = await subjectOf(context, request);
  for (const note of [...method.notes, ...prepared.notes]) context.log('warning', note);
  const metric = await metricOf(context, prepared.opened, method, request);
  for (const note of metric.notes ?? []) context.log('warning', note);
  const isMeasured = (): boolean => request.costs !== 'predicted';
  const table = await completeSweep(context, { method, prepared, metric }, request, isMeasured);
  if (request.out !== undefined) await context.files.writeAtomic(request.out, JSON.stringify(table));
  await forgetPosts(context, request);
  return table;
}

/** The sweep of a target's matrices, as its program needs it. */
export async function completeSweep(
  context: PipelineContext,
  { method, prepared, metric }: Pick<Subject, 'method' | 'prepared'> & { readonly metric: Metric },
  request: LoopRequest & Pick<CompressRequest, 'calibration' | 'samples' | 'context'>,
  measured: IsMeasured,
): Promise<SweepTable> {
  const { opened } = prepared;
  const { calibration } = request;
  const table = await sweepMatrices(context, { ...sweepInput(opened, method, request, metric), measured });
  return prepared.complete(
    context,
    table,
    calibration === undefined
      ? undefined
      : () => calibrationWindows(context, opened.index, { ...request, calibration }, PROBE_WINDOWS),
  );
}

/** Windows that show what an error outside of the blocks costs. */
const PROBE_WINDOWS = 32;

/** One worker's part of the sweep that a `sweep` of the same fields makes. */
export async function sweepShard(
  context: PipelineContext,
  request: SweepShardRequest,
  shard: Shard,
): Promise<ShardReport> {
  const { method, prepared } = await subjectOf(context, request);
  for (const note of method.notes) context.log('warning', note);
  const { label } = prepared.opened.index;
  const posted = await withPost(context, { request, label, worker: formatShard(shard) });
  try {
    const metric = await metricOf(posted.context, prepared.opened, method, request, shard);
    return await sweepPart(posted.context, { method, prepared, metric }, request, shard);
  } finally {
    await posted.close();
  }
}

/** One worker's part of the sweep of a target's matrices. */
export const sweepPart = (
  context: PipelineContext,
  { method, prepared, metric }: Pick<Subject, 'method' | 'prepared'> & { readonly metric: Metric },
  request: LoopRequest,
  shard: Shard,
  measured: IsMeasured = () => true,
): Promise<ShardReport> =>
  sweepMatricesOf(context, { ...sweepInput(prepared.opened, method, request, metric), measured }, shard);

/** What of a request's sweep is still to be measured, see `unmeasured`. */
export const unmeasuredOf = (
  context: PipelineContext,
  { method, prepared }: Pick<Subject, 'method' | 'prepared'>,
  request: LoopRequest,
  metric: Parameters<typeof unmeasured>[2],
): Promise<Unmeasured> =>
  unmeasured(
    context,
    {
      targets: prepared.opened.targets,
      options: method.options,
      tokenOptions: method.tokenOptions,
      loop: loopOf(request),
    },
    metric,
  );

type LoopRequest = Pick<SweepRequest, 'scales' | 'iterations' | 'patience'>;

/** Settings of the LQ iteration that a request leaves unsaid are the usual ones. */
const loopOf = (request: LoopRequest): LqLoop => ({
  scales: request.scales ?? DEFAULTS.scales,
  iterations: request.iterations ?? DEFAULTS.iterations,
  patience: request.patience ?? DEFAULTS.patience,
  oversampling: DEFAULTS.oversampling,
  powerIterations: DEFAULTS.powerIterations,
});

function sweepInput(
  { index, targets, coverage }: Opened,
  { id, options, tokenOptions }: ChosenMethod,
  request: LoopRequest,
  metric: Metric,
): SweepInput {
  return {
    index,
    targets,
    coverage,
    options,
    tokenOptions,
    method: id,
    metric,
    loop: loopOf(request),
  };
}
