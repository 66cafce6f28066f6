import { describe, expect, it } from 'vitest';
import { formatProgress } from '../../../extension/core/format';
import { trackWhole, type Part } from '../../../extension/core/whole';
import type { Progress, Stage } from '../../../extension/core/progress';

/** A request that takes what `actual` says of each part, reported in steps; tells every report with the seconds truly left. */
function play(parts: readonly Part[], actual: Partial<Record<Stage, number>>, steps = 50) {
  let time = 0;
  const track = trackWhole(parts, () => time);
  const total = parts.reduce((sum, { stage }) => sum + (actual[stage] ?? 0), 0);
  const seen: { progress: Progress; left: number }[] = [];
  for (const { stage } of parts) {
    const seconds = actual[stage] ?? 0;
    if (seconds === 0) continue;
    for (let step = 0; step <= steps; step++) {
      if (step > 0) time += (1000 * seconds) / steps;
      seen.push({ progress: track({ stage, done: step, total: steps }), left: total - time / 1000 });
    }
  }
  return { seen, total };
}
const wholes = (seen: { progress: Progress }[]) => seen.map(({ progress }) => progress.whole!);

const parts: Part[] = [
  { stage: 'baseline', seconds: 30 },
  { stage: 'sweep', seconds: 60 },
  { stage: 'decompose', seconds: 20 },
  { stage: 'evaluate', seconds: 30 },
];

describe('trackWhole', () => {
  it('is exact when everything takes what was expected, and never falls', () => {
    const { seen, total } = play(parts, { baseline: 30, sweep: 60, decompose: 20, evaluate: 30 });
    for (const { progress, left } of seen) {
      expect(Math.abs(progress.whole!.secondsLeft - left)).toBeLessThan(0.02 * total);
    }
    const shares = wholes(seen).map(({ share }) => share);
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    expect(shares.at(-1)).toBeCloseTo(1, 2);
  });

  it('tells the evaluation before from the one after', () => {
    const { seen } = play(parts, { baseline: 30, sweep: 60, decompose: 20, evaluate: 30 });
    const at = (stage: Stage) =>
      new Set(seen.filter(({ progress }) => progress.stage === stage).map(each => each.progress.whole!.at));
    expect([at('baseline'), at('sweep'), at('evaluate')]).toEqual([new Set([0]), new Set([1]), new Set([3])]);
  });

  it('learns within a fifth of a stage that it is twenty times slower than expected', () => {
    const { seen } = play([{ stage: 'sweep', seconds: 42 }], { sweep: 900 });
    const fifth = seen.find(({ progress }) => progress.done >= 10)!;
    expect(fifth.progress.whole!.secondsLeft).toBeGreaterThan(0.7 * fifth.left);
    expect(fifth.progress.whole!.secondsLeft).toBeLessThan(1.3 * fifth.left);
  });

  it('expects what is to come to be as slow as what was', () => {
    const { seen } = play(parts, { baseline: 90, sweep: 180, decompose: 60, evaluate: 90 });
    const after = seen.find(({ progress }) => progress.stage === 'decompose')!;
    expect(Math.abs(after.progress.whole!.secondsLeft - after.left)).toBeLessThan(0.2 * after.left);
  });

  it('does not take a small part that took longer for the pace of large ones', () => {
    const { seen } = play([{ stage: 'baseline', seconds: 0.1 }, ...parts.slice(1)], {
      baseline: 2,
      sweep: 60,
      decompose: 20,
      evaluate: 30,
    });
    for (const { progress, left } of seen.filter(({ progress }) => progress.stage === 'sweep'))
      expect(Math.abs(progress.whole!.secondsLeft - left)).toBeLessThan(0.25 * left);
  });

  it('does not take pieces from the cache for a pace', () => {
    let time = 0;
    const track = trackWhole([{ stage: 'sweep', seconds: 100 }], () => time);
    for (let done = 0; done <= 50; done++) {
      time += 1;
      track({ stage: 'sweep', done, total: 100 });
    }
    const left: number[] = [];
    for (let done = 51; done <= 60; done++) {
      time += 1000;
      left.push(track({ stage: 'sweep', done, total: 100 }).whole!.secondsLeft);
    }
    for (const [index, seconds] of left.entries()) expect(Math.abs(seconds - (49 - index))).toBeLessThan(8);
  });

  it('goes past what the cache made unnecessary', () => {
    const { seen } = play(parts, { sweep: 60, decompose: 20, evaluate: 30 });
    expect(wholes(seen)[0]).toMatchObject({ at: 1 });
    expect(wholes(seen).at(-1)!.secondsLeft).toBeLessThan(1);
  });
});

describe('formatProgress', () => {
  it('counts pieces, not weights', () => {
    expect(
      formatProgress({
        stage: 'sweep',
        done: 15_597_568,
        total: 106_168_320,
        count: { done: 16, total: 210 },
        secondsLeft: 12,
        whole: { stages: ['sweep'], at: 0, share: 0.4319, elapsed: 60, secondsLeft: 180 },
      }),
    ).toBe('43 %, Measuring costs, matrix 17 of 210, 3 min left');
  });

  it('says what it knows of a request of one stage', () => {
    expect(formatProgress({ stage: 'evaluate', done: 3, total: 8 })).toBe('37 %, Evaluating, window 4 of 8');
    expect(formatProgress({ stage: 'plan', done: 0, total: 0 })).toBe('Planning');
  });
});
