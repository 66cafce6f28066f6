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
 * Kinds of work and their units: `modelUnits` for the language model; weights x options for encoding and for what is
 * quantised alone; `loopUnits` of every option for the LQ iteration; for carrying a plan out in any order the same of one
 * option; for doing so in layer order the seconds that its parts alone would take.
 */
export type Work = 'fisher' | 'calibrate' | 'sweep' | 'quantize' | 'encode' | 'decompose' | 'pass' | 'evaluate';
/** The paces of the last runs, newest first, by `rateKey`. */
type Rates = Record<string, number[] | undefined>;
/** Options of one method take very different times from those of another: what goes by method is kept by it. */
const rateKey = (work: Work, method?: string): string => (method === undefined ? work : `${work} ${method}`);
/** Runs that are remembered: the middle one counts, so that neither a contended run nor one from the cache is believed alone. */
const REMEMBERED = 5;

/** What a token costs beside its products with weights (norms, attention, the loss, its text), in weights. */
const WEIGHTS_OF_A_TOKEN = 6e6;

/** Units of taking tokens through a language model of so many weights. */
export const modelUnits = (weights: number, tokens: number): number => tokens * (weights + WEIGHTS_OF_A_TOKEN);

/** Units a second where nothing has been measured: two CPU cores, or one accelerator of the last generation. */
const DEFAULT_RATES: Readonly<Record<'cpu' | 'cuda', Readonly<Record<Work, number>>>> = {
  cpu: {
    fisher: 5e10,
    calibrate: 4.5e10,
    sweep: 5e8,
    quantize: 2e8,
    encode: 3.5e6,
    decompose: 1e8,
    pass: 0.8,
    evaluate: 2e11,
  },
  cuda: {
    fisher: 2e13,
    calibrate: 2e13,
    sweep: 1e11,
    quantize: 2e10,
    encode: 5e8,
    decompose: 2e9,
    pass: 1,
    evaluate: 1e14,
  },
};
/** Work shorter than this says little about pace. */
const SHORTEST_MEASURE_S = 1;

/** Remembers how fast a kind of work went, where the cache can be written: a pace is nothing to fail for. */
export async function recordRate(
  context: PipelineContext,
  work: Work,
  units: number,
  seconds: number,
  method?: string,
): Promise<void> {
  if (seconds < SHORTEST_MEASURE_S || units <= 0) return;
  const rates = await ratesOf(context);
  const key = rateKey(work, method);
  const known = [units / seconds, ...(rates[key] ?? [])].slice(0, REMEMBERED);
  await writeCached(context, 'rates', rateOwner(context), { ...rates, [key]: known }).catch(() => undefined);
}

/** Seconds that `units` of work will take here: at the pace of the middle one of the last runs. */
export async function predictSeconds(
  context: PipelineContext,
  work: Work,
  units: number,
  method?: string,
): Promise<number> {
  const known = [...((await ratesOf(context))[rateKey(work, method)] ?? [])].sort((a, b) => b - a);
  const middle = known[Math.floor((known.length - 1) / 2)];
  return units / (middle ?? DEFAULT_RATES[backendOf(context)][work]);
}

const ratesOf = async (context: PipelineContext): Promise<Rates> =>
  (await readCached<Rates>(context, 'rates', rateOwner(context))) ?? {};

/** Paces are of a device, and of what was counted, which has changed. */
const rateOwner = ({ device }: PipelineContext): unknown => ({ version: 3, device });

/** The engine with its libraries, before it has a model. */
const BASE_MEMORY = 75e6;
/** Scratch of the threads that go through matrices again and again, and pages of the heap that are not given back. */
const SCRATCH_MEMORY = 25e6;
/** Activations of a batch, which native/cpu/lm/model.h bounds: of a run forwards, and of one that comes back. */
const FORWARD_BYTES = 2 ** 29;
const BACKWARD_BYTES = 2 ** 30;
/** Tokens a batch at most (native/cpu/lm/run.h). */
const MOST_TOKENS = 8192;
/** Floats a token and hidden unit on the way forwards: the stream, what attention reads and what it gives. */
const FORWARD_COPIES = 4;
/** Bytes of logits on the way back, of all threads (native/cpu/lm/head.cc). */
const LOGIT_BYTES = 2 ** 27;

/** Bytes an element of [cols, cols] that encoding under K-FAC holds: the moment, H and its factor in double precision. */
const MOMENT_BYTES = 4 + 8 + 8;

/** What of a compression decides its memory. Tokens are 0 where nothing of the kind is done. */
export interface Held {
  readonly evaluatedTokens: number;
  readonly calibratedTokens: number;
  readonly kfac: boolean;
  /** Bytes of second moments that are held at a time. */
  readonly heldStatistics: number;
  /** Tokens of the second pass. */
  readonly passTokens: number;
  /** Whether matrices go through the LQ iteration or the second pass, and are not quantised alone. */
  readonly loops: boolean;
}

/**
 * Resident bytes of the engine at most: files as they are mapped, and the largest of its stages. The language model holds one
 * layer or the head in fp32, and of two models when their predictions are compared; statistics add every layer's activations
 * and the sums themselves; the second pass holds the hidden states of all its tokens twice.
 */
export function peakMemory(
  index: CheckpointIndex,
  targets: readonly LogicalTensor[],
  outputBytes: number,
  { evaluatedTokens, calibratedTokens, kfac, heldStatistics, passTokens, loops }: Held,
): number {
  const sum = (of: readonly LogicalTensor[], value: (target: LogicalTensor) => number): number =>
    of.reduce((total, target) => total + value(target), 0);
  const layers = [...new Set(targets.map(({ layer }) => layer))].map(number =>
    targets.filter(({ layer }) => layer === number),
  );
  const most = (value: (layer: readonly LogicalTensor[]) => number): number => Math.max(0, ...layers.map(value));
  const weights = ({ parameters }: LogicalTensor): number => parameters;
  const outputs = ({ shape }: LogicalTensor): number => shape[0] ?? 1;
  const columns = [...new Set(targets.map(({ shape }) => shape[1] ?? 1))];
  const hidden = Math.max(0, ...targets.map(target => Math.min(...target.shape)));
  const vocabulary = index.config?.['vocab_size'];
  const head = typeof vocabulary === 'number' ? vocabulary * hidden : 0;
  const part =
    4 *
    Math.max(
      most(layer => sum(layer, weights)),
      head,
    );

  const largest = Math.max(0, ...targets.map(weights));
  const matrices = 3 * 4 * largest + (kfac ? MOMENT_BYTES * Math.max(0, ...columns) ** 2 : 0);
  const evaluation =
    evaluatedTokens === 0
      ? 0
      : 2 * part + Math.min(FORWARD_BYTES, 2 * 4 * FORWARD_COPIES * hidden * Math.min(MOST_TOKENS, evaluatedTokens));
  const token = layers.length * (most(layer => sum(layer, outputs)) + hidden) + 4 * hidden;
  const sums = kfac ? columns.reduce((total, cols) => total + layers.length * cols ** 2, 0) : sum(targets, weights);
  const statistics =
    calibratedTokens === 0
      ? 0
      : 2 * part +
        (kfac ? Math.min(heldStatistics, 4 * sums) : 4 * sums) +
        Math.min(BACKWARD_BYTES, 4 * token * Math.min(MOST_TOKENS, calibratedTokens)) +
        Math.min(LOGIT_BYTES, (4 * calibratedTokens * head) / (hidden || 1));
  const pass = passTokens === 0 ? 0 : matrices + 2 * 4 * passTokens * hidden + part;
  const mapped = index.bytes + (evaluatedTokens > 0 ? outputBytes : 0);
  return BASE_MEMORY + (loops ? SCRATCH_MEMORY : 0) + mapped + Math.max(matrices, evaluation, statistics, pass);
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
