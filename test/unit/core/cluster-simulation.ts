/**
 * Workers of a shared sweep as events: each tries the pieces in its order, does one that nobody has claimed, and ends when
 * nothing is left to claim. Assumptions: a matrix takes time in proportion to its weights, with 10 % of noise; a look at a
 * claim or a result on the network folder takes 1.5 ms (three round trips); the machines are alike and start within 3 s.
 */
import { shardOrder } from '../../../extension/core/shards';

const LOOK_S = 0.0015;
/** Weights a second: the sweep of LLaMA-2-7B, 243 options at rank 64, took 220 s on one H100. */
const PACE = 3e7;

/** Weights of the matrices of Llama-3.1-405B: 126 layers, hidden 16384, inner 53248, 8 of 128 heads for keys and values. */
export function matricesOf405B(): number[] {
  const hidden = 16384;
  const layer = [
    hidden * hidden,
    1024 * hidden,
    1024 * hidden,
    hidden * hidden,
    ...Array<number>(3).fill(53248 * hidden),
  ];
  return Array.from({ length: 126 }, () => layer).flat();
}

export interface Simulated {
  /** Seconds until the last worker ends. */
  makespan: number;
  /** Time at work of all the time that workers hold their machines. */
  utilisation: number;
  /** Seconds of the longest piece. */
  longest: number;
  measured: number;
  twice: number;
  /** Looks at pieces that were not to be had. */
  tries: number;
}

/** @param options `slow`: one worker is so many times slower. `dies`: one worker dies in its so many-th piece. */
export function simulate(
  weights: readonly number[],
  count: number,
  { seed, slow = 1, dies }: { seed: number; slow?: number; dies?: number },
): Simulated {
  let state = seed;
  const random = (): number => (state = (state * 16807) % 2147483647) / 2147483647;
  const claimed = new Set<number>();
  const workers = Array.from({ length: count }, (_, index) => ({
    order: shardOrder(weights, { index, count }),
    at: 0,
    time: 3 * random(),
    start: 0,
    busy: 0,
    pieces: 0,
    pace: index === 0 ? PACE / slow : PACE,
  }));
  for (const worker of workers) worker.start = worker.time;
  const queue = [...workers].sort((a, b) => b.time - a.time);
  /** Back in its place by time, the earliest last. */
  const enqueue = (worker: (typeof workers)[number]): void => {
    let low = 0;
    for (let high = queue.length; low < high;) {
      const middle = (low + high) >> 1;
      if (queue[middle]!.time > worker.time) low = middle + 1;
      else high = middle;
    }
    queue.splice(low, 0, worker);
  };
  const done = new Map<number, number>();
  let tries = 0;
  for (let worker; (worker = queue.pop()) !== undefined;) {
    const piece = worker.order[worker.at++];
    if (piece === undefined) continue;
    worker.time += LOOK_S;
    if (claimed.has(piece)) {
      tries++;
      enqueue(worker);
      continue;
    }
    claimed.add(piece);
    worker.pieces++;
    if (worker === workers[1] && worker.pieces === dies) continue;
    const seconds = (weights[piece]! / worker.pace) * (0.9 + 0.2 * random());
    worker.time += seconds;
    worker.busy += seconds;
    done.set(piece, (done.get(piece) ?? 0) + 1);
    enqueue(worker);
  }
  const held = workers.reduce((sum, { time, start }) => sum + time - start, 0);
  return {
    makespan: Math.max(...workers.map(({ time }) => time)),
    utilisation: workers.reduce((sum, { busy }) => sum + busy, 0) / held,
    longest: Math.max(...weights) / PACE,
    measured: done.size,
    twice: [...done.values()].filter(times => times > 1).length,
    tries,
  };
}
