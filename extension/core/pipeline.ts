/**
 * The pipeline, to be read first. Every request that computes is one function here, and `compress` is all of them in order.
 * Cheap refusals come before expensive work: paths, targets, budgets and texts are checked before anything runs.
 */
import type { CompressReport, ExportReport, Measure } from './reports';
import type {
  CalibrateRequest,
  CompressRequest,
  EvaluateRequest,
  ExportRequest,
  FisherRequest,
  PlanRequest,
  SweepRequest,
  SweepShardRequest,
  FrontierRequest,
} from './requests/requests';
import type { Stage } from './progress';
import type { EvaluateReport } from './evaluation/types';
import type { CalibrationReport, CalibrationSource, FisherReport, ShardReport, SweepTable } from './sensitivity/types';
import type { Shard } from './shards';
import { planBudget, prepare } from './allocation/plan';
import { perplexityPredictor } from './allocation/predict';
import type { FrontierReport, Plan } from './allocation/types';
import { cachedFileOnce, cachedOnce, cachePath, holdEntry, makeRoom, markUsed, waitReporter } from './storage/cache';
import { once } from './storage/claims';
import { copyWhole } from './storage/copy';
import { logicalTensors } from './logical/logical';
import { withoutTargets } from './logical/targets';
import type { CheckpointIndex } from './checkpoint/types';
import type { FileSystem } from './files/types';
import { backendOf, type PipelineContext } from './context';
import { decompose } from './decomposition/decompose';
import type { SecondPass } from './decomposition/second-pass';
import { LqError } from './errors';
import { recordRate } from './estimate';
import { evaluateCheckpoint } from './evaluation/checkpoint';
import { readTextFile } from './evaluation/text';
import { TextTokenizer } from './evaluation/tokenizer';
import { findExporter } from './export/exporters';
import { floatType } from './export/gguf/exporter';
import { ggufModel } from './export/gguf/layout';
import { withOuterMatrices } from './export/gguf/outer';
import { fittingTargets, withFileBytes, writeGgufPlan } from './export/gguf/plan';
import { describeModel } from './evaluation/language-model';
import { readWindows, type Windows } from './evaluation/windows';
import { requireWritable } from './storage/output';
import { predict, requireFeasible, requireRoom } from './preflight';
import { chooseMethod, type ChosenMethod, type Statistics } from './method';
import { isPaperOption } from './options/config';
import { DEFAULTS } from './requests/defaults';
import { open, openComplete, type Opened } from './opened';
import { computeCalibration, openCalibration } from './sensitivity/calibration';
import { computeFisher, modelHash, openFisher } from './sensitivity/fisher';
import { sweep as sweepMatrices, sweepShard as sweepPart, type SweepInput } from './sensitivity/sweep';
import { readSweep } from './sensitivity/sweep-file';
import { fisherMetric, kfacMetric, plainMetric, type Metric } from './sensitivity/metric';
import { trackWhole, type Part } from './whole';

/** A plan that uses much of NF2 is warned about: its four levels are coarse and lopsided. */
const NF2_WARNING_SHARE = 0.25;
/** Raised when a model, text or tokenizer is read in another way, so that older figures are not reused. */
const EVALUATION_VERSION = 2;

// --- Fisher information -------------------------------------------------------------------------------------------------

export async function fisher(context: PipelineContext, request: FisherRequest): Promise<FisherReport> {
  const { file, report } = await fisherOnce(context, await open(context.files, request), request);
  await copyWhole(context, file, request.out);
  return { ...report, out: request.out };
}

/** Fisher information of a calibration text, computed once and found again by the content of model and text. */
async function fisherOnce(
  context: PipelineContext,
  { index, targets }: Opened,
  request: Pick<FisherRequest, 'calibration' | 'samples' | 'context'>,
): Promise<{ file: string; report: FisherReport }> {
  const model = await modelHash(context, logicalTensors(index));
  const samples = request.samples ?? DEFAULTS.samples;
  const contextLength = request.context ?? DEFAULTS.context;
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const key = {
    version: EVALUATION_VERSION,
    model,
    config: index.config,
    tokenizer: context.digest(tokenizer.source),
    targets: targets.map(target => target.name),
    text: context.digest((await readTextFile(context.files, request.calibration)).text),
    samples,
    context: contextLength,
    backend: backendOf(context),
  };
  const { calibration } = request;
  const { file, value } = await cachedFileOnce<FisherReport>(context, 'fisher', key, {
    extension: '.safetensors',
    async make(out, claim) {
      const onProgress = (done: number): void => claim.progress({ done, total: samples });
      const input = { index, targets, calibration, samples, contextLength, model, out, onProgress };
      const report = await computeFisher(context, input);
      await recordRate(context, 'fisher', index.parameters * samples * contextLength, report.seconds);
      return report;
    },
    onWait: waitReporter(context, 'fisher', index.label),
  });
  return { file, report: { ...value, out: file } };
}

// --- Calibration statistics ---------------------------------------------------------------------------------------------

export async function calibrate(context: PipelineContext, request: CalibrateRequest): Promise<CalibrationReport> {
  return runCalibration(context, await open(context.files, request), request, request.out);
}

async function runCalibration(
  context: PipelineContext,
  { index, targets }: Opened,
  request: Pick<CalibrateRequest, 'calibration' | 'samples' | 'context' | 'fisher'>,
  out: string,
): Promise<CalibrationReport> {
  const samples = request.samples ?? DEFAULTS.samples;
  const contextLength = request.context ?? DEFAULTS.context;
  const report = await computeCalibration(context, {
    index,
    targets,
    calibration: request.calibration,
    samples,
    contextLength,
    model: await modelHash(context, logicalTensors(index)),
    fisher: request.fisher ?? false,
    out,
  });
  await recordRate(context, 'calibrate', index.parameters * samples * contextLength, report.seconds);
  return report;
}

/** The statistics of a calibration text, computed once and found again by the content of model and text. */
export async function cachedCalibration(
  context: PipelineContext,
  opened: Opened,
  request: Pick<CalibrateRequest, 'calibration' | 'samples' | 'context' | 'fisher'>,
): Promise<CalibrationSource> {
  const { index, targets } = opened;
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const key = {
    version: EVALUATION_VERSION,
    model: await modelHash(context, logicalTensors(index)),
    config: index.config,
    tokenizer: context.digest(tokenizer.source),
    targets: targets.map(target => target.name),
    text: context.digest((await readTextFile(context.files, request.calibration)).text),
    samples: request.samples ?? DEFAULTS.samples,
    context: request.context ?? DEFAULTS.context,
    fisher: request.fisher ?? false,
    backend: backendOf(context),
  };
  const file = cachePath(context, 'calibration', key, '.safetensors');
  await makeRoom(context, file);
  await once<true>(context, file, {
    find: async () => (await markUsed(context, file)) || undefined,
    async make() {
      await runCalibration(context, opened, request, file);
      return true;
    },
    onWait: waitReporter(context, 'calibrate', index.label),
  });
  return openCalibration(context, file, targets);
}

// --- Sweep and plan -----------------------------------------------------------------------------------------------------

export async function sweep(context: PipelineContext, request: SweepRequest): Promise<SweepTable> {
  const chosen = await chooseMethod(context.files, request);
  for (const note of chosen.notes) context.log('warning', note);
  const opened = await open(context.files, request, chosen.options);
  const table = await runSweep(context, opened, chosen, request, await metricOf(context, opened, chosen, request));
  if (request.out !== undefined) await context.files.writeAtomic(request.out, JSON.stringify(table));
  return table;
}

/** One worker's part of the sweep that a compression or a `sweep` of the same fields makes. */
export async function sweepShard(
  context: PipelineContext,
  request: SweepShardRequest,
  shard: Shard,
): Promise<ShardReport> {
  const method = request.for === 'gguf' ? (request.method ?? 'gguf') : request.method;
  const chosen = await chooseMethod(context.files, { ...request, ...(method !== undefined && { method }) });
  const found = await open(context.files, request, request.for === 'gguf' ? [] : chosen.options);
  const opened = request.for === 'gguf' ? openedForGguf(found).opened : found;
  for (const note of chosen.notes) context.log('warning', note);
  const metric = await metricOf(context, opened, chosen, request);
  const cached = request.calibration === undefined ? undefined : metric.file;
  const release = cached === undefined ? undefined : await holdEntry(context, cached);
  try {
    return await sweepPart(context, sweepInput(opened, chosen, request, metric), shard);
  } finally {
    await release?.();
  }
}

async function runSweep(
  context: PipelineContext,
  opened: Opened,
  chosen: ChosenMethod,
  request: Pick<SweepRequest, 'scales' | 'iterations' | 'patience'>,
  metric: Metric,
): Promise<SweepTable> {
  return sweepMatrices(context, sweepInput(opened, chosen, request, metric));
}

function sweepInput(
  { index, targets, coverage }: Opened,
  { id, options }: ChosenMethod,
  request: Pick<SweepRequest, 'scales' | 'iterations' | 'patience'>,
  metric: Metric,
): SweepInput {
  return {
    index,
    targets,
    coverage,
    options,
    method: id,
    metric,
    loop: {
      scales: request.scales ?? DEFAULTS.scales,
      iterations: request.iterations ?? DEFAULTS.iterations,
      patience: request.patience ?? DEFAULTS.patience,
      oversampling: DEFAULTS.oversampling,
      powerIterations: DEFAULTS.powerIterations,
    },
  };
}

/** What is planned for, from a table's file or the table itself. */
export type PlanInput = Omit<PlanRequest, 'sweep'> & { sweep: string | SweepTable };

/** Solves plans: `plan` itself, or a thread that calls it. */
export type Planner = (request: PlanInput) => Promise<Plan>;

/** Plans from a sweep file or table; the exported size counts the tensors that stay as they are. */
export async function plan(files: FileSystem, request: PlanInput): Promise<Plan> {
  const { table, kept, factors } = await tableOf(files, request);
  const predict = request.measured && perplexityPredictor(request.measured);
  const found = planBudget(table, kept, {
    budget: request.budget,
    factors,
    ...(request.overrides !== undefined && { overrides: request.overrides }),
    ...(request.quick !== undefined && { quick: request.quick }),
  });
  return {
    ...found,
    ...(table.coverage !== undefined && { coverage: table.coverage }),
    ...(predict !== undefined && { predicted: predict(found.objective) }),
  };
}

/**
 * A compression's plan, solved once: a solver that runs against the clock may choose differently another time, and a
 * resumed run must continue with the plan it began with.
 */
async function planOnce(
  context: PipelineContext,
  request: PlanInput & { sweep: SweepTable },
  planner: Planner,
): Promise<Plan> {
  const { sweep: table, ...wanted } = request;
  const matrices = table.matrices.map(({ name, hash }) => [name, hash]);
  const key = {
    backend: backendOf(context),
    matrices,
    recipe: table.recipe,
    options: table.options,
    keptBytes: table.model.keptBytes,
    coverage: table.coverage,
    wanted,
  };
  const solved = await cachedOnce<Plan>(context, 'plan', key, {
    make: () => planner(request),
    onWait: waitReporter(context, 'plan', table.model.label),
  });
  return solved!;
}

/** The curve of error against size that a budget moves along. */
export async function frontier(files: FileSystem, request: FrontierRequest): Promise<FrontierReport> {
  const { table, kept, factors } = await tableOf(files, request);
  const prepared = prepare(table, kept, factors, request.overrides);
  const predict = request.measured && perplexityPredictor(request.measured);
  const points = prepared
    .frontier(request.kind, request.count)
    .map(point => (predict === undefined ? point : { ...point, predicted: predict(point.objective) }));
  return { points, range: prepared.range(request.kind) };
}

async function tableOf(
  files: FileSystem,
  { sweep: source, factors = DEFAULTS.factors }: Pick<PlanInput, 'sweep' | 'factors'>,
): Promise<{ table: SweepTable; kept: { bytes: number }; factors: Plan['factors'] }> {
  const table = typeof source === 'string' ? await readSweep(files, source) : source;
  return { table, kept: { bytes: table.model.keptBytes }, factors };
}

// --- Perplexity and export ----------------------------------------------------------------------------------------------

export async function evaluate(context: PipelineContext, request: EvaluateRequest): Promise<EvaluateReport> {
  const index = await openComplete(context.files, request.model);
  const reference = request.reference === undefined ? undefined : await openComplete(context.files, request.reference);
  const options = {
    context: request.context ?? DEFAULTS.context,
    ...(request.windows !== undefined && { windows: request.windows }),
    ...(request.bos !== undefined && { bos: request.bos }),
  };
  const report = await evaluateCheckpoint(context, index, request.text, options, reference);
  const parameters = index.parameters + (reference?.parameters ?? 0);
  await recordRate(context, 'evaluate', parameters * report.tokens, report.seconds);
  return report;
}

/** The perplexity of a checkpoint that many compressions start from, measured once. */
async function evaluateOnce(
  context: PipelineContext,
  index: CheckpointIndex,
  request: EvaluateRequest,
): Promise<EvaluateReport> {
  const { text, notes } = await readTextFile(context.files, request.text);
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const key = {
    version: EVALUATION_VERSION,
    model: await modelHash(context, logicalTensors(index)),
    config: index.config,
    tokenizer: context.digest(tokenizer.source),
    bos: tokenizer.bos,
    text: context.digest(text),
    notes,
    window: [request.context ?? DEFAULTS.context, request.windows, request.bos],
    backend: backendOf(context),
  };
  const report = await cachedOnce<EvaluateReport>(context, 'evaluation', key, {
    make: () => evaluate(context, request),
    onWait: waitReporter(context, 'evaluate', index.label),
  });
  return { ...report!, model: request.model, text: request.text };
}

export async function exportCheckpoint(context: PipelineContext, request: ExportRequest): Promise<ExportReport> {
  const exporter = findExporter(request.format);
  const start = context.now();
  const index = await openComplete(context.files, request.model);
  const result = await exporter.run({
    pipeline: context,
    index,
    out: request.out,
    overwrite: request.overwrite ?? false,
  });
  return { ...result, seconds: (context.now() - start) / 1000 };
}

// --- All of it ----------------------------------------------------------------------------------------------------------

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

/** What of a checkpoint the blocks of GGUF fit, and the coverage of that. */
function openedForGguf(found: Opened): { opened: Opened; left: string[] } {
  const { opened, left } = fittingTargets(found);
  const kept = new Set(opened.targets);
  const dropped = found.targets
    .filter(target => !kept.has(target))
    .map(target => ({ target, reason: 'no block of GGUF divides its columns' }));
  return { opened: { ...opened, coverage: withoutTargets(found.coverage, dropped) }, left };
}

/** What has to be known, and refused, before anything is computed. */
async function prepareCompression(asked: PipelineContext, request: CompressRequest) {
  requireOneWeighting(request);
  const methodical = request.for === 'gguf' ? { ...request, method: request.method ?? 'gguf' } : request;
  const method = await chooseMethod(asked.files, methodical);
  for (const note of method.notes) asked.log('warning', note);
  const found = await open(asked.files, request, request.for === 'gguf' ? [] : method.options);
  const { opened, left } = request.for === 'gguf' ? openedForGguf(found) : { opened: found, left: [] };
  const context = await asOneRequest(asked, methodical, opened, method);
  const { index } = opened;
  await requireWritable(context, { out: request.out, source: index.folder, overwrite: request.overwrite ?? false });
  // The options of a consumer's format, and its sizes, are known once its file is laid out.
  const gguf = request.for === 'gguf' ? await ggufModel(context.files, index) : undefined;
  if (gguf && request.format !== undefined) throw new LqError('usage', 'A GGUF file has no other format.');
  if (!gguf) {
    requireFeasible(request, opened);
    await requireRoom(context.files, request, opened);
  }
  return { opened, context, method, methodical, gguf, left };
}

async function compressHolding(
  asked: PipelineContext,
  request: CompressRequest,
  planner: Planner,
  hold: (entry: string) => Promise<void>,
): Promise<CompressReport> {
  const { opened, context, method, methodical, gguf, left } = await prepareCompression(asked, request);
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
  if (request.calibration !== undefined && metric.file !== undefined) await hold(metric.file);
  const table = await timed('sweep', async () => {
    const swept = await runSweep(context, opened, method, methodical, metric);
    if (!gguf) return swept;
    const outer = await withOuterMatrices(context, gguf, swept, await probeWindows(context, index, request));
    return withFileBytes(gguf, outer, floatType(index));
  });
  if (request.sweepOut !== undefined) await context.files.writeAtomic(request.sweepOut, JSON.stringify(table));
  const weights = targets.reduce((sum, target) => sum + target.parameters, 0);
  const encodes = method.metric === 'kfac' || !method.options.every(isPaperOption);
  await recordRate(context, encodes ? 'encode' : 'sweep', weights * table.options.length, seconds['sweep'] ?? 0);
  const chosen = await timed('plan', () =>
    planOnce(
      context,
      {
        sweep: table,
        budget: request.budget,
        ...(request.factors !== undefined && { factors: request.factors }),
        ...(request.overrides !== undefined && { overrides: request.overrides }),
      },
      planner,
    ),
  );
  const dense = request.format === 'dense';
  const { out, calibration, samples, context: length } = request;
  const packed = dense
    ? cachePath(context, 'packed', [out, chosen, table.recipe, method.alpha, calibration, samples, length], '')
    : out;
  if (dense) {
    await makeRoom(context, packed);
    await hold(packed);
  }
  const pass = method.alpha === undefined ? undefined : await passOf(context, opened, method.alpha, request);
  const result: Written = await timed('decompose', () => {
    const overwrite = !dense && (request.overwrite ?? false);
    if (gguf)
      return writeGgufPlan(context, {
        ...{ model: gguf, table, plan: chosen, metric, other: floatType(index) },
        ...{ out, overwrite },
      });
    return decompose(context, {
      index,
      table,
      plan: chosen,
      metric,
      ...(pass !== undefined && { secondPass: pass }),
      out: packed,
      overwrite,
    });
  });
  if (!encodes) await recordRate(context, 'decompose', weights, seconds['decompose'] ?? 0);
  if (dense) {
    await timed('export', () =>
      exportCheckpoint(context, {
        model: packed,
        format: 'dense',
        out: request.out,
        overwrite: request.overwrite ?? false,
      }),
    );
    await context.files.remove(packed);
  }
  const after = measured
    ? await timed('evaluate', () => evaluate(context, { ...evaluation(request.out), reference: request.model }))
    : undefined;

  const notes = request.calibration === undefined ? [] : (await readTextFile(context.files, request.calibration)).notes;
  return {
    ...planReport(chosen, result),
    model: request.model,
    output: request.out,
    recipe: table.recipe,
    ...(metric.file !== undefined && { fisher: metric.file }),
    before: { bytes: index.bytes, ...measureOf(before) },
    after: { bytes: dense ? index.bytes : result.bytes, ...measureOf(after) },
    seconds,
    warnings: [
      ...method.notes,
      ...left,
      ...warningsOf(chosen, table),
      ...new Set([...notes, ...(before?.warnings ?? []), ...(after?.warnings ?? [])]),
    ],
  };
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
  opened: Opened,
  { metric }: ChosenMethod,
): Promise<PipelineContext> {
  const { seconds } = await predict(context, request, opened);
  const evaluated = request.evalText !== undefined;
  const parts: Part[] = [
    ...(evaluated ? [{ stage: 'baseline', seconds: seconds.baseline } as const] : []),
    ...(request.calibration !== undefined && metric !== 'plain'
      ? [{ stage: metric === 'kfac' ? 'calibrate' : 'fisher', seconds: seconds.fisher } as const]
      : []),
    { stage: 'sweep', seconds: seconds.sweep },
    { stage: 'decompose', seconds: seconds.decompose },
    ...(request.format === 'dense' ? [{ stage: 'export', seconds: seconds.decompose } as const] : []),
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

/** What carrying a plan out gives, packed or not. */
interface Written {
  readonly bytes: number;
  readonly matrices: readonly { name: string; errorQuantized?: number; errorLq: number; errorStored: number }[];
}

/** Windows of the calibration text that show what an error of the embedding costs. */
async function probeWindows(
  context: PipelineContext,
  index: CheckpointIndex,
  request: CompressRequest,
): Promise<Windows | undefined> {
  if (request.calibration === undefined) return undefined;
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const vocab = describeModel(index).config.vocab;
  const length = request.context ?? DEFAULTS.context;
  const windows = Math.min(request.samples ?? DEFAULTS.samples, 32);
  return readWindows(
    context.files,
    tokenizer,
    vocab,
    request.calibration,
    { context: length, windows },
    context.signal,
  );
}

const measureOf = (report: EvaluateReport | undefined): Omit<Measure, 'bytes'> => {
  if (report === undefined) return {};
  const { perplexity, tokens, windows, reference } = report;
  return {
    perplexity,
    tokens,
    windows,
    ...(reference !== undefined && { kl: reference.kl, sameTop: reference.sameTop }),
  };
};

/** The metric that was chosen, its statistics opened or computed. */
async function metricOf(
  context: PipelineContext,
  opened: Opened,
  { metric }: ChosenMethod,
  request: Statistics & Pick<CompressRequest, 'samples' | 'context'>,
): Promise<Metric> {
  const { calibration, fisher: file } = request;
  switch (metric) {
    case 'plain':
      return plainMetric;
    case 'fisher':
      return fisherMetric(
        calibration === undefined
          ? await openFisher(context, file!, opened.targets)
          : await openFisher(
              context,
              (await fisherOnce(context, opened, { ...request, calibration })).file,
              opened.targets,
            ),
      );
    case 'kfac':
      return kfacMetric(
        calibration === undefined
          ? await openCalibration(context, file!, opened.targets)
          : await cachedCalibration(context, opened, {
              calibration,
              ...(request.samples !== undefined && { samples: request.samples }),
              ...(request.context !== undefined && { context: request.context }),
            }),
      );
  }
}

/** The tokens that the second pass works on: those of the statistics. */
async function passOf(
  context: PipelineContext,
  { index }: Opened,
  alpha: number,
  request: Pick<CompressRequest, 'calibration' | 'samples' | 'context'>,
): Promise<SecondPass> {
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const windows = await readWindows(
    context.files,
    tokenizer,
    describeModel(index).config.vocab,
    request.calibration!,
    { context: request.context ?? DEFAULTS.context, windows: request.samples ?? DEFAULTS.samples },
    context.signal,
  );
  return { windows, alpha };
}

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
