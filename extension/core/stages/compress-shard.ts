/** One worker's part of a compression: of its statistics, its sweep and the encoding of its plan. It writes no output. */
import type { PipelineContext } from '../context';
import { encoderOf } from '../decomposition/decompose';
import { encodeShard } from '../decomposition/encoded';
import type { ChosenMethod } from '../method';
import type { Target } from '../export/target';
import { choosePlan, prepareCompression } from '../pipeline';
import type { CompressRequest } from '../requests/requests';
import type { ShardReport } from '../sensitivity/types';
import type { Shard } from '../shards';
import { holdEntry } from '../storage/cache';
import { plan, type Planner } from './plan';
import { metricOf } from './statistics';
import { sweepPart } from './sweep';

/** Why the matrices of a plan are encoded by the process that writes the output; undefined: workers share them. */
function encodedAlone({ byMatrix }: Target, { alpha }: ChosenMethod): string | undefined {
  if (!byMatrix) return 'What is asked for encodes its matrices as it writes its file: one process does both.';
  if (alpha !== undefined)
    return 'In layer order each matrix is encoded on what those before it give: one process does it (--no-second-pass shares it).';
  return undefined;
}

/**
 * Does first what no other worker has done or is at. Once the sweep is whole, which the last workers see to, each plans for
 * itself, all alike, and encodes into the cache that they share; the same request without a shard then writes the output.
 * Errors: those of `compress`.
 */
export async function compressShard(
  asked: PipelineContext,
  request: CompressRequest,
  shard: Shard,
  planner: Planner = wanted => plan(asked.files, wanted),
): Promise<ShardReport> {
  const { context, ...subject } = await prepareCompression(asked, request);
  const { method, target, prepared } = subject;
  const { opened } = prepared;
  const start = context.now();
  const metric = await metricOf(context, opened, method, request, shard);
  const cached = request.calibration === undefined ? undefined : metric.file;
  const release = cached === undefined ? undefined : await holdEntry(context, cached);
  try {
    const swept = await sweepPart(context, { method, prepared, metric }, request, shard);
    const alone = encodedAlone(target, method);
    if (alone !== undefined) return { ...swept, encoded: alone };
    const chosen = await choosePlan(
      context,
      request,
      { method, prepared, metric, timed: (_, work) => work() },
      planner,
    );
    const encoding = { index: opened.index, metric, ...chosen };
    const encoded = await encodeShard(context, encoding, shard, encoderOf(encoding));
    return { ...swept, encoded, seconds: (context.now() - start) / 1000 };
  } finally {
    await release?.();
  }
}
