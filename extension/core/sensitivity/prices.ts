/**
 * What errors in an embedding or a head cost. Statistics of blocks do not speak of them; their price is measured: the divergence
 * from the original of a model with a coarse copy of the matrix.
 */
import { tensorBytes } from '../checkpoint/serialize';
import { knownHash, denseSource } from '../checkpoint/sources';
import type { CheckpointIndex, LogicalTensor } from '../checkpoint/types';
import { arithmeticOf, callNative, type PipelineContext } from '../context';
import { windowDivergence } from '../evaluation/divergence';
import { describeModel, forWindows } from '../evaluation/language-model';
import { EVALUATION_VERSION } from '../evaluation/text';
import type { Windows } from '../evaluation/windows';
import { joinPath } from '../files/paths';
import { logicalTensors } from '../logical/logical';
import { weightLookup } from '../logical/lookup';
import type { EncodedSource } from '../native';
import { nativeOption } from '../options/native-option';
import { optionParts } from '../options/option';
import type { Option } from '../options/types';
import { cachedOnce, makeRoom, waitReporter } from '../storage/cache';
import { modelHash } from './fisher';
import type { Metric } from './metric';

/** An option whose error shows in the predictions and is still small, and that any matrix can take. */
const PROBE: Option = {
  transform: 'none',
  grid: { kind: 'int', bits: 3, symmetric: false },
  scales: { kind: 'group', size: 32, type: 'fp16' },
  rounding: 'nearest',
  rank: 0,
};

/** Errors that change no prediction still have a price, in nats a token. */
const LEAST_DIVERGENCE = 1e-6;

/**
 * The cost of a unit of squared error of each of these matrices, in the unit of Fisher information of a window's mean loss.
 * That is a 1/T of a token's where T tokens are predicted, and predictions diverge by half of a token's F times e^2: with the
 * divergence d of a copy with the error e^2 the unit costs 2 d / (T e^2).
 * @throws LqError those of `describeModel` and of running a model; 'unsupported-model' for a matrix that is no part of it.
 */
export async function measuredPrices(
  context: PipelineContext,
  index: CheckpointIndex,
  targets: readonly LogicalTensor[],
  windows: Windows,
): Promise<Map<string, number>> {
  const model = await modelHash(context, logicalTensors(index));
  const prices = new Map<string, number>();
  for (const target of targets) {
    const key = {
      version: EVALUATION_VERSION,
      backend: arithmeticOf(context),
      model,
      config: index.config,
      matrix: [target.name, await knownHash(context, target)],
      windows: [windows.context, windows.predictions, windows.mask, context.digest(windows.tokens.join())],
      probe: PROBE,
    };
    const price = await cachedOnce<number>(context, 'price', key, {
      make: () => measurePrice(context, index, target, windows),
      onWait: waitReporter(context, 'evaluate', index.label),
    });
    prices.set(target.name, price!);
  }
  return prices;
}

async function measurePrice(
  context: PipelineContext,
  index: CheckpointIndex,
  target: LogicalTensor,
  windows: Windows,
): Promise<number> {
  const source = denseSource(target);
  const { rows, cols } = source;
  const path = joinPath(context.cache, `probe-${context.digest(`${source.path} ${target.name}`)}`);
  await makeRoom(context, path);
  let at = 0;
  const parts: EncodedSource['parts'] = {};
  for (const part of optionParts(PROBE, rows, cols)) {
    const bytes = tensorBytes(part);
    parts[part.name] = { path, offset: at, bytes };
    at += bytes;
  }
  await context.files.allocate(path, at, new Uint8Array(0));
  try {
    const option = nativeOption(PROBE);
    const parameters = { metric: { kind: 'plain' }, seed: context.seed } as const;
    const { squaredError } = await callNative(context, { file: path, tensor: target.name }, control =>
      context.native.encode(context.device, source, option, parameters, { parts }, control),
    );
    const probe: EncodedSource = { kind: 'encoded', rows, cols, option, seed: context.seed, parts };
    const own = weightLookup(index);
    const changed = describeModel(index, { lookup: name => (name === target.name ? probe : own(name)) });
    const { kl } = await windowDivergence(
      context,
      forWindows(describeModel(index), windows),
      forWindows(changed, windows),
      windows,
    );
    return (2 * Math.max(kl.mean, LEAST_DIVERGENCE)) / (windows.predictions * (squaredError || 1));
  } finally {
    await context.files.remove(path);
  }
}

/** A metric that has these matrices too, each weighing its plain squared error by a price. */
export function withPrices(metric: Metric, prices: ReadonlyMap<string, number>): Metric {
  return {
    ...metric,
    of(name) {
      const price = prices.get(name);
      if (price === undefined) return metric.of(name);
      return { native: { kind: 'plain' }, scale: price, hash: `plain ${price}` };
    },
  };
}
