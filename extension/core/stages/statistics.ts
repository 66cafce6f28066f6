/** Statistics of a calibration text: computed once, found again by the content of model and text. */
import { arithmeticOf, callNative, type PipelineContext } from '../context';
import { modelUnits, recordRate } from '../estimate';
import { describeModel } from '../evaluation/language-model';
import { EVALUATION_VERSION, readTextFile } from '../evaluation/text';
import { TextTokenizer } from '../evaluation/tokenizer';
import { readWindows, type Windows } from '../evaluation/windows';
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
import { computeFisher, modelHash, openFisher } from '../sensitivity/fisher';
import { fisherMetric, kfacMetric, plainMetric, type Metric } from '../sensitivity/metric';
import { measuredPrices, withPrices } from '../sensitivity/prices';
import type { CalibrationReport, FisherReport } from '../sensitivity/types';
import { shardOrder, type Shard } from '../shards';
import { cachedFileOnce, cachePath, findCachedFile, makeRoom, waitReporter } from '../storage/cache';
import { copyWhole } from '../storage/copy';

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
    backend: arithmeticOf(context),
  };
  const { calibration } = request;
  const found = await cachedFileOnce<FisherReport>(context, 'fisher', key, {
    extension: '.safetensors',
    async make(out, claim) {
      const onProgress = (done: number): void => claim.progress({ done, total: samples });
      const input = { index, targets, calibration, samples, contextLength, model, out, onProgress };
      const report = await computeFisher(context, input);
      await recordRate(context, 'fisher', modelUnits(index.parameters, samples * contextLength), report.seconds);
      return report;
    },
    onWait: waitReporter(context, 'fisher', index.label),
  });
  const { file, value } = found!;
  return { file, report: { ...value, out: file } };
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
      ? await copyOfCalibration(
          context,
          opened,
          { parts: shard?.count ?? 1, ...request, calibration: calibration! },
          out,
          shard,
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

/** How the statistics of one text are computed: whole, or in parts of its windows. */
interface CalibrationWork {
  readonly index: CheckpointIndex;
  readonly targets: Opened['targets'];
  readonly calibration: string;
  readonly samples: number;
  readonly contextLength: number;
  readonly model: string;
  readonly fisher: boolean;
  readonly held: number;
  /** What all of it is kept under. */
  readonly key: Readonly<Record<string, unknown>>;
}

type Calibrated = { file: string; value: CalibrationReport };

/**
 * The statistics of a calibration text, computed once and found again by the content of model and text. In parts, each is
 * computed by the first process that comes to it, those of its own stripe first, and the parts are added up in their order: the
 * result depends on how many there are and on nothing else.
 */
async function calibrationOnce(
  context: PipelineContext,
  { index, targets }: Opened,
  request: CalibrationWanted,
  shard: Shard = { index: 0, count: 1 },
): Promise<{ file: string; report: CalibrationReport }> {
  const model = await modelHash(context, logicalTensors(index));
  const samples = request.samples ?? DEFAULTS.samples;
  const contextLength = request.context ?? DEFAULTS.context;
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const { calibration, fisher = false } = request;
  const parts = Math.min(request.parts ?? 1, samples);
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
    ...(parts > 1 && { parts }),
  };
  const held = heldAtATime(context, request.memory);
  const work: CalibrationWork = { index, targets, calibration, samples, contextLength, model, fisher, held, key };
  const { file, value } =
    parts === 1 ? (await calibratePart(context, work))! : await addParts(context, work, parts, shard);
  return { file, report: { ...value, out: file } };
}

/** The statistics of some windows, or of all. Undefined when another process is at them and the caller is not `patient`. */
function calibratePart(
  context: PipelineContext,
  { key, ...work }: CalibrationWork,
  part?: { readonly first: number; readonly count: number },
  patient = true,
): Promise<Calibrated | undefined> {
  const { index, contextLength } = work;
  const total = part?.count ?? work.samples;
  return cachedFileOnce<CalibrationReport>(context, 'calibration', part === undefined ? key : { ...key, part }, {
    extension: '.safetensors',
    async make(out, claim) {
      const onProgress = (done: number): void => claim.progress({ done, total });
      const report = await computeCalibration(context, { ...work, ...(part && { part }), out, onProgress });
      const tokens = passesOver(work.targets, work.held) * total * contextLength;
      await recordRate(context, 'calibrate', modelUnits(index.parameters, tokens), report.seconds);
      return report;
    },
    ...(patient && { onWait: waitReporter(context, 'calibrate', index.label) }),
  });
}

async function addParts(
  context: PipelineContext,
  work: CalibrationWork,
  parts: number,
  shard: Shard,
): Promise<Calibrated> {
  const { key, samples, index, model } = work;
  const found = await findCachedFile<CalibrationReport>(context, 'calibration', key, '.safetensors');
  if (found !== undefined) return found;
  const cut = (part: number): number => Math.floor((part * samples) / parts);
  const ranges = Array.from({ length: parts }, (_, part) => ({ first: cut(part), count: cut(part + 1) - cut(part) }));
  let done = 0;
  const order = shardOrder(
    ranges.map(({ count }) => count),
    shard,
  );
  // First what nobody is at, then what others did not finish.
  for (const patient of [false, true])
    for (const part of order) {
      const { first, count } = ranges[part]!;
      const report: PipelineContext['report'] = progress =>
        context.report({
          ...progress,
          done: Math.min(samples, done + (count * progress.done) / progress.total),
          total: samples,
        });
      const own = await calibratePart({ ...context, report }, work, { first, count }, patient);
      if (own !== undefined && !patient) done += count;
    }
  const sum = await cachedFileOnce<CalibrationReport>(context, 'calibration', key, {
    extension: '.safetensors',
    async make(out) {
      const all: Calibrated[] = [];
      for (const range of ranges) all.push((await calibratePart(context, work, range))!);
      const files = all.map(({ file }) => file);
      const merged = await mergeCalibration(context, files, model, out);
      const reports = all.map(({ value }) => value);
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
    onWait: waitReporter(context, 'calibrate', index.label),
  });
  return sum!;
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
              (await fisherOnce(context, opened, { ...request, calibration })).file,
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
  const tokenizer = await TextTokenizer.ofCheckpoint(context, index);
  const windows = Math.min(request.samples ?? DEFAULTS.samples, most);
  const { config, masked } = describeModel(index);
  return readWindows(
    context.files,
    tokenizer,
    config.vocab,
    request.calibration,
    { context: request.context ?? DEFAULTS.context, windows, masked },
    context.signal,
  );
}
