/** Progress with its numbers; without a total it only says that work goes on. */
export function ProgressBar({ label, done, total }: { label: string; done: number; total: number }) {
  const known = total > 0;
  const percent = known ? Math.min(100, Math.round((100 * done) / total)) : 0;
  return (
    <div
      class={`progress ${known ? '' : 'unknown-total'}`}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={known ? percent : undefined}
    >
      <span style={{ width: known ? `${percent}%` : '30%' }} />
    </div>
  );
}
