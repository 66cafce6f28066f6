/**
 * What a compression will take before it runs. Times come from the pace of this machine's own earlier runs, kept in the
 * cache; a machine that has none yet starts from cautious defaults.
 */
import type { Budget } from './options/budget';
import { readCached, writeCached } from './storage/cache';
import type { CheckpointIndex, LogicalTensor } from './checkpoint/types';
import { backendOf, type PipelineContext } from './context';
import type { Sizes } from './export/target';
import { optionBits } from './options/option';
import type { Option } from './options/types';

/**
 * Kinds of work and their units: weights x tokens for the language model, weights x options for the sweep and for
 * encoding, weights for the decomposition.
 */
export type Work = 'fisher' | 'calibrate' | 'sweep' | 'encode' | 'decompose' | 'evaluate';
/** The paces of the last runs, newest first. */
type Rates = Partial<Record<Work, number[]>>;
/** Runs that are remembered: the middle one counts, so that neither a contended run nor one from the cache is believed alone. */
const REMEMBERED = 5;

/** Units a second where nothing has been measured: two CPU cores, or one accelerator of the last generation. */
const DEFAULT_RATES: Readonly<Record<'cpu' | 'cuda', Readonly<Record<Work, number>>>> = {
  cpu: { fisher: 1e10, calibrate: 1e10, sweep: 5e7, encode: 3e6, decompose: 1e6, evaluate: 3e10 },
  cuda: { fisher: 2e13, calibrate: 2e13, sweep: 5e9, encode: 5e8, decompose: 2e8, evaluate: 1e14 },
};
/** Work shorter than this says little about pace. */
const SHORTEST_MEASURE_S = 0.2;

/** Remembers how fast a kind of work went. */
export async function recordRate(context: PipelineContext, work: Work, units: number, seconds: number): Promise<void> {
  if (seconds < SHORTEST_MEASURE_S || units <= 0) return;
  const rates = (await readCached<Rates>(context, 'rates', context.device)) ?? {};
  const known = [units / seconds, ...pacesOf(rates, work)].slice(0, REMEMBERED);
  await writeCached(context, 'rates', context.device, { ...rates, [work]: known });
}

/** Seconds that `units` of work will take here. */
export async function predictSeconds(context: PipelineContext, work: Work, units: number): Promise<number> {
  const rates = (await readCached<Rates>(context, 'rates', context.device)) ?? {};
  const fallback = DEFAULT_RATES[backendOf(context)][work];
  const known = pacesOf(rates, work).sort((a, b) => b - a);
  return units / (known[Math.floor((known.length - 1) / 2)] ?? fallback);
}

/** An earlier version kept one number. */
const pacesOf = (rates: Rates, work: Work): number[] => [rates[work] ?? []].flat();

/** Processes, runtime and scratch of the stages that work matrix by matrix. */
const BASE_MEMORY = 300e6;
/** Sequences the language model works on at a time, fp32 activations a token and hidden unit of one layer. */
const ACTIVATION_COPIES = 24;
const BATCH_TOKENS = 4096;

/** Bytes an element of [cols, cols] that encoding under K-FAC holds: the moment, H and its factor in double precision. */
const MOMENT_BYTES = 4 + 8 + 8;

/**
 * Bytes the engine and its client need at most: the largest of the matrix stages, the language model and the second pass. The
 * model is held as it is stored, with one layer and the output head in fp32; Fisher information adds gradients of both, every
 * layer's input, and the sums themselves. The second pass holds the hidden states of all its `pass` tokens twice.
 */
export function peakMemory(
  index: CheckpointIndex,
  targets: readonly LogicalTensor[],
  { evaluates, calibrates, kfac, pass }: { evaluates: boolean; calibrates: boolean; kfac: boolean; pass: number },
): number {
  const weights = targets.reduce((sum, target) => sum + target.parameters, 0);
  const largest = Math.max(0, ...targets.map(target => target.parameters));
  const widest = kfac ? Math.max(0, ...targets.map(({ shape }) => shape[1] ?? 1)) : 0;
  const matrixStages = BASE_MEMORY + 3 * 4 * largest + MOMENT_BYTES * widest ** 2;
  if (!evaluates && !calibrates) return matrixStages;
  const layers = new Map<number, number>();
  for (const target of targets) layers.set(target.layer, (layers.get(target.layer) ?? 0) + target.parameters);
  const layer = Math.max(0, ...layers.values());
  const hidden = Math.max(0, ...targets.map(target => Math.min(...target.shape)));
  const vocabulary = index.config?.['vocab_size'];
  const head = typeof vocabulary === 'number' ? vocabulary * hidden : 0;
  const stream = 4 * BATCH_TOKENS * hidden;
  const forward = BASE_MEMORY + index.bytes + 4 * Math.max(layer, head) + ACTIVATION_COPIES * stream;
  const backward = 4 * Math.max(layer, head) + layers.size * stream + 4 * weights;
  const streams = pass === 0 ? 0 : matrixStages + 2 * 4 * (layer + pass * hidden);
  return Math.max(matrixStages, forward + (calibrates ? backward : 0), streams);
}

/** Smallest and largest value of a budget kind that the options can meet. */
export function feasibleRange(
  kind: Budget['kind'],
  { kept, matrices, bytesOf }: Sizes,
  options: readonly Option[],
): { minimum: number; maximum: number } {
  const weights = matrices.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  let minimum = 0;
  let maximum = 0;
  for (const { rows, cols } of matrices) {
    const sizes = options.flatMap(option => {
      const bytes = bytesOf(option, rows, cols);
      if (bytes === undefined) return [];
      return [kind === 'bits' ? optionBits(option, rows, cols) : 8 * bytes];
    });
    minimum += Math.min(...sizes);
    maximum += Math.max(...sizes);
  }
  if (kind === 'bytes') return { minimum: kept + minimum / 8, maximum: kept + maximum / 8 };
  return { minimum: minimum / weights, maximum: maximum / weights };
}
