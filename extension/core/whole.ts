/** The stages of a long request as one: which share of its time has gone, and how much is still to come. */
import type { Progress, Stage } from './progress';

/** A stage and the seconds it is expected to take, 0 where there is nothing to do. */
export interface Part {
  readonly stage: Stage;
  readonly seconds: number;
}

/** Share of a part after which its own pace counts for more than what was expected of it. */
const TRUST = 0.05;
/** A part that gets on so many times faster than expected finds its pieces in the cache: that is no pace to go by. */
const SKIPPING = 20;
/** The pace of what is done counts for what is to come from this share of the whole on, and this many seconds. */
const PRIOR = 0.1;
const PRIOR_SECONDS = 1;

/**
 * Adds to every progress of a request how far the whole is. Time left is that of the part at work, from its own pace as that
 * becomes known, and of the parts to come, scaled by how much longer or shorter than expected the work took so far.
 * @param now milliseconds of a monotonic clock.
 */
export function trackWhole(parts: readonly Part[], now: () => number): (progress: Progress) => Progress {
  const start = now();
  const stages = parts.map(({ stage }) => stage);
  let at = 0;
  let partStart = start;
  let last = { time: start, share: 0 };
  /** Share of the part at work that cost no time. */
  let skipped = 0;
  let shown = 0;
  // As if a first piece had gone as expected: what has hardly begun is no pace to go by.
  let expected = PRIOR_SECONDS + PRIOR * parts.reduce((sum, { seconds }) => sum + seconds, 0);
  let taken = expected;

  const enter = (index: number, time: number): void => {
    if (last.share - skipped > 0.5) {
      expected += parts[at]!.seconds * (last.share - skipped);
      taken += (time - partStart) / 1000;
    }
    at = index;
    partStart = time;
    last = { time, share: 0 };
    skipped = 0;
  };

  return progress => {
    const time = now();
    const index = stages.indexOf(progress.stage, at);
    if (index > at) enter(index, time);
    const hoped = parts[at]!.seconds * (taken / expected);
    if (index >= 0 && progress.total > 0) {
      const share = Math.min(1, Math.max(last.share, progress.done / progress.total));
      const step = share - last.share;
      if (step * hoped * 1000 > SKIPPING * (time - last.time)) skipped += step;
      last = { time, share };
    }
    const spent = (time - partStart) / 1000;
    const worked = last.share - skipped;
    // Before the first piece is done all that is known is that it takes longer than this.
    const duration = worked > 0 ? (spent + TRUST * hoped) / (worked + TRUST) : Math.max(hoped, 1.5 * spent);
    const later = parts.slice(at + 1).reduce((sum, { seconds }) => sum + seconds, 0);
    const pace = (taken + worked * duration) / (expected + worked * parts[at]!.seconds);
    const secondsLeft = duration * (1 - last.share) + later * pace;
    const elapsed = (time - start) / 1000;
    shown = Math.max(shown, elapsed + secondsLeft > 0 ? elapsed / (elapsed + secondsLeft) : 0);
    return { ...progress, whole: { stages, at, share: shown, elapsed, secondsLeft } };
  };
}
