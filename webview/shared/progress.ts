/** Long work that is the panel's own, in words. */
import { formatDuration, formatPiece, secondsLeftOf } from '../../extension/core/format';
import type { Progress } from '../../extension/core/progress';

/** Such as `tensor 17 of 210, 3 min left`. */
export function describeProgress(progress: Progress): string {
  const left = secondsLeftOf(progress);
  return [formatPiece(progress), left !== undefined && `${formatDuration(left)} left`].filter(Boolean).join(', ');
}
