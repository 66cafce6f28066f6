/**
 * What is in the cache already, found without reading any weights: entries are named by the content of files, and this
 * remembers which content files of a size and a time were last seen to have. For estimates alone: work itself looks again.
 */
import type { CheckpointIndex } from './checkpoint/types';
import { arithmeticOf, type PipelineContext } from './context';
import type { Opened } from './opened';
import type { CompressRequest } from './requests/requests';
import { DEFAULTS } from './requests/defaults';
import type { MetricKind, MetricRecipe } from './options/recipe';
import type { Metric } from './sensitivity/metric';
import { readCached, writeCached } from './storage/cache';

type Text = Pick<CompressRequest, 'calibration' | 'fisher' | 'samples' | 'context' | 'parts'>;

/** A metric by the hashes that costs are kept under. */
export interface KnownMetric {
  readonly recipe: MetricRecipe;
  /** The statistics' file in the cache or of the user. */
  readonly file?: string;
  readonly hashes: Readonly<Record<string, string>>;
}

/** Files by what changes with them, as far as that is seen without reading them. */
async function seen({ files }: PipelineContext, paths: readonly (string | undefined)[]): Promise<unknown> {
  const named = paths.filter(path => path !== undefined);
  return Promise.all(
    named.map(async path => {
      const stat = await files.stat(path);
      return [path, stat?.bytes, stat?.modified];
    }),
  );
}

const shardsOf = (index: CheckpointIndex): string[] => index.shards.map(({ file }) => file);

async function metricKey(context: PipelineContext, { index, targets }: Opened, kind: MetricKind, request: Text) {
  return {
    metric: kind,
    backend: arithmeticOf(context),
    files: await seen(context, [...shardsOf(index), request.calibration, request.fisher]),
    targets: targets.map(({ name }) => name),
    samples: request.samples ?? DEFAULTS.samples,
    context: request.context ?? DEFAULTS.context,
    ...(request.parts !== undefined && { parts: request.parts }),
  };
}

/** Remembers the statistics that a request's costs are weighed with. */
export async function rememberMetric(
  context: PipelineContext,
  opened: Opened,
  kind: MetricKind,
  request: Text,
  metric: Metric,
): Promise<void> {
  const hashes = Object.fromEntries(opened.targets.map(({ name }) => [name, metric.of(name).hash]));
  const known: KnownMetric = { recipe: metric.recipe, ...(metric.file !== undefined && { file: metric.file }), hashes };
  await writeCached(context, 'known', await metricKey(context, opened, kind, request), known);
}

/** The statistics of an earlier request of the same, while they are there. */
export async function findMetric(
  context: PipelineContext,
  opened: Opened,
  kind: MetricKind,
  request: Text,
): Promise<KnownMetric | undefined> {
  const known = await readCached<KnownMetric>(context, 'known', await metricKey(context, opened, kind, request));
  if (known?.file === undefined) return known;
  return (await context.files.stat(known.file)) ? known : undefined;
}

const baselineKey = async (
  context: PipelineContext,
  index: CheckpointIndex,
  { evalText, context: length, windows }: Pick<CompressRequest, 'evalText' | 'context' | 'windows'>,
) => ({
  baseline: [length ?? DEFAULTS.context, windows],
  backend: arithmeticOf(context),
  files: await seen(context, [...shardsOf(index), evalText]),
});

/** Remembers that the perplexity of a checkpoint on a text is known, and how many tokens the text had. */
export async function rememberBaseline(
  context: PipelineContext,
  index: CheckpointIndex,
  request: Pick<CompressRequest, 'evalText' | 'context' | 'windows'>,
  tokens: number,
): Promise<void> {
  await writeCached(context, 'known', await baselineKey(context, index, request), { tokens });
}

export const findBaseline = async (
  context: PipelineContext,
  index: CheckpointIndex,
  request: Pick<CompressRequest, 'evalText' | 'context' | 'windows'>,
): Promise<{ tokens: number } | undefined> =>
  readCached<{ tokens: number }>(context, 'known', await baselineKey(context, index, request));
