import { formatDuration } from '../../core/format';
import type { Progress, Stage } from '../../core/progress';
import { shownName } from './describe';

const stages: Record<Stage, string> = {
  open: 'Reading headers',
  fisher: 'Fisher information',
  sweep: 'Measuring costs',
  plan: 'Planning',
  decompose: 'Decomposing',
  write: 'Writing',
  evaluate: 'Evaluating',
  statistics: 'Statistics',
  compare: 'Comparing',
  export: 'Exporting',
};

/** Such as `Measuring costs 12 of 28, 3 min left`. */
export function progressText({ stage, done, total, secondsLeft }: Progress): string {
  // Shares of a piece are added up, and may miss a whole by a rounding error.
  const count = total > 1 ? ` ${Math.floor(done + 1e-6)} of ${Math.round(total)}` : '';
  const left = secondsLeft === undefined ? '' : `, ${formatDuration(secondsLeft)} left`;
  return `${stages[stage]}${count}${left}`;
}

/** The same with the matrix at work. */
export function progressDetail(progress: Progress): string {
  return progress.item === undefined
    ? progressText(progress)
    : `${progressText(progress)}: ${shownName(progress.item, 80)}`;
}
