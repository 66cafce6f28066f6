/** Long work in words: how far it is, and how long it will still take. */
import { formatDuration, formatInteger } from '../../extension/core/format';
import type { Progress } from '../../extension/core/progress';

export function describeProgress({
  done,
  total,
  secondsLeft,
}: Pick<Progress, 'done' | 'total' | 'secondsLeft'>): string {
  const count = total > 0 ? `${formatInteger(done)} of ${formatInteger(total)}` : formatInteger(done);
  // A time that is not known travels as null.
  return typeof secondsLeft === 'number' ? `${count}, ${formatDuration(secondsLeft)} left` : count;
}
