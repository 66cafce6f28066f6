/**
 * One worker's part of work that several share: which pieces it tries, and in what order. Claims see to it that each piece
 * is done once; the order sees to it that workers seldom meet and end together.
 */
import { LqError } from './errors';

/** A worker among `count`, counted from 0. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

/**
 * The shard that an option names: `2/8` is the second of eight; `auto` asks the scheduler: a Slurm array task
 * (SLURM_ARRAY_TASK_ID, _MIN, _STEP, _COUNT), a pod of an indexed Kubernetes job (JOB_COMPLETION_INDEX, with the job's
 * completions in LQ_STUDIO_SHARDS, since Kubernetes does not tell), or else the only one.
 * @throws LqError 'usage'.
 */
export function parseShard(text: string, environment: Readonly<Record<string, string | undefined>>): Shard {
  if (text === 'auto') return scheduled(environment);
  const match = /^(\d+)\/(\d+)$/.exec(text);
  return checked(Number(match?.[1]) - 1, Number(match?.[2]), `--shard must be auto or look like 2/8, not "${text}".`);
}

function scheduled(environment: Readonly<Record<string, string | undefined>>): Shard {
  const of = (name: string, fallback?: number): number =>
    environment[name] === undefined ? (fallback ?? NaN) : Number(environment[name]);
  const slurm = 'SLURM_ARRAY_TASK_ID';
  if (environment[slurm] !== undefined) {
    const index = (of(slurm) - of('SLURM_ARRAY_TASK_MIN', 0)) / of('SLURM_ARRAY_TASK_STEP', 1);
    return checked(
      index,
      of('SLURM_ARRAY_TASK_COUNT'),
      `Slurm's array task ${environment[slurm]} is none of a whole array.`,
    );
  }
  const pod = environment['JOB_COMPLETION_INDEX'];
  if (pod !== undefined)
    return checked(
      Number(pod),
      of('LQ_STUDIO_SHARDS'),
      'Set LQ_STUDIO_SHARDS to the number of completions of the job.',
    );
  return { index: 0, count: 1 };
}

function checked(index: number, count: number, otherwise: string): Shard {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(count) || index < 0 || index >= count)
    throw new LqError('usage', otherwise);
  return { index, count };
}

/** As people write it, counted from 1. */
export const formatShard = ({ index, count }: Shard): string => `${index + 1}/${count}`;

/**
 * The order in which a worker tries the pieces of the given weights: its own stripe of them, largest first; then what
 * others may not have come to yet, smallest first, beginning with the stripe after its own.
 */
export function shardOrder(weights: readonly number[], { index, count }: Shard): number[] {
  const bySize = weights.map((_, i) => i).sort((a, b) => weights[b]! - weights[a]! || a - b);
  const own = bySize.filter((_, k) => k % count === index);
  const others = bySize
    .map((piece, k) => ({ piece, round: Math.floor(k / count), distance: ((k % count) - index + count) % count }))
    .filter(({ distance }) => distance !== 0)
    .sort((a, b) => b.round - a.round || a.distance - b.distance);
  return [...own, ...others.map(({ piece }) => piece)];
}
