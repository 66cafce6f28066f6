/**
 * The pipeline, to be read first: `compress` is every stage in order. Each stage is a file in `stages/` that can be asked for
 * alone. Cheap refusals come before expensive work: paths, targets, budgets and texts are checked before anything runs. What
 * differs between the formats that are written is a target's (export/target.ts).
 */
import { countCosts } from './allocation/lazy';
import type { Plan } from './allocation/types';
import type { CheckpointIndex } from './checkpoint/types';
import type { PipelineContext } from './context';
import type { SecondPass } from './decomposition/second-pass';
import { LqError } from './errors';
import { recordRate } from './estimate';
import { readTextFile } from './evaluation/text';
import type { EvaluateReport } from './evaluation/types';
import type { PreparedTarget, WriteJob, Written } from './export/target';
import { rememberBaseline, rememberMetric } from './known';
import { paceOf, predict, requireFeasible, requireRoom, writingUnits } from './preflight';
import type { ChosenMethod } from './method';
import type { Stage } from './progress';
import type { CompressReport, Measure } from './reports';
import type { CompressRequest, EvaluateRequest } from './requests/requests';
import type { SweepTable } from './sensitivity/types';
import type { Unmeasured } from './sensitivity/sweep';
import { evaluate, evaluateOnce } from './stages/evaluate';
import { plan, type Planner } from './stages/plan';
import { calibrationWindows, metricOf } from './stages/statistics';
import { completeSweep, subjectOf, unmeasuredOf, type Subject } from './stages/sweep';
import { sweepAndPlan } from './stages/sweep-and-plan';
import { findWritten, forgetWritten, rememberWritten } from './stages/written';
import { holdEntry } from './storage/cache';
import { forgetPosts } from './storage/posts';
import { requireWritable } from './storage/output';
import { trackWhole, type Part } from './whole';

/** A plan that uses much of NF2 is warned about: its four levels are coarse and lopsided. */
const NF2_WARNING_SHARE = 0.25;

/** Exactly one of the three ways to weight errors; none given means plain. */
function requireOneWeighting({ calibration, fisher: file, plain }: CompressRequest): void {
  if ([calibration !== undefined, file !== undefined, plain === true].filter(Boolean).length > 1)
    throw new LqError('usage', 'Choose one of calibration text, Fisher file and plain errors.');
}

/**
 * Compresses a checkpoint: Fisher information, sweep, plan, decomposition, output, and perplexity before and after when a
 * text is given. A request that was stopped or whose engine died continues where it was when it is made again.
 */
export async function compress(
  context: PipelineContext,
  request: CompressRequest,
  planner: Planner = wanted => plan(context.files, wanted),
): Promise<CompressReport> {
  // Entries of the cache that it goes back to until its end.
  const held: (() => Promise<void>)[] = [];
  const hold = async (entry: string): Promise<void> => void held.push(await holdEntry(context, entry));
  try {
    return await compressHolding(context, request, planner, hold);
  } finally {
    for (const release of held) await release();
  }
}

/** What has to be known, and refused, before anything is computed. */
export async function prepareCompression(
  asked: PipelineContext,
  request: CompressRequest,
): Promise<Subject & { context: PipelineContext }> {
  requireOneWeighting(request);
  const subject = await subjectOf(asked, request);
  const { method, target, prepared } = subject;
  for (const note of method.notes) asked.log('warning', note);
  if (method.alpha !== undefined && !target.layerOrder)
    throw new LqError('usage', 'What is asked for is not encoded in layer order: leave out --second-pass.');
  const context = await asOneRequest(asked, request, subject);
  if ((await findWritten(context, request)) === undefined) {
    await requirePlace(context, request, prepared);
    requireFeasible(request, prepared);
    await requireRoom(context.files, request, prepared);
  }
  return { ...subject, context };
}

const requirePlace = (context: PipelineContext, request: CompressRequest, { opened }: PreparedTarget): Promise<void> =>
  requireWritable(context, {
    out: request.out,
    source: opened.index.folder,
    overwrite: request.overwrite ?? false,
  });

async function compressHolding(
  asked: PipelineContext,
  request: CompressRequest,
  planner: Planner,
  hold: (entry: string) => Promise<void>,
): Promise<CompressReport> {
  const { context, ...subject } = await prepareCompression(asked, request);
  const { method, prepared } = subject;
  const { opened } = prepared;
  const { index, targets } = opened;

  const seconds: Record<string, number> = {};
  const timed = async <T>(stage: string, work: () => Promise<T>): Promise<T> => {
    const start = context.now();
    try {
      return await work();
    } finally {
      seconds[stage] = (seconds[stage] ?? 0) + (context.now() - start) / 1000;
    }
  };
  const evaluation = (model: string): EvaluateRequest => ({
    model,
    text: request.evalText!,
    ...(request.context !== undefined && { context: request.context }),
    ...(request.windows !== undefined && { windows: request.windows }),
  });
  const measured = request.evalText !== undefined;

  const before = measured
    ? await timed('evaluate', () => evaluateOnce(asStage(context, 'baseline'), index, evaluation(request.model)))
    : undefined;
  const metric = await timed(method.metric === 'kfac' ? 'calibrate' : 'fisher', () =>
    metricOf(context, opened, method, request),
  );
  await rememberMetric(context, opened, method.metric, request, metric);
  if (before) await rememberBaseline(context, index, request, before.tokens);
  const { calibration } = request;
  if (calibration !== undefined && metric.file !== undefined) await hold(metric.file);
  const left = await unmeasuredOf(context, { method, prepared }, request, {
    recipe: metric.recipe,
    hashes: Object.fromEntries(targets.map(({ name }) => [name, metric.of(name).hash])),
  });
  const { table, plan: chosen } = await choosePlan(context, request, { ...subject, metric, timed }, planner);
  if (request.sweepOut !== undefined) await context.files.writeAtomic(request.sweepOut, JSON.stringify(table));
  const costs = countCosts(table);
  // Predicting takes next to no time.
  const encoded = (left.encoded * costs.measured) / (costs.measured + costs.predicted);
  await recordSweep(context, { ...left, encoded }, seconds['sweep'] ?? 0, method.id);
  const secondPass = await secondPassOf(context, index, method, request);
  const job = { table, plan: chosen, metric, ...(secondPass && { secondPass }), timed };
  const result = await writeOnce(context, request, subject, job, seconds);
  const after = measured
    ? await timed('evaluate', () => evaluate(context, { ...evaluation(request.out), reference: request.model }))
    : undefined;
  await forgetWritten(context, request);
  await forgetPosts(context, request);

  const notes = calibration === undefined ? [] : (await readTextFile(context.files, calibration)).notes;
  return {
    ...planReport(chosen, result),
    model: request.model,
    output: request.out,
    recipe: table.recipe,
    costs,
    ...(metric.file !== undefined && { fisher: metric.file }),
    before: { bytes: index.shards.reduce((sum, { bytes }) => sum + bytes, 0), ...measureOf(before) },
    after: { bytes: result.bytes, ...measureOf(after) },
    delivered: result.delivered,
    seconds,
    warnings: [
      ...method.notes,
      ...prepared.notes,
      ...(metric.notes ?? []),
      ...warningsOf(chosen, table),
      ...new Set([...notes, ...(before?.warnings ?? []), ...(after?.warnings ?? [])]),
    ],
  };
}

/** What an encoding in layer order is made on; undefined where it is not asked for. */
export async function secondPassOf(
  context: PipelineContext,
  index: CheckpointIndex,
  { alpha }: ChosenMethod,
  { calibration, ...request }: CompressRequest,
): Promise<SecondPass | undefined> {
  if (alpha === undefined) return undefined;
  const windows = await calibrationWindows(context, index, { ...request, calibration: calibration! });
  return { windows, alpha };
}

/** The plan of a compression and the table it is from, as `sweepAndPlan`. */
export const choosePlan = (
  context: PipelineContext,
  request: CompressRequest,
  {
    method,
    prepared,
    metric,
    timed,
    shared = false,
  }: Pick<Subject, 'method' | 'prepared'> &
    Pick<WriteJob, 'metric'> & {
      readonly shared?: boolean;
      readonly timed: <T>(stage: string, work: () => Promise<T>) => Promise<T>;
    },
  planner: Planner,
): Promise<{ table: SweepTable; plan: Plan }> =>
  sweepAndPlan(context, {
    wanted: {
      budget: request.budget,
      ...(request.factors !== undefined && { factors: request.factors }),
      ...(request.overrides !== undefined && { overrides: request.overrides }),
    },
    costs: request.costs ?? 'predicted',
    method,
    sweep: (each, isMeasured) =>
      timed('sweep', () => completeSweep(each, { method, prepared, metric }, request, isMeasured)),
    solve: wanted => timed('plan', () => planner(wanted)),
    shared,
  });

/** Carries the plan out, unless a run of the same request did before and died while its output was evaluated. */
async function writeOnce(
  context: PipelineContext,
  request: CompressRequest,
  { method, target, prepared }: Subject,
  job: Omit<WriteJob, 'out' | 'overwrite'>,
  seconds: Readonly<Record<string, number>>,
): Promise<Written> {
  const carriedOut = context.digest(JSON.stringify([job.plan, job.table.recipe, method.alpha]));
  const known = await findWritten(context, request);
  if (known?.plan === carriedOut) return known.result;
  if (known !== undefined) await requirePlace(context, request, prepared);
  const result = await prepared.write(context, { ...job, out: request.out, overwrite: request.overwrite ?? false });
  if (request.evalText !== undefined) await rememberWritten(context, request, carriedOut, result);
  const writing = await writingUnits(context, request, prepared, method);
  const written = target.stages.reduce((sum, stage) => sum + (seconds[stage] ?? 0), 0);
  await recordRate(context, writing.work, writing.units, written, paceOf(method));
  return result;
}

/** Remembers the pace of what took the sweep's time: one kind of option is most of it. */
async function recordSweep(
  context: PipelineContext,
  { looped, quantized, encoded }: Unmeasured,
  seconds: number,
  method: string,
): Promise<void> {
  if (looped > 0) await recordRate(context, 'sweep', looped, seconds);
  else if (encoded > 0) await recordRate(context, 'encode', encoded, seconds, method);
  else await recordRate(context, 'quantize', quantized, seconds);
}

/** A plan with the errors of what was written. */
function planReport({ matrices, seconds: _, ...totals }: Plan, result: Written) {
  const errors = new Map(result.matrices.map(matrix => [matrix.name, matrix]));
  return {
    ...totals,
    matrices: matrices.map(({ choice: _index, predicted: _predicted, rate: _rate, ...row }) => ({
      ...row,
      ...errors.get(row.name)!,
    })),
  };
}

/** The context of a compression, whose progress tells how far the whole of it is. */
async function asOneRequest(
  context: PipelineContext,
  request: CompressRequest,
  { method, target, prepared }: Subject,
): Promise<PipelineContext> {
  const { seconds } = await predict(context, request, prepared, method);
  const evaluated = request.evalText !== undefined;
  const parts: Part[] = [
    ...(evaluated ? [{ stage: 'baseline', seconds: seconds.baseline } as const] : []),
    ...(request.calibration !== undefined && method.metric !== 'plain'
      ? [{ stage: method.metric === 'kfac' ? 'calibrate' : 'fisher', seconds: seconds.fisher } as const]
      : []),
    { stage: 'sweep', seconds: seconds.sweep },
    ...target.stages.map(stage => ({ stage, seconds: seconds.decompose })),
    ...(evaluated ? [{ stage: 'evaluate', seconds: seconds.evaluate } as const] : []),
  ];
  const track = trackWhole(parts, context.now);
  return { ...context, report: progress => context.report(track(progress)) };
}

/** The same work under another name, where a request does it twice. */
const asStage = (context: PipelineContext, stage: Stage): PipelineContext => ({
  ...context,
  report: progress => context.report({ ...progress, stage }),
});

const measureOf = (report: EvaluateReport | undefined): Omit<Measure, 'bytes'> => {
  if (report === undefined) return {};
  const { perplexity, tokens, windows, precision, reference } = report;
  return {
    perplexity,
    tokens,
    windows,
    precision,
    ...(reference !== undefined && { kl: reference.kl, sameTop: reference.sameTop }),
  };
};

function warningsOf(chosen: Plan, table: SweepTable): string[] {
  const size = new Map(table.matrices.map(({ name, rows, cols }) => [name, rows * cols]));
  let total = 0;
  let coarse = 0;
  for (const { name, option } of chosen.matrices) {
    total += size.get(name)!;
    if (option.grid.kind === 'nf' && option.grid.bits === 2) coarse += size.get(name)!;
  }
  if (coarse <= total * NF2_WARNING_SHARE) return [];
  const share = Math.round((100 * coarse) / total);
  return [
    `${share} % of the target weights are stored with NF2, whose four levels are coarse: expect a loss of quality.`,
  ];
}
