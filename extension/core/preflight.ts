/** Before a compression: can it be done, and what will it take? */
import type { CompressRequest } from './requests/requests';
import type { EstimateReport, RequestProblem } from './reports';
import { folderOf, trimPath } from './files/paths';
import type { WritableFileSystem } from './files/types';
import type { PipelineContext } from './context';
import { requireOneRank } from './allocation/plan';
import { LqError } from './errors';
import { feasibleRange, modelUnits, peakMemory, predictSeconds, type Work } from './estimate';
import { findBaseline, findMetric, type KnownMetric } from './known';
import { describeModel } from './evaluation/language-model';
import { TextTokenizer } from './evaluation/tokenizer';
import { readWindows } from './evaluation/windows';
import { DEFAULTS } from './requests/defaults';
import { loads } from './export/loads/loads';
import { anyPlan, type PreparedTarget, type Sizes } from './export/target';
import { chooseMethod, optionsOf, type ChosenMethod } from './method';
import { subjectOf, unmeasuredOf } from './stages/sweep';
import { expectedMeasures } from './allocation/lazy';
import { factorBytes } from './options/option';
import { fisherTensors } from './sensitivity/fisher';
import { heldAtATime, passesOver } from './sensitivity/groups';
import { loopUnits } from './sensitivity/sweep';
import { requireWritable } from './storage/output';
import type { CheckpointIndex, LogicalTensor } from './checkpoint/types';

/** Refuses a budget below what the options can meet, before any work. */
export function requireFeasible(request: CompressRequest, { opened, sizes }: PreparedTarget): void {
  const { kind, value } = request.budget;
  if (kind === 'bits') requireOneRank(optionsOf(request));
  const range = feasibleRange(kind, sizes, optionsOf(request));
  if (value >= range.minimum) return;
  const unit = kind === 'bytes' ? 'bytes' : kind === 'bits' ? 'bits per weight' : 'effective bits per weight';
  throw new LqError('budget-infeasible', `A budget of ${value} ${unit} cannot be met; the least is ${range.minimum}.`, {
    file: opened.index.path,
    details: { minimum: range.minimum, maximum: range.maximum },
  });
}

/** Refuses a disk that could not even hold the smallest output, before any work; the exact need is checked when writing. */
export async function requireRoom(
  files: WritableFileSystem,
  request: CompressRequest,
  { sizes }: PreparedTarget,
): Promise<void> {
  let folder = folderOf(request.out);
  while ((await files.stat(folder)) === undefined && folderOf(folder) !== folder) folder = folderOf(folder);
  const needed = sizes.fixed ?? feasibleRange('bytes', sizes, optionsOf(request)).minimum;
  const free = await files.freeBytes(folder);
  if (free < needed)
    throw new LqError('disk-full', `${request.out} needs at least ${needed} bytes, ${free} are free.`, {
      file: request.out,
      details: { needed, free },
    });
}

/** Time, memory and size of a compression, before it starts. */
export async function estimate(context: PipelineContext, request: CompressRequest): Promise<EstimateReport> {
  const { method, prepared } = await subjectOf(context, request);
  return {
    ...(await predict(context, request, prepared, method)),
    notes: [...method.notes, ...prepared.notes],
    loads: loads(prepared.stored(anyPlan(prepared.sizes, method.options))),
    problems: await problemsOf(context, request, prepared),
  };
}

/** Time, memory and size alone. */
export async function predict(
  context: PipelineContext,
  request: CompressRequest,
  prepared: PreparedTarget,
  method: ChosenMethod,
): Promise<Omit<EstimateReport, 'problems' | 'notes' | 'loads'>> {
  const { opened, sizes } = prepared;
  const { options, metric, alpha } = method;
  const { index, targets } = opened;
  const parameters = targets.reduce((sum, target) => sum + target.parameters, 0);
  const tokens = (request.samples ?? DEFAULTS.samples) * (request.context ?? DEFAULTS.context);
  const baseline = request.evalText === undefined ? undefined : await findBaseline(context, index, request);
  const evaluated =
    request.evalText === undefined ? 0 : (baseline?.tokens ?? (await evaluatedTokens(context, request)));
  const range = feasibleRange(request.budget.kind, sizes, options);
  const bits = Math.min(Math.max(request.budget.value, range.minimum), range.maximum);
  const bytes = outputBytes(request, sizes, bits);
  const calibrates = request.calibration !== undefined && metric !== 'plain';
  const known = await knownMetricOf(context, request, prepared, method);
  const held = heldAtATime(context, request.memory);
  const left = await unmeasuredOf(context, { method, prepared }, request, known);
  const measured = request.costs === 'measured' ? 1 : expectedMeasures(options, metric) / options.length;
  return {
    matrices: targets.length,
    parameters,
    seconds: {
      fisher:
        calibrates && known === undefined
          ? (metric === 'kfac' ? passesOver(targets, held) : 1) *
            (await predictSeconds(
              context,
              metric === 'kfac' ? 'calibrate' : 'fisher',
              modelUnits(index.parameters, tokens),
            ))
          : 0,
      sweep:
        (await predictSeconds(context, 'sweep', left.looped)) +
        (await predictSeconds(context, 'quantize', left.quantized)) +
        (await predictSeconds(context, 'encode', measured * left.encoded, method.id)),
      decompose: await predictWriting(context, request, prepared, method),
      baseline: baseline ? 0 : await predictSeconds(context, 'evaluate', modelUnits(index.parameters, evaluated)),
      // The original is gone through beside what was made of it, for the divergence of their predictions.
      evaluate: await predictSeconds(context, 'evaluate', modelUnits(index.parameters, 2 * evaluated)),
    },
    peakMemory: peakMemory(index, targets, bytes, {
      evaluatedTokens: evaluated,
      calibratedTokens: calibrates && known === undefined ? tokens : 0,
      kfac: metric === 'kfac',
      heldStatistics: held,
      passTokens: alpha === undefined ? 0 : tokens,
      loops: alpha !== undefined || options.some(({ rank }) => rank > 0),
    }),
    outputBytes: Math.round(bytes),
    amounts: amountsOf(request, sizes, bytes),
    feasible: range,
    coverage: opened.coverage,
  };
}

/** The metric of a request where that is known before its statistics are computed. */
const knownMetricOf = (
  context: PipelineContext,
  request: CompressRequest,
  { opened }: PreparedTarget,
  { metric }: ChosenMethod,
): Promise<KnownMetric | undefined> => findMetric(context, opened, metric, request);

/** What carrying a plan out is counted in, see `Work`. */
export async function writingUnits(
  context: PipelineContext,
  request: CompressRequest,
  { opened: { index, targets } }: PreparedTarget,
  { id, alpha, options }: ChosenMethod,
): Promise<{ work: Work; units: number }> {
  const weights = targets.reduce((sum, target) => sum + target.parameters, 0);
  const rank = Math.max(0, ...options.map(option => option.rank));
  if (alpha === undefined && rank === 0) return { work: 'decompose', units: weights };
  if (alpha === undefined) {
    const width = rank + DEFAULTS.oversampling;
    const units = targets.reduce((sum, target) => sum + loopUnits(target.shape[0]!, target.shape[1] ?? 1, width), 0);
    return { work: 'decompose', units };
  }
  const tokens = (request.samples ?? DEFAULTS.samples) * (request.context ?? DEFAULTS.context);
  // The second pass takes the text through the model twice; its moments cost about as much again.
  const through = await predictSeconds(context, 'evaluate', modelUnits(index.parameters, 4 * tokens));
  return { work: 'pass', units: (await predictSeconds(context, 'encode', weights, id)) + through };
}

/** What the pace of writing goes by: the method, and whether its matrices go through the iteration for a low-rank part. */
export const paceOf = ({ id, options }: ChosenMethod): string =>
  options.some(({ rank }) => rank > 0) ? `${id} with factors` : id;

async function predictWriting(...of: Parameters<typeof writingUnits>): Promise<number> {
  const { work, units } = await writingUnits(...of);
  return predictSeconds(of[0], work, units, paceOf(of[3]));
}

/** Tensor bytes of the output at a budget that can be met: exact for sizes, else within what the last option leaves unspent. */
function outputBytes(request: CompressRequest, { kept, fixed, matrices }: Sizes, value: number): number {
  if (fixed !== undefined) return fixed;
  if (request.budget.kind === 'bytes') return value;
  const stored = kept + (value * weightsOf(matrices)) / 8;
  return request.budget.kind === 'effective-bits' ? stored : stored + bytesOfFactors(request, matrices);
}

/** An output's bytes in every unit of a budget: those without what the plan does not decide, over the weights. */
function amountsOf(request: CompressRequest, { kept, matrices }: Sizes, bytes: number): EstimateReport['amounts'] {
  const perWeight = (size: number): number => (8 * size) / weightsOf(matrices);
  return {
    bytes,
    'effective-bits': perWeight(bytes - kept),
    bits: perWeight(bytes - kept - bytesOfFactors(request, matrices)),
  };
}

const weightsOf = (matrices: Sizes['matrices']): number =>
  matrices.reduce((sum, { rows, cols }) => sum + rows * cols, 0);

/** A budget in bits leaves the factors out; it is of one rank. */
function bytesOfFactors(request: CompressRequest, matrices: Sizes['matrices']): number {
  const rank = optionsOf(request)[0]?.rank ?? 0;
  if (rank === 0) return 0;
  const storage = request.factors ?? DEFAULTS.factors;
  return matrices.reduce(
    (sum, { rows, cols }) => sum + factorBytes(storage, rows * rank) + factorBytes(storage, rank * cols),
    0,
  );
}

/** What would make a compression fail, each with the field to change; the same checks stop one that is started anyway. */
async function problemsOf(
  context: PipelineContext,
  request: CompressRequest,
  prepared: PreparedTarget,
): Promise<RequestProblem[]> {
  const { index, targets } = prepared.opened;
  const { calibration, fisher, evalText, out } = request;
  const problems: RequestProblem[] = [];
  const check = async (field: RequestProblem['field'], work: () => unknown): Promise<void> => {
    try {
      await work();
    } catch (error) {
      const { code, message } = LqError.from(error);
      if (code === 'cancelled') throw error;
      const suggestion = code === 'output-exists' ? await freeName(context.files, out) : undefined;
      problems.push({ field, code, message, ...(suggestion !== undefined && { suggestion }) });
    }
  };
  const text = (file: string, windows: number): Promise<unknown> => requireText(context, index, file, windows, request);
  await check('ranks', () => requireRanks(request, targets));
  await check('budget', () => requireFeasible(request, prepared));
  if (calibration !== undefined)
    await check('calibration', () => text(calibration, request.samples ?? DEFAULTS.samples));
  if (evalText !== undefined) await check('evalText', () => text(evalText, request.windows ?? 1));
  if (fisher !== undefined)
    await check('fisher', async () => {
      const { metric } = await chooseMethod(context.files, request);
      if (metric === 'fisher') await fisherTensors(context.files, fisher, targets);
    });
  await check('out', async () => {
    await requireWritable(context, { out, source: index.folder, overwrite: request.overwrite ?? false });
    await requireRoom(context.files, request, prepared);
  });
  return problems;
}

/** The path with the least number behind it that nothing is at. */
async function freeName(files: WritableFileSystem, out: string): Promise<string> {
  const stem = trimPath(out).replace(/-\d+$/, '');
  for (let number = 2; ; number++) {
    const free = `${stem}-${number}`;
    if ((await files.stat(free)) === undefined) return free;
  }
}

/** A rank beyond the shorter side of a matrix stores more than the matrix. */
function requireRanks(request: CompressRequest, targets: readonly LogicalTensor[]): void {
  const ranks = optionsOf(request).map(option => option.rank);
  // Of a method's own ranks those that fit are taken.
  const rank = request.ranks === undefined ? Math.min(...ranks) : Math.max(...ranks);
  const smallest = targets.reduce((least, each) => (Math.min(...each.shape) < Math.min(...least.shape) ? each : least));
  const most = Math.min(...smallest.shape);
  if (rank <= most) return;
  const message = `Rank ${rank} is more than ${smallest.name} has: it is ${smallest.shape.join(' × ')}. The most is ${most}.`;
  throw new LqError('usage', message, { tensor: smallest.name, details: { most } });
}

/** Refuses a text that cannot be read or is too short for so many windows; reads no more of it than they need. */
async function requireText(
  context: PipelineContext,
  index: CheckpointIndex,
  file: string,
  windows: number,
  request: CompressRequest,
): Promise<void> {
  const { config, masked } = describeModel(index);
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const options = { context: request.context ?? DEFAULTS.context, windows, masked };
  await readWindows(context.files, tokenizer, config.vocab, file, options, context.signal);
}

/** Tokens of an evaluation text, guessed from its size: English text has about four bytes a token. */
async function evaluatedTokens(context: PipelineContext, request: CompressRequest): Promise<number> {
  if (request.windows !== undefined) return request.windows * (request.context ?? DEFAULTS.context);
  return ((await context.files.stat(request.evalText!))?.bytes ?? 0) / 4;
}
