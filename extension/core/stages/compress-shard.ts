/** One worker's part of a compression: of its statistics, its sweep and the encoding of its plan. It writes no output. */
import type { PipelineContext } from '../context';
import { inOrder, matricesOf, packedPieces, type Encoding } from '../decomposition/decompose';
import { encodeShard, type EncodedShare } from '../decomposition/encoded';
import { encodeShardInOrder, type SecondPass } from '../decomposition/second-pass';
import { choosePlan, prepareCompression, secondPassOf } from '../pipeline';
import type { CompressRequest } from '../requests/requests';
import type { ShardReport } from '../sensitivity/types';
import { formatShard, type Shard } from '../shards';
import { holdEntry } from '../storage/cache';
import { withPost } from '../storage/posts';
import { plan, type Planner } from './plan';
import { metricOf } from './statistics';
import { sweepPart } from './sweep';
import { plansLazily } from './sweep-and-plan';

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
  const { context: own, ...subject } = await prepareCompression(asked, request);
  const { method, prepared } = subject;
  const { opened } = prepared;
  const { label } = opened.index;
  const { context, close } = await withPost(own, { request, label, worker: formatShard(shard) });
  const start = context.now();
  let release: (() => Promise<void>) | undefined;
  try {
    const metric = await metricOf(context, opened, method, request, shard);
    const cached = request.calibration === undefined ? undefined : metric.file;
    if (cached !== undefined) release = await holdEntry(context, cached);
    const lazily = plansLazily(request.costs ?? 'predicted', method);
    const swept = await sweepPart(context, { method, prepared, metric }, request, shard, () => !lazily);
    const chosen = await choosePlan(
      context,
      request,
      { method, prepared, metric, shared: true, timed: (_, work) => work() },
      planner,
    );
    context.post?.begin('decompose', chosen.plan.matrices.length);
    const pass = await secondPassOf(context, opened.index, method, request);
    const encoded =
      pass === undefined
        ? await encodeShard(context, prepared.pieces(context, { metric, ...chosen }), shard)
        : await encodeOrdered(context, { index: opened.index, metric, ...chosen }, pass, shard);
    return { ...swept, encoded, seconds: (context.now() - start) / 1000 };
  } finally {
    await release?.();
    await close();
  }
}

/** Of a plan in layer order: entries are those of our own format, which other outputs take their parts from. */
async function encodeOrdered(
  context: PipelineContext,
  encoding: Encoding,
  pass: SecondPass,
  shard: Shard,
): Promise<EncodedShare> {
  const { alone, ordered } = inOrder(encoding, pass, matricesOf(encoding));
  const own = await encodeShard(context, packedPieces(encoding, alone), shard);
  const inner = await encodeShardInOrder(context, ordered, shard);
  return {
    computed: [...own.computed, ...inner.computed],
    found: own.found + inner.found,
    left: own.left + inner.left,
  };
}
