import { formatProgress } from '../../core/format';
import type { Progress } from '../../core/progress';
import { shownName } from './describe';

/** How far a job is, with the matrix at work. */
export function progressDetail(progress: Progress): string {
  const text = formatProgress(progress);
  return progress.item === undefined ? text : `${text}: ${shownName(progress.item, 80)}`;
}
