/**
 * The sweep: every option of every matrix tried, its cost kept. What is kept is a cost of one option of one matrix, so a
 * sweep that dies loses at most the matrix in hand, one more option measures that option alone, and two sweeps that share
 * matrices and options share work.
 */
import type { LqParameters } from '../native';
import { cachedOnce, readCached } from '../storage/cache';
import { describeHolder, shareOf } from '../storage/claims';
import { denseSource, foundHash, knownHash } from '../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor } from '../checkpoint/types';
import { backendOf, callNative, devicesOf, type PipelineContext } from '../context';
import { LqError } from '../errors';
import { BUSY, overLanes, type ItemReport } from '../lanes';
import { lqOption, nativeOption } from '../options/native-option';
import { describeOption, optionFits, optionKey, requireOptions } from '../options/option';
import type { LqLoop, SweepRecipe } from '../options/recipe';
import type { Option } from '../options/types';
import { isTokenRole, withoutTargets, type Coverage } from '../logical/targets';
import type { MatrixMetric, Metric } from './metric';
import { formatShard, shardOrder, type Shard } from '../shards';
import type { ShardReport, SweepRow, SweepTable } from './types';

/** Raised when the sweep's arithmetic changes, so that older costs are not reused. */
const SWEEP_VERSION = 4;

export interface SweepInput {
  index: CheckpointIndex;
  targets: readonly LogicalTensor[];
  /** What share of the network the targets are. */
  coverage?: Coverage;
  options: readonly Option[];
  /** Keys of those that an embedding or a head alone can take; default none. */
  tokenOptions?: ReadonlySet<string>;
  /** Name of the method that the options are of. */
  method: string;
  metric: Metric;
  /** Settings of the LQ iteration, for the options that go through it. */
  loop: LqLoop;
  /** Which costs have to be measured, by matrix and index of the option; the others are predicted where that can be done. */
  measured?: (name: string, option: number) => boolean;
}

/** The cost of one option, as the cache keeps it. */
interface Cost {
  /** Null where what the option stores does not reach the matrix's values. */
  readonly cost: number | null;
  /** Null for a cost that was predicted. */
  readonly squaredError: number | null;
  readonly measured: boolean;
}

/** What the cache keeps of one matrix under one metric: the costs of every option tried so far, by the option's key. */
interface CachedCosts {
  readonly norm: number;
  readonly weightedNorm: number;
  readonly costs: Readonly<Record<string, Cost>>;
}

/**
 * Whether an option goes through the LQ iteration, which knows elementwise weights; the others, and all of them under
 * K-FAC, are encoded.
 */
export const usesLoop = (option: Option, metric: MatrixMetric): boolean =>
  metric.native.kind !== 'kfac' && lqOption(option) !== undefined;

/** The numerical parameters of the LQ iteration for one matrix. */
export function lqParameters(loop: LqLoop, seed: number, { native }: MatrixMetric): LqParameters {
  return { ...(native.kind === 'fisher' && { fisher: native.fisher }), ...loop, seed };
}

/**
 * Costs of all options for all targets, in the targets' order. Progress counts weights; each finished row is reported as
 * the partial result. A matrix with a value too large to be squared stays as it is, which the table's coverage says.
 * Errors: usage, not-finite, io, out-of-memory, cancelled, each naming the tensor.
 */
export async function sweep(context: PipelineContext, input: SweepInput): Promise<SweepTable> {
  const { index, targets, options, metric, loop } = input;
  requireOptions(options);
  const start = context.now();
  const dropped: { target: LogicalTensor; error: LqError }[] = [];
  const rows = await overLanes(context, {
    stage: 'sweep',
    items: targets,
    nameOf: ({ name }) => name,
    weightOf: ({ parameters }) => parameters,
    async work(lane, target, report, patient): Promise<SweepRow | undefined | typeof BUSY> {
      try {
        const row = await sweepMatrix(lane, target, input, report, patient);
        if (row !== BUSY) report(1, { partial: row });
        return row;
      } catch (error) {
        if (!(error instanceof LqError)) throw error;
        if (error.code === 'not-finite') throw withWayOut(error);
        if (error.code !== 'out-of-range') throw error;
        dropped.push({ target, error });
        report(1);
        return undefined;
      }
    },
  });
  const matrices = rows.filter(row => row !== undefined);
  if (matrices.length === 0) throw dropped[0]!.error;
  const out = new Set(dropped.map(({ target }) => target));
  const swept = targets.filter(target => !out.has(target));
  const recipe: SweepRecipe = { method: input.method, metric: metric.recipe, loop, seed: context.seed };
  return {
    version: 2,
    model: {
      path: index.path,
      label: index.label,
      parameters: index.parameters,
      bytes: index.bytes,
      keptBytes: index.bytes - swept.reduce((sum, target) => sum + target.bytes, 0),
    },
    ...(input.coverage !== undefined && {
      coverage: withoutTargets(
        input.coverage,
        dropped.map(({ target, error }) => ({ target, reason: reasonOf(error) })),
      ),
    }),
    recipe,
    options,
    matrices,
    seconds: (context.now() - start) / 1000,
    device: devicesOf(context),
  };
}

/** A weight that is broken ends the job, unless the user says to do without it. */
const withWayOut = ({ code, message, file, tensor, details }: LqError): LqError =>
  new LqError(code, `${message} Exclude it (--exclude) to compress the others.`, {
    ...(file !== undefined && { file }),
    ...(tensor !== undefined && { tensor }),
    ...(details !== undefined && { details }),
  });

/**
 * One worker's part of a sweep: matrices that no other worker has done or is at. What it measures is in the cache, where a
 * `sweep` of the same input finds it. Errors: those of `sweep`.
 */
export async function sweepShard(context: PipelineContext, input: SweepInput, shard: Shard): Promise<ShardReport> {
  const { targets, options } = input;
  requireOptions(options);
  const start = context.now();
  const order = shardOrder(
    targets.map(({ parameters }) => parameters),
    shard,
  );
  const computed: string[] = [];
  context.post?.begin('sweep', targets.length);
  const outcomes = await overLanes(context, {
    stage: 'sweep',
    items: order.map(i => targets[i]!),
    nameOf: ({ name }) => name,
    weightOf: ({ parameters }) => parameters,
    async work(lane, target, report) {
      try {
        let how: 'computed' | 'found' = 'found';
        const row = await sweepMatrix(lane, target, input, report, false, () => {
          computed.push(target.name);
          how = 'computed';
        });
        if (row === BUSY) return 'left';
        context.post?.done(how);
        return 'done';
      } catch (error) {
        // The sweep itself says which matrices it leaves as they are.
        if (error instanceof LqError && error.code === 'out-of-range') return 'done';
        throw error;
      }
    },
  });
  const left = outcomes.filter(outcome => outcome === 'left').length;
  return {
    shard: formatShard(shard),
    host: context.self.host,
    pid: context.self.pid,
    device: devicesOf(context),
    matrices: targets.length,
    computed,
    found: targets.length - computed.length - left,
    left,
    seconds: (context.now() - start) / 1000,
  };
}

/**
 * Work of the LQ iteration on a [rows, cols] matrix with so many columns of a subspace, in products of a weight with one of
 * them: the products, the quantisation, and the orthogonalisation of both sides, which goes with their square and is slower.
 */
export const loopUnits = (rows: number, cols: number, width: number): number =>
  rows * cols * (width + 1.5) + 2.3 * (rows + cols) * width ** 2;

/** What of a sweep is not in the cache yet, in weights x options. */
export interface Unmeasured {
  /** `loopUnits` of options that go through the LQ iteration for a low-rank part. */
  readonly looped: number;
  /** Of those that it quantises and no more. */
  readonly quantized: number;
  readonly encoded: number;
}

/**
 * What a sweep would have to measure, as far as that is known without reading weights: a matrix of which no hash is known
 * counts whole.
 * @param hashes of the statistics of each matrix; undefined: they are not known, and neither are any costs
 */
export async function unmeasured(
  context: PipelineContext,
  { targets, options, tokenOptions, loop }: Pick<SweepInput, 'targets' | 'options' | 'tokenOptions' | 'loop'>,
  metric: { readonly recipe: SweepRecipe['metric']; readonly hashes: Readonly<Record<string, string>> } | undefined,
): Promise<Unmeasured> {
  let [looped, quantized, encoded] = [0, 0, 0];
  for (const target of targets) {
    const { rows, cols } = denseSource(target);
    const hash = metric && (await foundHash(context, target));
    const own = metric?.hashes[target.name];
    const entry =
      hash === undefined || own === undefined
        ? undefined
        : await readCached<CachedCosts>(context, 'sweep', costsKey(context, { hash, rows, cols }, metric!.recipe, own));
    for (const option of options.filter(each => canTake(target, each, tokenOptions))) {
      const loops = metric?.recipe.kind !== 'kfac' && lqOption(option) !== undefined;
      if (entry?.costs[costKey(option, loops, loop)] !== undefined) continue;
      if (loops && option.rank > 0) looped += loopUnits(rows, cols, option.rank + loop.oversampling);
      else if (loops) quantized += target.parameters;
      else encoded += target.parameters;
    }
  }
  return { looped, quantized, encoded };
}

/** Whether an option is one for this matrix. */
function canTake(target: LogicalTensor, option: Option, tokenOptions: SweepInput['tokenOptions']): boolean {
  const [rows, cols] = target.shape as [number, number];
  return optionFits(option, rows, cols) && (isTokenRole(target) || tokenOptions?.has(optionKey(option)) !== true);
}

/** What a matrix's costs are kept under: its content and the metric's. */
const costsKey = (
  lane: PipelineContext,
  matrix: { hash: string; rows: number; cols: number },
  recipe: SweepRecipe['metric'],
  statistics: string,
) => ({
  version: SWEEP_VERSION,
  backend: backendOf(lane),
  ...matrix,
  metric: { ...recipe, statistics },
  seed: lane.seed,
});

/** An option's cost among a matrix's; that of the LQ iteration depends on its settings. */
const costKey = (option: Option, loops: boolean, loop: LqLoop): string =>
  loops ? `${optionKey(option)} ${JSON.stringify(loop)}` : optionKey(option);

const reasonOf = ({ details }: LqError): string =>
  `a value too large to be squared at flat index ${details?.['index'] ?? -1}`;

async function sweepMatrix(
  lane: PipelineContext,
  target: LogicalTensor,
  { options, tokenOptions, metric, loop, measured: needsMeasure = () => true }: SweepInput,
  report: ItemReport,
  patient: boolean,
  onMeasured: () => void = () => undefined,
): Promise<SweepRow | typeof BUSY> {
  const { rows, cols } = denseSource(target);
  const hash = await knownHash(lane, target);
  const own = metric.of(target.name);
  const key = costsKey(lane, { hash, rows, cols }, metric.recipe, own.hash);
  const keyOf = (option: Option): string => costKey(option, usesLoop(option, own), loop);
  const fitting = options.filter(option => canTake(target, option, tokenOptions));
  if (fitting.length === 0)
    throw new LqError(
      'usage',
      `No option fits ${target.name} [${rows}, ${cols}]; its ranks are too large, or its rows no whole blocks.`,
      {
        tensor: target.name,
      },
    );

  const needed = new Set(options.filter((_, i) => needsMeasure(target.name, i)));
  const missing = (known?: CachedCosts): Option[] =>
    fitting.filter(option => {
      const cost = known?.costs[keyOf(option)];
      return cost === undefined || (!cost.measured && needed.has(option));
    });
  const known = await cachedOnce<CachedCosts>(lane, 'sweep', key, {
    isComplete: entry => missing(entry).length === 0,
    async make(claim, entry) {
      const wanted = missing(entry);
      const told: ItemReport = share => {
        claim.progress({ done: share, total: 1 });
        report(share);
      };
      const found = await costsOf(lane, target, wanted, needed, own, loop, told);
      onMeasured();
      const added = Object.fromEntries(wanted.map((option, i) => [keyOf(option), found.costs[i]!]));
      const costs = { ...entry?.costs, ...added };
      if (Object.values(costs).every(({ cost }) => cost === null))
        throw new LqError('internal', `${describeOption(wanted[0]!)} has a cost that is not finite.`, whereOf(target));
      // Norms are of the matrix alone; their last bits differ with what was computed beside them.
      const { norm, weightedNorm } = entry ?? found;
      return { norm, weightedNorm, costs };
    },
    ...(patient && { onWait: holder => report(shareOf(holder), { waitingFor: describeHolder(holder) }) }),
  });
  if (known === undefined) return BUSY;
  const taken = new Set(fitting);
  const costs = options.map(option => (taken.has(option) ? known.costs[keyOf(option)] : undefined));
  return {
    name: target.name,
    role: target.role,
    layer: target.layer,
    rows,
    cols,
    hash,
    costs: costs.map(each => each?.cost ?? null),
    squaredErrors: costs.map(each => each?.squaredError ?? null),
    predicted: costs.flatMap((each, i) => (each?.measured === false ? [i] : [])),
    norm: known.norm,
    weightedNorm: known.weightedNorm,
  };
}

const isCost = (cost: number | null): boolean => cost !== null && Number.isFinite(cost) && cost >= 0;

/** What native code finds of some options of one matrix, by option. */
interface Found {
  readonly norms: { readonly norm: number; readonly weightedNorm: number };
  readonly costs: readonly (readonly [Option, Cost])[];
}

/** Costs of options, in their order: the paper's by one native call, others by another, those to be predicted by a third. */
async function costsOf(
  lane: PipelineContext,
  target: LogicalTensor,
  options: readonly Option[],
  needed: ReadonlySet<Option>,
  metric: MatrixMetric,
  loop: LqLoop,
  report: ItemReport,
): Promise<{ norm: number; weightedNorm: number; costs: Cost[] }> {
  const looped = options.filter(option => usesLoop(option, metric));
  const encoded = options.filter(option => !usesLoop(option, metric));
  const [measured, predicted] = [encoded.filter(o => needed.has(o)), encoded.filter(o => !needed.has(o))];
  let before = 0;
  const runs: Found[] = [];
  for (const [own, find] of [
    [looped, loopedCosts(loop)],
    [measured, encodedCosts(false)],
    [predicted, encodedCosts(true)],
  ] as const) {
    if (own.length === 0) continue;
    const progress = (done: number, all: number): void => report((before + (own.length * done) / all) / options.length);
    runs.push(await find(lane, target, own, metric, progress));
    before += own.length;
  }
  const found = new Map(runs.flatMap(({ costs }) => costs));
  for (const [option, { cost }] of found)
    if (!isCost(cost)) found.set(option, { cost: null, squaredError: null, measured: true });
  return { ...runs[0]!.norms, costs: options.map(option => found.get(option)!) };
}

type FindCosts = (
  lane: PipelineContext,
  target: LogicalTensor,
  options: readonly Option[],
  metric: MatrixMetric,
  progress: (done: number, all: number) => void,
) => Promise<Found>;

const whereOf = (target: LogicalTensor) => ({ file: denseSource(target).path, tensor: target.name });

const loopedCosts =
  (loop: LqLoop): FindCosts =>
  async (lane, target, options, metric, progress) => {
    const native = options.map(option => lqOption(option)!);
    const parameters = lqParameters(loop, lane.seed, metric);
    const result = await callNative(
      lane,
      whereOf(target),
      control => lane.native.sweep(lane.device, denseSource(target), native, parameters, control),
      progress,
    );
    return {
      norms: { norm: result.norm, weightedNorm: metric.scale * result.weightedNorm },
      costs: options.map((option, i) => {
        // Decomposition takes the better of an LQ iterate and quantisation alone.
        const alone = result.quantizedCosts[i]!;
        const better = alone < result.costs[i]!;
        const squaredAlone = metric.native.kind === 'plain' ? alone : null;
        const cost = metric.scale * (better ? alone : result.costs[i]!);
        return [option, { cost, squaredError: better ? squaredAlone : result.squaredErrors[i]!, measured: true }];
      }),
    };
  };

const encodedCosts =
  (predict: boolean): FindCosts =>
  async (lane, target, options, metric, progress) => {
    const native = options.map(option => nativeOption(option));
    const parameters = { metric: metric.native, seed: lane.seed, predict };
    const result = await callNative(
      lane,
      whereOf(target),
      control => lane.native.encodeCosts(lane.device, denseSource(target), native, parameters, control),
      progress,
    );
    return {
      norms: { norm: result.norm, weightedNorm: metric.scale * result.weightedNorm },
      costs: options.map((option, i) => {
        const measured = result.measured[i] === 1;
        const squaredError = measured ? result.squaredErrors[i]! : null;
        return [option, { cost: metric.scale * result.costs[i]!, squaredError, measured }];
      }),
    };
  };
