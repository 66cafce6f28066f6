import * as path from 'node:path';
import * as vscode from 'vscode';
import { LqError } from '../../core/errors';
import type { Progress } from '../../core/progress';
import type { HeatMatrix, HeatmapView, HeatValue, HeatValues, Metric, MetricId } from '../../protocol/panels';
import {
  externalValues,
  fisherValues,
  heatGrid,
  isOutcome,
  isStatistic,
  outcomeValues,
  statisticValues,
  storedBits,
} from '../model/heat';
import { metricsOf } from '../model/metrics';
import type { Model } from '../model/models';
import { givenOf } from '../model/given';
import { madeFrom, originOf, type Compression } from '../model/related';
import type { Controller } from './controller';
import { jobSettings } from '../settings';
import { computeStatistics, startStatistics } from '../statistics';
import type { Studio } from '../studio';
import { choicesOf, modelOf, onModelChange } from './subject';

interface Subject {
  /** The dense side, or the only one. */
  original: Model;
  compressed?: Model;
  compression?: Compression;
}

/** The heatmap panel: a metric of every layer's weights, of the original and of what was made from it. */
export const heatmap: Controller<'heatmap'> = ({ studio, target, emit, own }) => {
  const external = new Map<MetricId, { metric: Metric; data: unknown }>();
  /** The compression that was chosen among several; the newest that is there otherwise. */
  let chosen: string | undefined;
  const open = async () => subjectOf(studio, await modelOf(studio, target), chosen);
  const view = async () =>
    viewOf(
      studio,
      await open(),
      [...external.values()].map(each => each.metric),
    );

  own(onModelChange(studio, target, async () => emit('changed', await view())));
  own({
    dispose: studio.jobs.onChange(job => {
      if (job.method !== 'compress' || job.status !== 'done') return;
      void view().then(changed => emit('changed', changed));
    }),
  });

  return {
    load: view,
    choose: ({ compressed }) => {
      chosen = compressed;
      return view();
    },
    statistics: async ({ tensor }, { signal }) => {
      const { original } = await open();
      await computeStatistics(studio, original, tensor, signal);
      return (await studio.statistics.of(original)).get(tensor)!;
    },
    spectrum: async ({ tensor, count }, { signal, progress }) => {
      const { original } = await open();
      const request = { ...jobSettings(), model: original.path, tensor, count };
      return studio.engine.request('spectrum', request, { signal, onProgress: progress });
    },
    matrix: async ({ tensor }) => matrixOf(studio, await open(), tensor),
    values: async ({ metric }, { signal, progress }) => {
      const subject = await open();
      const { cells } = heatGrid(subject.original.tensors);
      const own = external.get(metric);
      if (own) return { metric, original: externalValues(own.data, cells) ?? [] };
      if (isStatistic(metric)) {
        return statistics(studio, subject, metric, { progress, emit: values => emit('values', values) });
      }
      if (metric === 'fisher-mass') {
        return { metric, original: await fisherMass(studio, subject, signal, progress) };
      }
      if (isOutcome(metric)) return outcome(subject, metric);
      throw new LqError('usage', `There is no metric ${metric}.`);
    },
    external: async ({ file }) => {
      const uri = file === undefined ? await askForNumbers() : vscode.Uri.file(file);
      if (!uri) return null;
      const data = await readJson(uri);
      const { cells } = heatGrid((await open()).original.tensors);
      const base = path.basename(uri.fsPath);
      if (!externalValues(data, cells)) {
        throw new LqError('usage', `${base} has no number for any layer of this checkpoint.`, { file: uri.fsPath });
      }
      const metric: Metric = {
        id: `external:${uri.fsPath}`,
        label: path.basename(uri.fsPath, '.json'),
        unit: '',
        about: `Numbers of ${base}.`,
        scale: 'sequential',
        log: false,
        status: 'ready',
      };
      external.set(metric.id, { metric, data });
      return { file: uri.fsPath, metric };
    },
  };
};

async function askForNumbers(): Promise<vscode.Uri | undefined> {
  const [uri] =
    (await vscode.window.showOpenDialog({
      title: 'Numbers by Tensor or Layer',
      openLabel: 'Show',
      filters: { JSON: ['json'] },
    })) ?? [];
  return uri;
}

/** Both sides of a compression, whichever of them the panel was opened for. */
async function subjectOf(studio: Studio, model: Model, chosen: string | undefined): Promise<Subject> {
  const jobs = studio.jobs.all();
  const origin = originOf(jobs, model.path);
  const original = (origin && (await openIfThere(studio, origin.original))) ?? model;
  const all = madeFrom(jobs, original.path);
  const wanted = chosen ?? (original === model ? undefined : model.path);
  for (const compression of [...all.filter(({ output }) => output === wanted), ...all]) {
    const compressed = await openIfThere(studio, compression.output);
    if (compressed) return { original, compressed, compression };
  }
  return { original };
}

async function openIfThere(studio: Studio, file: string): Promise<Model | undefined> {
  try {
    return await studio.models.open(file);
  } catch (error) {
    studio.output.debug(`${file} is not there any more: ${LqError.from(error).message}`);
    return undefined;
  }
}

async function viewOf(
  studio: Studio,
  { original, compressed, compression }: Subject,
  external: readonly Metric[],
): Promise<HeatmapView> {
  const { rows, layers, cells } = heatGrid(original.tensors);
  const metrics = metricsOf({
    canCompute: vscode.workspace.isTrusted,
    model: original.path,
    compression,
  });
  return {
    header: original.header,
    ...(compressed && { compressed: compressed.header }),
    compressions: await choicesOf(studio, original.path),
    rows,
    layers,
    cells,
    metrics: [...metrics, ...external],
    metric: compression ? 'relative-error' : 'bits',
  };
}

function outcome({ original, compressed, compression }: Subject, metric: MetricId): HeatValues {
  const { cells } = heatGrid(original.tensors);
  const isBits = metric === 'bits' || metric === 'effective-bits';
  return {
    metric,
    ...(isBits && { original: storedBits(cells, original.byName) }),
    ...(compressed && compression && { compressed: outcomeValues(metric, cells, compression.report.matrices) }),
  };
}

async function statistics(
  studio: Studio,
  { original, compressed }: Subject,
  metric: MetricId,
  watch: { progress: (progress: Progress) => void; emit: (values: HeatValues) => void },
): Promise<HeatValues> {
  const { cells } = heatGrid(original.tensors);
  const names = cells.map(cell => cell.name);
  const valuesOf = async (model: Model): Promise<HeatValue[]> =>
    statisticValues(metric, cells, await studio.statistics.of(model));
  const all = async (): Promise<HeatValues> => ({
    metric,
    original: await valuesOf(original),
    ...(compressed && { compressed: await valuesOf(compressed) }),
  });
  let shown = 0;
  const showPieces = () => {
    // A picture four times a second is as fast as the eye follows.
    if (Date.now() - shown < 250) return;
    shown = Date.now();
    void all().then(watch.emit);
  };
  const stop = studio.statistics.onAdd(model => {
    if (model.version === original.version || model.version === compressed?.version) showPieces();
  });
  try {
    for (const model of compressed ? [original, compressed] : [original]) {
      const present = names.filter(name => model.byName.has(name));
      await finishStatistics(studio, model, present, watch.progress);
    }
  } finally {
    stop();
  }
  return all();
}

/** Waits for jobs that compute what is missing; closing the panel ends the waiting, not the job. */
async function finishStatistics(
  studio: Studio,
  model: Model,
  tensors: readonly string[],
  progress: (progress: Progress) => void,
): Promise<void> {
  for (
    let job = await startStatistics(studio, model, tensors);
    job;
    job = await startStatistics(studio, model, tensors)
  ) {
    const { id } = job;
    const stop = studio.jobs.onChange(changed => {
      if (changed.id === id && changed.progress) progress(changed.progress);
    });
    const ended = await studio.jobs.settled(id).finally(stop);
    if (ended.error) throw LqError.fromData(ended.error);
    if (ended.status !== 'done') throw new LqError('usage', 'The measurement was cancelled.');
  }
}

/** What is known of one matrix beside the metric: its values, and why it got what it was given. */
async function matrixOf(studio: Studio, { original, compression }: Subject, tensor: string): Promise<HeatMatrix> {
  const known = (await studio.statistics.of(original)).get(tensor);
  const row = compression?.report.matrices.find(({ name }) => name === tensor);
  return {
    tensor,
    ...(known && { statistics: known }),
    ...(row && compression && { given: givenOf(compression.report, row) }),
  };
}

/** Sums of the Fisher information that a compression used: the statistics of its file. */
async function fisherMass(
  studio: Studio,
  { original, compression }: Subject,
  signal: AbortSignal,
  onProgress: (progress: Progress) => void,
): Promise<HeatValue[]> {
  const model = compression?.report.fisher;
  if (model === undefined) throw new LqError('usage', 'No compression with Fisher information is known.');
  const statistics = await studio.engine.request('statistics', { ...jobSettings(), model }, { signal, onProgress });
  return fisherValues(heatGrid(original.tensors).cells, statistics);
}

async function readJson(uri: vscode.Uri): Promise<unknown> {
  const text = new TextDecoder().decode(await vscode.workspace.fs.readFile(uri));
  try {
    return JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new LqError('usage', `${path.basename(uri.fsPath)} is not JSON: ${reason}`, { file: uri.fsPath });
  }
}
