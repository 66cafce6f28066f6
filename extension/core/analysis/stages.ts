/** Inspection that needs the native module: statistics, spectra, pictures, comparison of values, health. */
import type {
  CompareReport,
  HealthFinding,
  PreviewReport,
  SpectrumReport,
  TensorStatistics,
  DifferenceReport,
} from './types';
import type {
  CompareRequest,
  DifferenceRequest,
  HealthRequest,
  PreviewRequest,
  SpectrumRequest,
  StatisticsRequest,
} from '../requests/requests';
import { readCached, writeCached } from '../storage/cache';
import { quoteName } from '../text';
import { collapseRepeated } from '../checkpoint/repeated';
import { contentHash } from '../checkpoint/sources';
import { callNative, stageReporter, throwIfCancelled, type PipelineContext } from '../context';
import { LqError, type ErrorCode } from '../errors';
import { compareStructure } from './compare';
import { duplicateFindings, statisticsFindings, structureFindings } from './health';
import { spectrumReport } from './spectrum';
import { tensorStatistics } from './statistics';
import { openWeights, whereIs, type OpenedWeights, type Weight } from './weights';

const DEFAULT_BINS = 128;
const DEFAULT_SPECTRUM = 256;
/** Raised when the arithmetic of a cached result changes. */
const VERSION = 2;

/** Statistics of the named tensors, or of all that can be read; each is reported as a partial result once it is known. */
export async function statistics(context: PipelineContext, params: StatisticsRequest): Promise<TensorStatistics[]> {
  const weights = await openWeights(context, params.model);
  const wanted = params.tensors?.map(name => weights.find(name)) ?? weights.readable;
  return measure(context, wanted, params.bins ?? DEFAULT_BINS);
}

/** Tensors below this are measured again rather than looked up: a file for each would take longer. */
const LEAST_CACHED_BYTES = 4_000_000;
/** Small tensors in flight at once; larger ones take all threads each. */
const SMALL_AT_ONCE = 8;
/** Progress of small tensors is told at most this often. */
const REPORT_INTERVAL_MS = 50;

async function measure(
  context: PipelineContext,
  weights: readonly Weight[],
  bins: number,
): Promise<TensorStatistics[]> {
  const total = weights.reduce((sum, { tensor }) => sum + tensor.parameters, 0);
  const report = stageReporter(context, 'statistics', total);
  const results: TensorStatistics[] = [];
  let done = 0;
  let lastReport = 0;
  const count = () => ({ done: results.length, total: weights.length });
  const finish = (weight: Weight, result: TensorStatistics): void => {
    results.push(result);
    done += weight.tensor.parameters;
    const now = context.now();
    if (isSmall(weight) && now - lastReport < REPORT_INTERVAL_MS) return;
    lastReport = now;
    report(done, { item: weight.tensor.name, partial: result, count: count() });
  };
  for (let i = 0; i < weights.length;) {
    throwIfCancelled(context);
    let end = i + 1;
    while (end < weights.length && end - i < SMALL_AT_ONCE && isSmall(weights[end]!) && isSmall(weights[i]!)) end++;
    const batch = weights.slice(i, end);
    const measured = await Promise.all(
      batch.map(weight =>
        isSmall(weight)
          ? scan(context, weight, bins)
          : cachedScan(context, weight, bins, finished =>
              report(done + finished, { item: weight.tensor.name, count: count() }),
            ),
      ),
    );
    measured.forEach((result, k) => finish(batch[k]!, result));
    i = end;
  }
  return results;
}

const isSmall = ({ tensor }: Weight): boolean => tensor.bytes < LEAST_CACHED_BYTES;

async function scan(
  context: PipelineContext,
  weight: Weight,
  bins: number,
  progress?: (done: number) => void,
): Promise<TensorStatistics> {
  const native = await callNative(
    context,
    whereIs(weight),
    control => context.native.statistics(context.device, weight.source, bins, control),
    progress,
  );
  return tensorStatistics(weight.tensor, native);
}

async function cachedScan(
  context: PipelineContext,
  weight: Weight,
  bins: number,
  progress: (done: number) => void,
): Promise<TensorStatistics> {
  const key = { version: VERSION, bins, of: await identity(context, weight) };
  const known = await readCached<TensorStatistics>(context, 'statistics', key);
  if (known !== undefined) return known;
  const result = await scan(context, weight, bins, progress);
  await writeCached(context, 'statistics', key, result);
  return result;
}

/** What a scan depends on without reading the weight a second time: files, their sizes and times, places in them. */
async function identity(context: PipelineContext, { tensor }: Weight): Promise<unknown> {
  const paths = [...new Set(tensor.parts.map(part => part.file))];
  const found = await Promise.all(paths.map(path => context.files.stat(path)));
  return {
    name: tensor.name,
    files: paths.map((path, i) => [path, found[i]?.bytes, found[i]?.modified]),
    parts: tensor.parts.map(part => [part.offset, part.bytes, part.dtype, part.shape]),
  };
}

/** The largest singular values of a matrix, with the energy they keep and a rank worth trying. */
export async function spectrum(context: PipelineContext, params: SpectrumRequest): Promise<SpectrumReport> {
  const weight = (await openWeights(context, params.model)).find(params.tensor);
  const { tensor, source } = weight;
  if (tensor.shape.length !== 2)
    throw new LqError(
      'usage',
      `${quoteName(tensor.name)} is no matrix; only matrices have a spectrum.`,
      whereIs(weight),
    );
  const count = Math.min(params.count ?? DEFAULT_SPECTRUM, source.rows, source.cols);
  const key = { version: VERSION, count, seed: context.seed, of: await identity(context, weight) };
  const known = await readCached<SpectrumReport>(context, 'spectrum', key);
  if (known !== undefined) return known;
  const report = stageReporter(context, 'statistics', 1);
  const { rowNorms } = await callNative(context, whereIs(weight), control =>
    context.native.statistics(context.device, source, 0, control),
  );
  const values = await callNative(
    context,
    whereIs(weight),
    control => context.native.singularValues(context.device, source, count, context.seed, control),
    (done, total) => report(done / total, { item: tensor.name }),
  );
  const norm = rowNorms.reduce((sum, row) => Math.hypot(sum, row), 0);
  const result = spectrumReport(tensor.name, values, norm);
  await writeCached(context, 'spectrum', key, result);
  return result;
}

/** A tensor down-sampled to at most rows x cols cells. */
export async function preview(context: PipelineContext, params: PreviewRequest): Promise<PreviewReport> {
  const weight = (await openWeights(context, params.model)).find(params.tensor);
  const { source } = weight;
  const rows = Math.min(params.rows, source.rows);
  const cols = Math.min(params.cols, source.cols);
  const picture = await callNative(context, whereIs(weight), control =>
    context.native.preview(context.device, source, rows, cols, control),
  );
  return {
    name: params.tensor,
    rows,
    cols,
    minimum: [...picture.minimum],
    maximum: [...picture.maximum],
    mean: [...picture.mean],
  };
}

/** How one tensor differs between two checkpoints, and where: mean absolute difference of at most rows x cols cells. */
export async function difference(context: PipelineContext, params: DifferenceRequest): Promise<DifferenceReport> {
  const a = (await openWeights(context, params.a)).find(params.tensor);
  const b = (await openWeights(context, params.b)).find(params.tensor);
  const rows = Math.min(params.rows, a.source.rows);
  const cols = Math.min(params.cols, a.source.cols);
  return { ...(await subtract(context, a, b, rows, cols)), name: params.tensor, rows, cols };
}

async function subtract(
  context: PipelineContext,
  a: Weight,
  b: Weight,
  rows: number,
  cols: number,
): Promise<{ relativeError: number; maxAbsolute: number; mean: number[] }> {
  if (a.source.rows !== b.source.rows || a.source.cols !== b.source.cols)
    throw new LqError('usage', `${quoteName(a.tensor.name)} has another shape in the other checkpoint.`, whereIs(b));
  const found = await callNative(context, whereIs(b), control =>
    context.native.difference(context.device, a.source, b.source, rows, cols, control),
  );
  const { squaredError, squaredNorm, maxAbsolute, mean } = found;
  const relativeError = squaredError === 0 ? 0 : Math.sqrt(squaredError / squaredNorm);
  return { relativeError, maxAbsolute, mean: [...mean] };
}

/** Structure first; with `values`, the relative error of every tensor that both checkpoints have in one shape. */
export async function compare(context: PipelineContext, params: CompareRequest): Promise<CompareReport> {
  const a = await openWeights(context, params.a);
  const b = await openWeights(context, params.b);
  const structure = compareStructure(a.index, b.index);
  if (params.structure === true) return structure;
  const inA = new Map(a.readable.map(weight => [weight.tensor.name, weight]));
  const inB = new Map(b.readable.map(weight => [weight.tensor.name, weight]));
  const report = stageReporter(context, 'compare', structure.tensors.length);
  const tensors: CompareReport['tensors'] = [];
  for (const row of structure.tensors) {
    throwIfCancelled(context);
    const [left, right] = [inA.get(row.name), inB.get(row.name)];
    const measured = { ...row, ...(await compareValues(context, a, b, left, right, row.name)) };
    tensors.push(measured);
    report(tensors.length, { item: row.name, partial: measured });
  }
  return { ...structure, tensors };
}

/** What a weight itself, and not the machine, can be at fault for: the comparison goes on with the next one. */
const OWN_FAULTS: ReadonlySet<ErrorCode> = new Set(['not-finite', 'unsupported-dtype'] as const);

async function compareValues(
  context: PipelineContext,
  a: OpenedWeights,
  b: OpenedWeights,
  left: Weight | undefined,
  right: Weight | undefined,
  name: string,
): Promise<Pick<CompareReport['tensors'][number], 'relativeError' | 'maxAbsolute' | 'reason'>> {
  if (left === undefined || right === undefined) {
    const [side, opened] = left === undefined ? ['A', a] : ['B', b];
    return { reason: `${side}: ${opened.whyNot(name) ?? 'cannot be read'}` };
  }
  try {
    const { relativeError, maxAbsolute } = await subtract(context, left, right, 1, 1);
    return Number.isFinite(relativeError)
      ? { relativeError, maxAbsolute }
      : { maxAbsolute, reason: 'A: all values are 0' };
  } catch (error) {
    const { code, message, file } = LqError.from(error);
    if (!OWN_FAULTS.has(code)) throw error;
    const side = file !== undefined && left.tensor.parts.some(part => part.file === file) ? 'A: ' : 'B: ';
    return { reason: side + message };
  }
}

/** Smaller matrices may be equal by chance, or for good reasons. */
const LEAST_HASHED_BYTES = 1024;

/** Header faults and missing shards, then every tensor's values: NaN, Inf, dead rows, duplicates. */
export async function health(context: PipelineContext, params: HealthRequest): Promise<HealthFinding[]> {
  const { index, readable } = await openWeights(context, params.model);
  const findings = structureFindings(index.problems);
  const measured = await measure(context, readable, 0);
  readable.forEach(({ tensor }, i) => findings.push(...statisticsFindings(tensor, measured[i]!)));
  const hashed = [];
  for (const { tensor } of readable)
    if (tensor.shape.length === 2 && tensor.bytes >= LEAST_HASHED_BYTES)
      hashed.push({ tensor, hash: await contentHash(context, tensor) });
  return collapseRepeated([...findings, ...duplicateFindings(hashed)]);
}
