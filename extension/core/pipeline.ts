/**
 * The pipeline, to be read first. Every request that computes is one function here, and `compress` is all of them in order.
 * Cheap refusals come before expensive work: paths, targets, budgets and texts are checked before anything runs.
 */
import type {
  CompressReport,
  CompressRequest,
  EngineMethods,
  EstimateReport,
  EvaluateReport,
  EvaluateRequest,
  ExportReport,
  ExportRequest,
  FisherReport,
  FisherRequest,
  PlanRequest,
  SweepRequest,
} from '../protocol/engine';
import { planBudget, prepare } from './allocation/plan';
import type { Plan } from './allocation/types';
import { cachePath, readCached, writeCached } from './cache';
import { logicalTensors } from './checkpoint/logical';
import { openCheckpoint } from './checkpoint/open';
import { folderOf, joinPath } from './checkpoint/paths';
import { selectTargets } from './checkpoint/targets';
import type { CheckpointIndex, FileSystem, LogicalTensor, WritableFileSystem } from './checkpoint/types';
import type { PipelineContext } from './context';
import { decompose } from './decomposition/decompose';
import { LqError } from './errors';
import { feasibleRange, peakMemory, predictSeconds, recordRate } from './estimate';
import { evaluateCheckpoint } from './evaluation/checkpoint';
import { findExporter } from './export/exporters';
import { requireWritable } from './export/output';
import { computeFisher, modelHash, openFisher } from './sensitivity/fisher';
import { gridOptions, paperGrid } from './sensitivity/option';
import { sweep as sweepMatrices } from './sensitivity/sweep';
import { readSweep } from './sensitivity/sweep-file';
import type { FisherSource, Option, SweepRecipe, SweepTable } from './sensitivity/types';

/** The paper's and the reference code's constants, where a request says nothing. */
export const DEFAULTS = {
  rank: 16,
  samples: 64,
  context: 512,
  iterations: 100,
  patience: 1,
  oversampling: 10,
  powerIterations: 2,
  scales: 'sqrt-of-means',
  factors: 'nf8',
} as const;

/** A plan that uses much of NF2 is warned about: its four levels are coarse and lopsided. */
const NF2_WARNING_SHARE = 0.25;

interface Opened {
  index: CheckpointIndex;
  targets: LogicalTensor[];
}

/** Opens a checkpoint for work: complete, and with something to compress. */
async function open(
  files: FileSystem,
  request: { model: string; include?: readonly string[]; exclude?: readonly string[] },
): Promise<Opened> {
  const index = await openComplete(files, request.model);
  return { index, targets: selectTargets(logicalTensors(index), request.include, request.exclude) };
}

/** Opens a checkpoint and refuses one with faults that inspection would only show. */
async function openComplete(files: FileSystem, path: string): Promise<CheckpointIndex> {
  const index = await openCheckpoint(files, path);
  const fault = index.problems.find(problem => problem.severity === 'error');
  if (fault === undefined) return index;
  const code = fault.code === 'shard-missing' ? 'shard-missing' : 'shard-disagrees';
  throw new LqError(code, fault.message, {
    file: fault.file ?? index.path,
    ...(fault.tensor !== undefined && { tensor: fault.tensor }),
  });
}

// --- Fisher information -------------------------------------------------------------------------------------------------

export async function fisher(context: PipelineContext, request: FisherRequest): Promise<FisherReport> {
  const { index, targets } = await open(context.files, request);
  return runFisher(context, index, targets, request, request.out);
}

async function runFisher(
  context: PipelineContext,
  index: CheckpointIndex,
  targets: readonly LogicalTensor[],
  request: Pick<FisherRequest, 'calibration' | 'samples' | 'context'>,
  out: string,
): Promise<FisherReport> {
  const samples = request.samples ?? DEFAULTS.samples;
  const contextLength = request.context ?? DEFAULTS.context;
  const report = await computeFisher(context, {
    index,
    targets,
    calibration: request.calibration,
    samples,
    contextLength,
    model: await modelHash(context, logicalTensors(index)),
    out,
  });
  await recordRate(context, 'fisher', index.parameters * samples * contextLength, report.seconds);
  return report;
}

/** The Fisher file of a calibration text, computed once and found again by the content of model and text. */
async function cachedFisher(
  context: PipelineContext,
  { index, targets }: Opened,
  request: Pick<CompressRequest, 'samples' | 'context'> & { calibration: string },
): Promise<FisherSource> {
  const key = {
    model: await modelHash(context, logicalTensors(index)),
    targets: targets.map(target => target.name),
    text: context.digest(await context.files.readText(request.calibration)),
    samples: request.samples ?? DEFAULTS.samples,
    context: request.context ?? DEFAULTS.context,
    device: context.device === 'cpu' ? 'cpu' : 'cuda',
  };
  const file = cachePath(context, 'fisher', key, 'safetensors');
  if ((await context.files.stat(file)) === undefined) {
    await context.files.makeFolder(folderOf(file));
    await runFisher(context, index, targets, request, file);
  }
  return openFisher(context, file, targets);
}

// --- Sweep and plan -----------------------------------------------------------------------------------------------------

export async function sweep(context: PipelineContext, request: SweepRequest): Promise<SweepTable> {
  const opened = await open(context.files, request);
  const fisherSource =
    request.fisher === undefined ? undefined : await openFisher(context, request.fisher, opened.targets);
  const table = await runSweep(context, opened, request, fisherSource);
  if (request.out !== undefined) await context.files.writeAtomic(request.out, JSON.stringify(table));
  return table;
}

async function runSweep(
  context: PipelineContext,
  { index, targets }: Opened,
  request: Pick<SweepRequest, 'grid' | 'scales' | 'iterations'> & { rank?: number },
  fisherSource: FisherSource | undefined,
): Promise<SweepTable> {
  const options = optionsOf(request);
  const recipe: SweepRecipe = {
    method: 'lq',
    weighting: fisherSource === undefined ? 'plain' : 'fisher',
    scales: request.scales ?? DEFAULTS.scales,
    ...(fisherSource !== undefined && { fisher: fisherSource.hash }),
    rank: request.rank ?? DEFAULTS.rank,
    iterations: request.iterations ?? DEFAULTS.iterations,
    patience: DEFAULTS.patience,
    oversampling: DEFAULTS.oversampling,
    powerIterations: DEFAULTS.powerIterations,
    seed: context.seed,
  };
  const input = { index, targets, options, recipe };
  return sweepMatrices(context, fisherSource === undefined ? input : { ...input, fisher: fisherSource });
}

const optionsOf = (request: Pick<SweepRequest, 'grid'> & { rank?: number }): Option[] =>
  gridOptions(request.grid ?? paperGrid(), request.rank ?? DEFAULTS.rank);

/** Plans from a sweep file or table; the exported size counts the tensors that stay as they are. */
export async function plan(files: FileSystem, request: PlanRequest): Promise<Plan> {
  const { table, kept, factors } = await tableOf(files, request);
  return planBudget(table, kept, {
    budget: request.budget,
    factors,
    ...(request.overrides !== undefined && { overrides: request.overrides }),
    ...(request.quick !== undefined && { quick: request.quick }),
  });
}

/** The curve of error against size that a budget moves along. */
export async function frontier(
  files: FileSystem,
  request: EngineMethods['frontier'][0],
): Promise<EngineMethods['frontier'][1]> {
  const { table, kept, factors } = await tableOf(files, request);
  const prepared = prepare(table, kept, factors, request.overrides);
  return { points: prepared.frontier(request.kind, request.count), range: prepared.range(request.kind) };
}

async function tableOf(
  files: FileSystem,
  { sweep: source, factors = DEFAULTS.factors }: Pick<PlanRequest, 'sweep' | 'factors'>,
): Promise<{ table: SweepTable; kept: { bytes: number }; factors: Plan['factors'] }> {
  const table = typeof source === 'string' ? await readSweep(files, source) : source;
  return { table, kept: { bytes: table.model.keptBytes }, factors };
}

// --- Perplexity and export ----------------------------------------------------------------------------------------------

export async function evaluate(context: PipelineContext, request: EvaluateRequest): Promise<EvaluateReport> {
  const index = await openComplete(context.files, request.model);
  const report = await evaluateCheckpoint(context, index, request.text, {
    context: request.context ?? DEFAULTS.context,
    ...(request.windows !== undefined && { windows: request.windows }),
    ...(request.bos !== undefined && { bos: request.bos }),
  });
  await recordRate(context, 'evaluate', index.parameters * report.tokens, report.seconds);
  return report;
}

/** The perplexity of a checkpoint that many compressions start from, measured once. */
async function evaluateOnce(
  context: PipelineContext,
  index: CheckpointIndex,
  request: EvaluateRequest,
): Promise<EvaluateReport> {
  const key = {
    model: await modelHash(context, logicalTensors(index)),
    config: index.config,
    text: context.digest(await context.files.readText(request.text)),
    window: [request.context ?? DEFAULTS.context, request.windows, request.bos],
    device: context.device === 'cpu' ? 'cpu' : 'cuda',
  };
  const known = await readCached<EvaluateReport>(context, 'evaluation', key);
  if (known !== undefined) return known;
  const report = await evaluate(context, request);
  await writeCached(context, 'evaluation', key, report);
  return report;
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
export async function compress(context: PipelineContext, request: CompressRequest): Promise<CompressReport> {
  requireOneWeighting(request);
  const opened = await open(context.files, request);
  const { index, targets } = opened;
  await requireWritable(context, { out: request.out, source: index.folder, overwrite: request.overwrite ?? false });
  requireFeasible(request, index, targets);
  await requireRoom(context.files, request, opened);

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
    ? await timed('evaluate', () => evaluateOnce(context, index, evaluation(request.model)))
    : undefined;
  const fisherSource = await timed('fisher', () => fisherFor(context, opened, request));
  const table = await timed('sweep', () => runSweep(context, opened, request, fisherSource));
  if (request.sweepOut !== undefined) await context.files.writeAtomic(request.sweepOut, JSON.stringify(table));
  const weights = targets.reduce((sum, target) => sum + target.parameters, 0);
  await recordRate(context, 'sweep', weights * table.options.length, seconds['sweep'] ?? 0);
  const chosen = await timed('plan', () =>
    plan(context.files, {
      sweep: table,
      budget: request.budget,
      ...(request.factors !== undefined && { factors: request.factors }),
      ...(request.overrides !== undefined && { overrides: request.overrides }),
    }),
  );
  const dense = request.format === 'dense';
  const packed = dense ? joinPath(joinPath(context.cache, 'packed'), context.digest(request.out)) : request.out;
  if (dense) await context.files.makeFolder(folderOf(packed));
  const result = await timed('decompose', () =>
    decompose(context, {
      index,
      table,
      plan: chosen,
      out: packed,
      overwrite: dense || (request.overwrite ?? false),
      ...(fisherSource !== undefined && { fisher: fisherSource }),
    }),
  );
  await recordRate(context, 'decompose', weights, seconds['decompose'] ?? 0);
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
  const after = measured ? await timed('evaluate', () => evaluate(context, evaluation(request.out))) : undefined;

  const errors = new Map(result.matrices.map(matrix => [matrix.name, matrix]));
  const { matrices, seconds: _, ...totals } = chosen;
  return {
    ...totals,
    model: request.model,
    output: request.out,
    recipe: { ...table.recipe },
    ...(fisherSource !== undefined && { fisher: fisherSource.file }),
    matrices: matrices.map(({ option: _index, ...row }) => ({ ...row, ...errors.get(row.name)! })),
    before: { bytes: index.bytes, ...(before !== undefined && { perplexity: before.perplexity }) },
    after: {
      bytes: dense ? index.bytes : result.bytes,
      ...(after !== undefined && { perplexity: after.perplexity }),
    },
    seconds,
    warnings: warningsOf(chosen, table),
  };
}

async function fisherFor(
  context: PipelineContext,
  opened: Opened,
  request: CompressRequest,
): Promise<FisherSource | undefined> {
  const { calibration } = request;
  if (calibration !== undefined) return cachedFisher(context, opened, { ...request, calibration });
  return request.fisher === undefined ? undefined : openFisher(context, request.fisher, opened.targets);
}

/** Refuses a budget below what the options can meet, before any work. */
function requireFeasible(request: CompressRequest, index: CheckpointIndex, targets: readonly LogicalTensor[]): void {
  const { kind, value } = request.budget;
  const range = rangeOf(request, index, targets);
  if (value >= range.minimum) return;
  const unit = kind === 'bytes' ? 'bytes' : kind === 'bits' ? 'bits per weight' : 'effective bits per weight';
  throw new LqError('budget-infeasible', `A budget of ${value} ${unit} cannot be met; the least is ${range.minimum}.`, {
    file: index.path,
    details: { minimum: range.minimum, maximum: range.maximum },
  });
}

/** Refuses a disk that could not even hold the smallest output, before any work; the exact need is checked when writing. */
async function requireRoom(
  files: WritableFileSystem,
  request: CompressRequest,
  { index, targets }: Opened,
): Promise<void> {
  let folder = folderOf(request.out);
  while ((await files.stat(folder)) === undefined && folderOf(folder) !== folder) folder = folderOf(folder);
  const kept = index.bytes - targets.reduce((sum, target) => sum + target.bytes, 0);
  const factors = request.factors ?? DEFAULTS.factors;
  const packed = feasibleRange('bytes', targets, optionsOf(request), factors, kept).minimum;
  const needed = request.format === 'dense' ? index.bytes : packed;
  const free = await files.freeBytes(folder);
  if (free < needed)
    throw new LqError('disk-full', `${request.out} needs at least ${needed} bytes, ${free} are free.`, {
      file: request.out,
      details: { needed, free },
    });
}

function rangeOf(
  request: CompressRequest,
  index: CheckpointIndex,
  targets: readonly LogicalTensor[],
): { minimum: number; maximum: number } {
  const kept = index.bytes - targets.reduce((sum, target) => sum + target.bytes, 0);
  return feasibleRange(request.budget.kind, targets, optionsOf(request), request.factors ?? DEFAULTS.factors, kept);
}

function warningsOf(chosen: Plan, table: SweepTable): string[] {
  const size = new Map(table.matrices.map(({ name, rows, cols }) => [name, rows * cols]));
  let total = 0;
  let coarse = 0;
  for (const { name, config } of chosen.matrices) {
    total += size.get(name)!;
    if (config.b0 === 2) coarse += size.get(name)!;
  }
  if (coarse <= total * NF2_WARNING_SHARE) return [];
  const share = Math.round((100 * coarse) / total);
  return [
    `${share} % of the target weights are stored with NF2, whose four levels are coarse: expect a loss of quality.`,
  ];
}

/** Time, memory and size of a compression, before it starts. */
export async function estimate(context: PipelineContext, request: CompressRequest): Promise<EstimateReport> {
  const { index, targets } = await open(context.files, request);
  const parameters = targets.reduce((sum, target) => sum + target.parameters, 0);
  const tokens = (request.samples ?? DEFAULTS.samples) * (request.context ?? DEFAULTS.context);
  const evaluated = request.evalText === undefined ? 0 : await evaluatedTokens(context, request);
  const range = rangeOf(request, index, targets);
  const kept = index.bytes - targets.reduce((sum, target) => sum + target.bytes, 0);
  const { kind, value } = request.budget;
  const bits = Math.min(Math.max(value, range.minimum), range.maximum);
  const needsModel = request.calibration !== undefined || request.evalText !== undefined;
  return {
    matrices: targets.length,
    parameters,
    seconds: {
      fisher:
        request.calibration === undefined ? 0 : await predictSeconds(context, 'fisher', index.parameters * tokens),
      sweep: await predictSeconds(context, 'sweep', parameters * optionsOf(request).length),
      decompose: await predictSeconds(context, 'decompose', parameters),
      evaluate: 2 * (await predictSeconds(context, 'evaluate', index.parameters * evaluated)),
    },
    peakMemory: peakMemory(index, targets, needsModel),
    outputBytes: Math.round(kind === 'bytes' ? bits : kept + (bits * parameters) / 8),
    feasible: range,
  };
}

/** Tokens of an evaluation text, guessed from its size: English text has about four bytes a token. */
async function evaluatedTokens(context: PipelineContext, request: CompressRequest): Promise<number> {
  if (request.windows !== undefined) return request.windows * (request.context ?? DEFAULTS.context);
  return ((await context.files.stat(request.evalText!))?.bytes ?? 0) / 4;
}
