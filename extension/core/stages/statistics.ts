/** Statistics of a calibration text: computed once, found again by the content of model and text. */
import { arithmeticOf, callNative, type PipelineContext } from '../context';
import { modelUnits, recordRate } from '../estimate';
import { readModelWindows } from '../evaluation/model-windows';
import { EVALUATION_VERSION, readTextFile } from '../evaluation/text';
import { TextTokenizer } from '../evaluation/tokenizer';
import type { Windows } from '../evaluation/windows';
import type { CheckpointIndex } from '../checkpoint/types';
import { baseName } from '../format';
import { logicalTensors } from '../logical/logical';
import { openCheckpoint } from '../logical/open';
import { isTokenRole } from '../logical/targets';
import type { ChosenMethod, Statistics } from '../method';
import { open, type Opened } from '../opened';
import { DEFAULTS } from '../requests/defaults';
import type { CalibrateRequest, CompressRequest, FisherRequest } from '../requests/requests';
import { computeCalibration, mergeCalibration, openCalibration } from '../sensitivity/calibration';
import { heldAtATime, passesOver } from '../sensitivity/groups';
import { exportImportance, importImportance, isImportanceMatrix } from '../sensitivity/imatrix';
import { addFisher, computeFisher, modelHash, openFisher, type Range } from '../sensitivity/fisher';
import { fisherMetric, kfacMetric, plainMetric, type Metric } from '../sensitivity/metric';
import { measuredPrices, withPrices } from '../sensitivity/prices';
import type { CalibrationReport, FisherReport } from '../sensitivity/types';
import { BUSY, cutIntoParts, overLanes } from '../lanes';
import { formatShard, shardOrder, type Shard } from '../shards';
import { cachedFileOnce, cachePath, findCachedFile, makeRoom, waitReporter } from '../storage/cache';
import { copyWhole } from '../storage/copy';
import { withPost } from '../storage/posts';

// --- Fisher information -------------------------------------------------------------------------------------------------

/** As one of several workers it does first what no other is at; each ends with the whole. */
export async function fisher(context: PipelineContext, request: FisherRequest, shard?: Shard): Promise<FisherReport> {
  const opened = await open(context.files, request);
  return posted(context, request, opened, shard, async own => {
    const { file, report } = await fisherOnce(own, opened, { ...(shard && { parts: shard.count }), ...request }, shard);
    await copyWhole(own, file, request.out);
    return { ...report, out: request.out };
  });
}

/** Fisher information of a calibration text, computed once and found again by the content of model and text. */
async function fisherOnce(
  context: PipelineContext,
  { index, targets }: Opened,
  request: Pick<FisherRequest, 'calibration' | 'samples' | 'context' | 'parts'>,
  shard?: Shard,
): Promise<{ file: string; report: FisherReport }> {
  const model = await modelHash(context, logicalTensors(index));
  const samples = request.samples ?? DEFAULTS.samples;
  const contextLength = request.context ?? DEFAULTS.context;
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const { calibration } = request;
  const parts = Math.min(request.parts ?? context.devices.length, samples);
  const key = {
    version: EVALUATION_VERSION,
    model,
    config: index.config,
    tokenizer: context.digest(tokenizer.source),
    targets: targets.map(target => target.name),
    text: context.digest((await readTextFile(context.files, calibration)).text),
    samples,
    context: contextLength,
    backend: arithmeticOf(context),
    ...(request.parts !== undefined && parts > 1 && { parts }),
  };
  const { file, value } = await inParts<FisherReport>(
    context,
    { kind: 'fisher', stage: 'fisher', key, label: index.label, samples, parts },
    {
      async compute(own, part, out, onProgress) {
        const input = { index, targets, calibration, samples, contextLength, model, out, onProgress };
        const report = await computeFisher(own, { ...input, ...(part && { part }) });
        const tokens = (part?.count ?? samples) * contextLength;
        await recordRate(own, 'fisher', modelUnits(index.parameters, tokens), report.seconds);
        return report;
      },
      add: (all, out) =>
        addFisher(
          context,
          all.map(each => ({ file: each.file, report: each.value })),
          out,
        ),
    },
    shard,
  );
  return { file, report: { ...value, out: file } };
}

// --- In parts -----------------------------------------------------------------------------------------------------------

/** A part of a job that several workers share: its context tells how far it is. */
async function posted<R>(
  context: PipelineContext,
  request: object,
  { index: { label } }: Opened,
  shard: Shard | undefined,
  work: (context: PipelineContext) => Promise<R>,
): Promise<R> {
  if (shard === undefined) return work(context);
  const post = await withPost(context, { request, label, worker: formatShard(shard) });
  try {
    return await work(post.context);
  } finally {
    await post.close();
  }
}

type Found<R> = { file: string; value: R };

/** Statistics of a text that are kept under a key. */
interface PartedJob {
  readonly kind: 'fisher' | 'calibration';
  readonly stage: 'fisher' | 'calibrate';
  readonly key: Readonly<Record<string, unknown>>;
  readonly label: string;
  /** Windows of the text. */
  readonly samples: number;
  readonly parts: number;
}

interface PartedWork<R> {
  /** Of some windows, or of all. */
  compute(
    context: PipelineContext,
    part: Range | undefined,
    out: string,
    onProgress: (done: number) => void,
  ): Promise<R>;
  /** The whole from all parts, in their order. */
  add(all: readonly Found<R>[], out: string): Promise<R>;
}

/**
 * Statistics of a text, computed once and found again. In parts of its windows, each is computed by the first process that comes to
 * it, those of its own stripe first, on any of its devices, and the parts are added up in their order: the result depends on how
 * many there are and on nothing else. Where that is not asked for there is one a device, and the sums are kept as those of any number
 * are: they differ by rounding, as those of two instruction sets do.
 */
async function inParts<R>(
  context: PipelineContext,
  job: PartedJob,
  { compute, add }: PartedWork<R>,
  shard: Shard = { index: 0, count: 1 },
): Promise<Found<R>> {
  const { kind, stage, key, label, samples, parts } = job;
  const extension = '.safetensors';
  const one = (own: PipelineContext, part: Range | undefined, patient: boolean): Promise<Found<R> | undefined> =>
    cachedFileOnce<R>(own, kind, part === undefined ? key : { ...key, part }, {
      extension,
      make(out, claim) {
        const total = part?.count ?? samples;
        return compute(own, part, out, done => claim.progress({ done, total }));
      },
      ...(patient && { onWait: waitReporter(own, stage, label) }),
    });
  if (parts === 1) return (await one(context, undefined, true))!;
  const found = await findCachedFile<R>(context, kind, key, extension);
  if (found !== undefined) return found;
  const ranges = cutIntoParts(samples, parts);
  const order = shardOrder(
    ranges.map(({ count }) => count),
    shard,
  );
  context.post?.begin(stage, parts);
  // First what nobody is at, then what others did not finish; each part on one of the devices.
  const done = await overLanes<number, Found<R>>(
    { ...context, lanes: context.devices },
    {
      stage,
      items: order,
      weightOf: part => ranges[part]!.count,
      async work(lane, part, report, patient) {
        let how: 'computed' | 'found' = 'found';
        const told: PipelineContext['report'] = ({ done, total, waitingFor }) => {
          if (waitingFor === undefined) how = 'computed';
          report(done / total, waitingFor === undefined ? {} : { waitingFor });
        };
        const own = await one({ ...lane, report: told }, ranges[part], patient);
        if (own === undefined) return BUSY;
        context.post?.done(how);
        return own;
      },
    },
  );
  const sum = await cachedFileOnce<R>(context, kind, key, {
    extension,
    make: out =>
      add(
        ranges.map((_, part) => done[order.indexOf(part)]!),
        out,
      ),
    onWait: waitReporter(context, stage, label),
  });
  return sum!;
}

// --- Moments of inputs and Fisher information of outputs ------------------------------------------------------------------

/** As one of several workers it does first what no other is at; each ends with the whole. */
export async function calibrate(
  context: PipelineContext,
  request: CalibrateRequest,
  shard?: Shard,
): Promise<CalibrationReport> {
  const { calibration, merge, imatrix, out } = request;
  const opened = await open(context.files, request);
  const report =
    merge === undefined
      ? await posted(context, request, opened, shard, own =>
          copyOfCalibration(
            own,
            opened,
            { ...(shard && { parts: shard.count }), ...request, calibration: calibration! },
            out,
            shard,
          ),
        )
      : await mergeCalibration(context, merge, await modelHash(context, logicalTensors(opened.index)), out);
  if (imatrix === undefined) return report;
  await exportImportance(context, out, baseName(calibration ?? merge!.join(' + ')), imatrix);
  return { ...report, imatrix };
}

type CalibrationWanted = Pick<CalibrateRequest, 'samples' | 'context' | 'fisher' | 'memory' | 'parts'> & {
  readonly calibration: string;
};

async function copyOfCalibration(
  context: PipelineContext,
  opened: Opened,
  request: CalibrationWanted,
  out: string,
  shard: Shard | undefined,
): Promise<CalibrationReport> {
  const { file, report } = await calibrationOnce(context, opened, request, shard);
  await copyWhole(context, file, out);
  return { ...report, out };
}

/** The statistics of a calibration text, computed once and found again by the content of model and text. */
async function calibrationOnce(
  context: PipelineContext,
  { index, targets }: Opened,
  request: CalibrationWanted,
  shard?: Shard,
): Promise<{ file: string; report: CalibrationReport }> {
  const model = await modelHash(context, logicalTensors(index));
  const samples = request.samples ?? DEFAULTS.samples;
  const contextLength = request.context ?? DEFAULTS.context;
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const { calibration, fisher = false } = request;
  const parts = Math.min(request.parts ?? context.devices.length, samples);
  const key = {
    version: EVALUATION_VERSION,
    model,
    config: index.config,
    tokenizer: context.digest(tokenizer.source),
    targets: targets.map(target => target.name),
    text: context.digest((await readTextFile(context.files, calibration)).text),
    samples,
    context: contextLength,
    fisher,
    backend: arithmeticOf(context),
    ...(request.parts !== undefined && parts > 1 && { parts }),
  };
  const held = heldAtATime(context, request.memory);
  const { file, value } = await inParts<CalibrationReport>(
    context,
    { kind: 'calibration', stage: 'calibrate', key, label: index.label, samples, parts },
    {
      async compute(own, part, out, onProgress) {
        const input = { index, targets, calibration, samples, contextLength, model, fisher, held, out, onProgress };
        const report = await computeCalibration(own, { ...input, ...(part && { part }) });
        const tokens = passesOver(targets, held) * (part?.count ?? samples) * contextLength;
        await recordRate(own, 'calibrate', modelUnits(index.parameters, tokens), report.seconds);
        return report;
      },
      async add(all, out) {
        const merged = await mergeCalibration(
          context,
          all.map(each => each.file),
          model,
          out,
        );
        const reports = all.map(each => each.value);
        // A sentence on the text is every part's; one on what a part did not reach is of that part.
        const shared = reports[0]!.warnings.filter(warning =>
          reports.every(({ warnings }) => warnings.includes(warning)),
        );
        return {
          ...merged,
          losses: reports.flatMap(({ losses }) => losses),
          warnings: [...new Set([...shared, ...merged.warnings])],
          seconds: reports.reduce((seconds, each) => seconds + each.seconds, merged.seconds),
        };
      },
    },
    shard,
  );
  return { file, report: { ...value, out: file } };
}

// --- For a compression ----------------------------------------------------------------------------------------------------

/**
 * The metric that was chosen, its statistics opened or computed. An embedding or a head that is among the targets has a measured
 * price, or without a text the average one of the blocks' weights.
 */
export async function metricOf(
  context: PipelineContext,
  opened: Opened,
  method: ChosenMethod,
  request: Statistics & Pick<CompressRequest, 'samples' | 'context' | 'memory' | 'parts'>,
  shard?: Shard,
): Promise<Metric> {
  const { fisher: file, calibration } = request;
  // Fisher information of another origin may be of these matrices too.
  const known =
    method.metric === 'fisher' && file !== undefined ? await openCheckpoint(context.files, file) : undefined;
  const outer = opened.targets.filter(target => isTokenRole(target) && !known?.byName.has(target.name));
  if (outer.length === 0 || method.metric === 'plain') return statisticsMetric(context, opened, method, request, shard);
  const blocks = { ...opened, targets: opened.targets.filter(target => !outer.includes(target)) };
  const metric = await statisticsMetric(context, blocks, method, request, shard);
  if (calibration !== undefined) {
    const windows = await calibrationWindows(context, opened.index, { ...request, calibration }, PRICE_WINDOWS);
    return withPrices(metric, await measuredPrices(context, opened.index, outer, windows));
  }
  const average = await averagePrice(context, blocks.targets, metric);
  return withPrices(metric, new Map(outer.map(({ name }) => [name, average])));
}

/** Windows that show what an error outside of the blocks costs. */
const PRICE_WINDOWS = 16;

/** The mean of the blocks' Fisher information. */
async function averagePrice(context: PipelineContext, targets: Opened['targets'], metric: Metric): Promise<number> {
  let [sum, weights] = [0, 0];
  for (const { name, parameters } of targets) {
    const { native } = metric.of(name);
    if (native.kind === 'plain') continue;
    const source = native.kind === 'fisher' ? native.fisher : native.rowWeight;
    const { mean } = await callNative(context, { file: source.path, tensor: name }, control =>
      context.native.statistics(context.device, source, 0, control),
    );
    sum += mean * parameters;
    weights += parameters;
  }
  return weights === 0 ? 1 : sum / weights;
}

async function statisticsMetric(
  context: PipelineContext,
  opened: Opened,
  { metric }: ChosenMethod,
  request: Statistics & Pick<CompressRequest, 'samples' | 'context' | 'memory' | 'parts'>,
  shard?: Shard,
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
              (await fisherOnce(context, opened, { ...request, calibration }, shard)).file,
              opened.targets,
            ),
      );
    case 'kfac':
      return kfacMetric(
        calibration === undefined
          ? await openCalibration(context, await statisticsFile(context, opened, file!), opened.targets)
          : await openCalibration(
              context,
              (
                await calibrationOnce(
                  context,
                  opened,
                  {
                    calibration,
                    ...(request.samples !== undefined && { samples: request.samples }),
                    ...(request.context !== undefined && { context: request.context }),
                    ...(request.memory !== undefined && { memory: request.memory }),
                    ...(request.parts !== undefined && { parts: request.parts }),
                  },
                  shard,
                )
              ).file,
              opened.targets,
            ),
      );
  }
}

/** A statistics file itself, or what an importance matrix says as one, in the cache. */
async function statisticsFile(context: PipelineContext, { targets }: Opened, file: string): Promise<string> {
  if (!(await isImportanceMatrix(context.files, file))) return file;
  const { bytes } = (await context.files.stat(file))!;
  const hash = await callNative(context, { file }, control =>
    context.native.hash({ path: file, offset: 0, bytes }, control),
  );
  const out = cachePath(
    context,
    'calibration',
    { imatrix: hash, targets: targets.map(({ name }) => name) },
    '.safetensors',
  );
  await makeRoom(context, out);
  await importImportance(context, file, targets, out);
  return out;
}

/** Tokens of the calibration text: `most` windows of those that the statistics are of. */
export async function calibrationWindows(
  context: PipelineContext,
  index: CheckpointIndex,
  request: Pick<CompressRequest, 'samples' | 'context'> & { readonly calibration: string },
  most = Infinity,
): Promise<Windows> {
  const { windows } = await readModelWindows(context, index, request.calibration, {
    context: request.context ?? DEFAULTS.context,
    windows: Math.min(request.samples ?? DEFAULTS.samples, most),
  });
  return windows;
}
