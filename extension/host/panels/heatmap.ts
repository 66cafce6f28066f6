import * as path from 'node:path';
import * as vscode from 'vscode';
import { LqError } from '../../core/errors';
import type { Progress } from '../../core/progress';
import type { HeatmapView, HeatValue, HeatValues, Metric, MetricId } from '../../protocol/panels';
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
import { madeFrom, originOf, type Compression } from '../model/related';
import type { Controller } from './controller';
import { jobSettings } from '../settings';
import { computeStatistics } from '../statistics';
import type { Studio } from '../studio';
import { modelOf, onModelChange } from './subject';

interface Subject {
  /** The dense side, or the only one. */
  original: Model;
  compressed?: Model;
  compression?: Compression;
}

/** The heatmap panel: a metric of every layer's weights, of the original and of what was made from it. */
export const heatmap: Controller<'heatmap'> = ({ studio, target, emit, own }) => {
  const external = new Map<MetricId, { metric: Metric; data: unknown }>();
  const open = async () => subjectOf(studio, await modelOf(studio, target));
  const view = async () =>
    viewOf(
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
    values: async ({ metric }, { signal, progress }) => {
      const subject = await open();
      const { cells } = heatGrid(subject.original.tensors);
      const own = external.get(metric);
      if (own) return { metric, original: externalValues(own.data, cells) ?? [] };
      if (isStatistic(metric)) {
        return statistics(studio, subject, metric, { signal, progress, emit: values => emit('values', values) });
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
async function subjectOf(studio: Studio, model: Model): Promise<Subject> {
  const jobs = studio.jobs.all();
  const origin = originOf(jobs, model.path);
  const original = origin && (await openIfThere(studio, origin.original));
  if (original) return { original, compressed: model, compression: origin };
  for (const compression of madeFrom(jobs, model.path)) {
    const compressed = await openIfThere(studio, compression.output);
    if (compressed) return { original: model, compressed, compression };
  }
  return { original: model };
}

async function openIfThere(studio: Studio, file: string): Promise<Model | undefined> {
  try {
    return await studio.models.open(file);
  } catch (error) {
    studio.output.debug(`${file} is not there any more: ${LqError.from(error).message}`);
    return undefined;
  }
}

function viewOf({ original, compressed, compression }: Subject, external: readonly Metric[]): HeatmapView {
  const { rows, layers, cells } = heatGrid(original.tensors);
  const metrics = metricsOf({
    canCompute: vscode.workspace.isTrusted,
    model: original.path,
    compression,
  });
  return {
    header: original.header,
    ...(compressed && { compressed: compressed.header }),
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
  watch: { signal: AbortSignal; progress: (progress: Progress) => void; emit: (values: HeatValues) => void },
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
  const onProgress = (progress: Progress) => {
    watch.progress(progress);
    // A picture four times a second is as fast as the eye follows.
    if (Date.now() - shown < 250) return;
    shown = Date.now();
    void all().then(watch.emit);
  };
  for (const model of compressed ? [original, compressed] : [original]) {
    const present = names.filter(name => model.byName.has(name));
    await computeStatistics(studio, model, present, { signal: watch.signal, onProgress });
  }
  return all();
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
