import * as vscode from 'vscode';
import { LqError } from '../../core/errors';
import type { TensorStatistics } from '../../core/analysis/types';
import type { CheckpointView, TensorTwin } from '../../protocol/panels';
import { tensorRow } from '../model/header';
import type { Model } from '../model/models';
import { madeFrom, originOf, type Compression } from '../model/related';
import type { Controller } from './controller';
import { jobSettings } from '../settings';
import { computeStatistics, startStatistics } from '../statistics';
import type { Studio } from '../studio';
import { modelOf, onModelChange } from './subject';

/** The checkpoint panel: everything about the files at once, values of one tensor as they are asked for. */
export const checkpoint: Controller<'checkpoint'> = ({ studio, target, emit, own }) => {
  const open = () => modelOf(studio, target);
  const view = async () => viewOf(studio, await open());

  own(onModelChange(studio, target, async () => emit('changed', await view())));
  own({
    dispose: studio.statistics.onAdd((model, statistics) => {
      void open().then(
        own => own.version === model.version && emit('statistics', statistics),
        () => undefined, // the files went away; the panel has been told
      );
    }),
  });
  if (target.model !== undefined) own(studio.selection.onAsk(target.model, tensor => emit('select', { tensor })));

  return {
    load: view,
    statistics: async ({ tensor }, { signal }) => ({
      computed: await computeStatistics(studio, await open(), tensor, signal),
    }),
    allStatistics: async () => {
      const job = await startStatistics(studio, await open());
      return job ? { job: job.id } : {};
    },
    spectrum: async ({ tensor, count }, { signal, progress }) =>
      studio.engine.request(
        'spectrum',
        { ...jobSettings(), model: (await open()).path, tensor, ...(count !== undefined && { count }) },
        { signal, onProgress: progress },
      ),
    preview: async ({ tensor, rows, cols }, { signal }) =>
      studio.engine.request(
        'preview',
        { ...jobSettings(), model: (await open()).path, tensor, rows, cols },
        { signal },
      ),
    twin: async ({ model: path, tensor, rows, cols }, { signal }) => {
      const model = await open();
      const other = (await twinsOf(studio, model)).find(each => each.model.path === path);
      return other?.model.byName.has(tensor) ? tensorTwin(studio, model, other, tensor, { rows, cols }, signal) : null;
    },
  };
};

interface Twin {
  model: Model;
  compression: Compression;
}

/** The original of a compressed checkpoint, or what was made from an original, newest first. */
async function twinsOf(studio: Studio, model: Model): Promise<Twin[]> {
  const jobs = studio.jobs.all();
  const origin = originOf(jobs, model.path);
  const candidates = origin ? [{ ...origin, other: origin.original }] : [];
  for (const each of madeFrom(jobs, model.path)) candidates.push({ ...each, other: each.output });
  const twins: Twin[] = [];
  for (const { other, ...compression } of candidates) {
    try {
      twins.push({ model: await studio.models.open(other), compression });
    } catch (error) {
      // Moved or deleted since; the others may be there.
      if (LqError.from(error).code !== 'file-not-found') throw error;
    }
  }
  return twins;
}

async function tensorTwin(
  studio: Studio,
  model: Model,
  { model: other, compression }: Twin,
  tensor: string,
  cells: { rows: number; cols: number },
  signal: AbortSignal,
): Promise<TensorTwin> {
  const settings = jobSettings();
  const [difference, preview] = await Promise.all([
    studio.engine.request('difference', { ...settings, a: model.path, b: other.path, tensor, ...cells }, { signal }),
    studio.engine.request('preview', { ...settings, model: other.path, tensor, ...cells }, { signal }),
  ]);
  const row = compression.report.matrices.find(each => each.name === tensor);
  await computeStatistics(studio, other, tensor, signal);
  return {
    model: other.path,
    name: tensor,
    difference,
    preview,
    statistics: (await studio.statistics.of(other)).get(tensor)!,
    ...(row && {
      option: row.label,
      bits: row.bits,
      effectiveBits: row.effectiveBits,
      ...(row.errorQuantized !== undefined && { errorQuantized: row.errorQuantized }),
      errorLq: row.errorLq,
      errorStored: row.errorStored,
    }),
  };
}

async function viewOf(studio: Studio, model: Model): Promise<CheckpointView> {
  const { index } = model;
  const files = new Map(index.shards.map((shard, i) => [shard.file, i]));
  const select = studio.selection.take(model.path) ?? studio.selection.take(model.file);
  const known: TensorStatistics[] = [...(await studio.statistics.of(model)).values()];
  const twins = await twinsOf(studio, model);
  return {
    header: model.header,
    canCompute: vscode.workspace.isTrusted,
    files: index.shards.map(shard => ({
      path: shard.file,
      name: shard.file.slice(index.folder.length + 1),
      bytes: shard.bytes,
      tensors: shard.tensors,
      missing: shard.missing === true,
    })),
    metadata: index.shards.flatMap(shard =>
      Object.entries(shard.metadata).map(([key, value]) => ({ file: shard.file, key, value })),
    ),
    problems: [...index.problems],
    rows: model.tensors.map(tensor => tensorRow(tensor, files)),
    statistics: known,
    ...(select !== undefined && { select }),
    twins: twins.map(each => each.model.header),
  };
}
