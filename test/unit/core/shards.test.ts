import { describe, expect, it } from 'vitest';
import { formatShard, parseShard, shardOrder } from '../../../extension/core/shards';
import { matricesOf405B, simulate } from './cluster-simulation';

describe('a shard', () => {
  it('is named by hand, counted from 1', () => {
    expect(parseShard('2/8', {})).toEqual({ index: 1, count: 8 });
    expect(formatShard({ index: 1, count: 8 })).toBe('2/8');
    for (const wrong of ['0/8', '9/8', '2', 'x/8', '2/0', '1.5/2', '-1/2'])
      expect(() => parseShard(wrong, {}), wrong).toThrow(expect.objectContaining({ code: 'usage' }) as Error);
  });

  it('is what the scheduler says', () => {
    const slurm = {
      SLURM_ARRAY_TASK_ID: '14',
      SLURM_ARRAY_TASK_MIN: '10',
      SLURM_ARRAY_TASK_STEP: '2',
      SLURM_ARRAY_TASK_COUNT: '4',
    };
    expect(parseShard('auto', slurm)).toEqual({ index: 2, count: 4 });
    expect(parseShard('auto', { JOB_COMPLETION_INDEX: '3', LQ_STUDIO_SHARDS: '4' })).toEqual({ index: 3, count: 4 });
    expect(parseShard('auto', {})).toEqual({ index: 0, count: 1 });
    expect(() => parseShard('auto', { JOB_COMPLETION_INDEX: '3' })).toThrow(/LQ_STUDIO_SHARDS/);
    expect(() => parseShard('auto', { SLURM_ARRAY_TASK_ID: '3' })).toThrow(/array/);
  });
});

describe('the order of a worker', () => {
  const weights = [5, 9, 1, 7, 3, 8, 2];

  it('is its own stripe, largest first, then the rest, each once', () => {
    const first = shardOrder(weights, { index: 0, count: 3 });
    expect(first.slice(0, 3).map(i => weights[i])).toEqual([9, 5, 1]);
    for (const index of [0, 1, 2])
      expect([...shardOrder(weights, { index, count: 3 })].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  it('covers every piece by some worker first, whatever the number of workers', () => {
    for (const count of [1, 2, 5, 7, 20]) {
      const firsts = Array.from({ length: count }, (_, index) => shardOrder(weights, { index, count }));
      const stripes = firsts.flatMap((order, index) => order.slice(0, Math.max(0, Math.ceil((7 - index) / count))));
      expect([...stripes].sort(), `${count}`).toEqual([0, 1, 2, 3, 4, 5, 6]);
    }
  });
});

describe('a sweep of a 405B model over many workers, simulated', () => {
  it.each([
    // As docs/clusters.md has them: workers, seconds to the end, share of the time at work, looks at others' pieces a matrix.
    [8, 28 * 60, 0.999, 7],
    [64, 3.6 * 60, 0.994, 63],
    [512, 36, 0.952, 511],
  ])('with %i workers has the figures of the documentation', (workers, seconds, share, looks) => {
    const { makespan, utilisation, tries } = simulate(matricesOf405B(), workers, { seed: workers });
    expect(Math.abs(makespan / seconds - 1)).toBeLessThan(0.02);
    expect(utilisation).toBeCloseTo(share, 2);
    expect(Math.round(tries / 882)).toBe(looks);
  });

  it.each([
    [64, 0.9],
    [512, 0.9],
  ])('%i workers are at work for at least the promised share of the time they hold', (workers, share) => {
    const result = simulate(matricesOf405B(), workers, { seed: workers });
    expect(result.measured).toBe(882);
    expect(result.twice).toBe(0);
    expect(result.utilisation).toBeGreaterThan(share);
    // Tries of a claim that another holds or a result that is there, for one piece of work done.
    expect(result.tries / 882).toBeLessThanOrEqual(workers);
  });

  it('loses no more than its matrix to a worker that dies, and little to a slow one', () => {
    const undisturbed = simulate(matricesOf405B(), 64, { seed: 1 });
    const slow = simulate(matricesOf405B(), 64, { seed: 1, slow: 4 });
    expect(slow.makespan / undisturbed.makespan).toBeLessThan(1.35);
    const died = simulate(matricesOf405B(), 64, { seed: 1, dies: 5 });
    expect(died.measured).toBe(881);
    // What it would have done next, others do besides: at most one more of the largest each.
    expect(died.makespan - undisturbed.makespan).toBeLessThan(1.1 * undisturbed.longest);
  });
});
